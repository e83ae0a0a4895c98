// SPDX-License-Identifier: BSD-3-Clause
//
// The part of a VerifiedCore that finds out which copy is bad, and leaves it.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "nbd-server/disk/verified_core.h"

namespace signpost {

namespace {

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;
constexpr std::size_t kMostCopies = 8;  // that are asked for one chunk

bool same_place(const Location& a, const Location& b) {
    return a.server == b.server && a.export_name == b.export_name;
}

}  // namespace

bool VerifiedCore::is_bad(const Location& copy) const {
    return bad_.contains({copy.server, copy.generation});
}

// Read from another relay than the one in use, it may come good there.
void VerifiedCore::suspect(std::uint64_t index) {
    Chunk& chunk = chunks_[index];
    if (chunk.relay != relays_) {
        read(index);
        return;
    }
    chunk.state = Chunk::State::suspect;
    suspects_.push_back(index);
    examine_next();
}

// The catalog is asked first which copies there are by now: it is some time ago that it was.
void VerifiedCore::examine_next() {
    if (examination_ || suspects_.empty() || closed_) {
        return;
    }
    const std::uint64_t index = suspects_.front();
    suspects_.pop_front();
    examination_ = Examination{index, 0, false, {}};
    const auto ask = plan_.ask_again;
    services_.work(
        loop_,
        [ask]() -> Result<std::vector<Upstream>> {
            return ask ? ask() : Result<std::vector<Upstream>>();
        },
        [self = shared_from_this(), index](const Result<std::vector<Upstream>>& answer) {
            self->adopt(answer);
            self->examine(index);
            self->answer_finished();
        });
}

void VerifiedCore::adopt(const Result<std::vector<Upstream>>& answer) {
    if (!answer) {
        return;
    }
    for (const Upstream& upstream : *answer) {
        if (upstream.location.digest != digest_ || upstream.location.size != plan_.traits.size) {
            continue;
        }
        const auto known = std::ranges::find_if(plan_.upstreams, [&](const Upstream& other) {
            return same_place(other.location, upstream.location);
        });
        if (known != plan_.upstreams.end()) {
            *known = upstream;
        } else {
            plan_.upstreams.push_back(upstream);
        }
    }
}

void VerifiedCore::examine(std::uint64_t index) {
    if (closed_) {
        examination_.reset();
        return;
    }
    const std::vector<Upstream> copies(
        plan_.upstreams.begin(),
        plan_.upstreams.begin() +
            static_cast<std::ptrdiff_t>(std::min(plan_.upstreams.size(), kMostCopies)));
    examination_->left = copies.size();
    for (const Upstream& copy : copies) {
        ask_copy(index, copy);
    }
    if (copies.empty()) {
        end_examination();
    }
}

// Through a relay that knows no other copy.
void VerifiedCore::ask_copy(std::uint64_t index, const Upstream& copy) {
    RelayPlan plan = plan_;
    plan.upstreams = {copy};
    plan.ask_again = {};
    auto memory = services_.pool->take();
    std::byte* const to = memory.get();
    services_.read(loop_, services_.relay(std::move(plan)), index * kChunk, bytes_of(index), to,
                   [self = shared_from_this(), index, location = copy.location,
                    memory = std::move(memory)](int error) mutable {
                       if (error != 0) {
                           self->copy_answered(location, error, false, std::move(memory));
                           return;
                       }
                       const std::span<const std::byte> bytes(memory.get(), self->bytes_of(index));
                       self->services_.work(
                           self->loop_,
                           [bytes, leaf = (*self->leaves_)[index]] {
                               const auto digest = digest_of_chunk(bytes);
                               return digest && *digest == leaf;
                           },
                           [self, location, memory = std::move(memory)](bool good) mutable {
                               self->copy_answered(location, 0, good, std::move(memory));
                           });
                   });
}

void VerifiedCore::copy_answered(const Location& copy, int error, bool good,
                                 ChunkPool::Buffer bytes) {
    const auto chunk = chunks_.find(examination_->index);
    if (good && !examination_->found && chunk != chunks_.end()) {
        examination_->found = true;
        std::swap(chunk->second.bytes, bytes);
        settle(examination_->index);
    } else if (!good && error == 0) {
        examination_->bad.push_back(copy);
    }
    if (--examination_->left == 0) {
        end_examination();
    }
    answer_finished();
}

void VerifiedCore::end_examination() {
    const Examination done = std::move(*examination_);
    examination_.reset();
    const std::string name = escaped(plan_.disk.str());
    bool news = false;
    for (const Location& copy : done.bad) {
        if (!bad_.emplace(copy.server, copy.generation).second) {
            continue;
        }
        news = true;
        services_.log.error(fmt::format(
            "disk '{}': server {} gave wrong bytes in {} to {}: its copy is damaged, and is not "
            "used any more; look at it with: signpost verify {}",
            name, copy.server, done.index * kChunk, done.index * kChunk + bytes_of(done.index),
            name));
        services_.report_damage(plan_.disk, copy);
    }
    if (done.bad.empty() && done.found && !std::exchange(odd_told_, true)) {
        services_.log.error(
            fmt::format("disk '{}': bytes {} to {} came wrong once, and right when "
                        "each copy was asked again; look at the network and at the "
                        "memory of its servers",
                        name, done.index * kChunk, done.index * kChunk + bytes_of(done.index)));
    }
    if (news) {
        RelayPlan rest = plan_without_bad();
        if (!rest.upstreams.empty()) {
            relay_ = services_.relay(std::move(rest));
            ++relays_;
        }
    }
    if (!done.found) {
        services_.log.error(fmt::format("disk '{}': no copy has good bytes in {} to {}", name,
                                        done.index * kChunk,
                                        done.index * kChunk + bytes_of(done.index)));
        if (chunks_.contains(done.index)) {
            give_up(done.index);
        }
    }
    for (const std::uint64_t index : std::exchange(suspects_, {})) {
        suspect(index);
    }
    examine_next();
}

RelayPlan VerifiedCore::plan_without_bad() const {
    RelayPlan plan = plan_;
    const auto left_out = [digest = digest_, size = plan_.traits.size,
                           bad = bad_](const Upstream& upstream) {
        const Location& copy = upstream.location;
        return copy.digest != digest || copy.size != size ||
               bad.contains({copy.server, copy.generation});
    };
    std::erase_if(plan.upstreams, left_out);
    if (plan_.ask_again) {
        plan.ask_again = [ask = plan_.ask_again, left_out]() -> Result<std::vector<Upstream>> {
            auto answer = ask();
            if (answer) {
                std::erase_if(*answer, left_out);
            }
            return answer;
        };
    }
    return plan;
}

}  // namespace signpost
