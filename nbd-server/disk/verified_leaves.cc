// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/verified_leaves.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <tuple>
#include <utility>

#include "nbd-server/disk/event_loop.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kNextAfter{1};
constexpr std::uint64_t kPiece = 16 * 1024 * 1024;
constexpr std::uint64_t kLeafBytes = std::tuple_size_v<DigestTree::ChunkDigest>;
constexpr std::size_t kMostNamed = 3;  // servers, in one sentence

bool is_peer(const Upstream& upstream) {
    return !upstream.uris.empty() &&
           upstream.uris.front().export_name.starts_with(ExportName::kLocalPrefix);
}

class LeafSearch : public std::enable_shared_from_this<LeafSearch> {
   public:
    LeafSearch(VerifyServices& services, EventLoop& loop, LeafQuestion question, LeavesFound done)
        : services_(services),
          loop_(loop),
          question_(std::move(question)),
          done_(std::move(done)),
          busy_(services) {
        std::erase_if(question_.plan.upstreams,
                      [](const Upstream& upstream) { return !is_peer(upstream); });
    }

    void ask_next() {
        if (done_ == nullptr) {
            return;
        }
        if (next_ == question_.plan.upstreams.size()) {
            if (running_ == 0) {
                give_up();
            }
            return;
        }
        const Upstream& source = question_.plan.upstreams[next_++];
        ++running_;
        auto asked = std::make_shared<Asked>(Asked{source.location.server, leaf_disk(source), {}});
        asked->disk->reach([self = shared_from_this(), asked](const Result<void>& answer) {
            self->loop_.post([self, asked, answer] { self->reached(asked, answer); });
        });
        loop_.call_at(loop_.now() + kNextAfter, [weak = weak_from_this()] {
            if (const auto self = weak.lock()) {
                self->ask_next();
            }
        });
    }

   private:
    struct Asked {
        std::string server;
        std::shared_ptr<Disk> disk;
        std::vector<std::byte> bytes;
    };
    using AskedPtr = std::shared_ptr<Asked>;

    std::uint64_t bytes_due() const { return chunk_count(question_.plan.traits.size) * kLeafBytes; }

    // The export `digests:NAME` of that server, and of no other.
    std::shared_ptr<Disk> leaf_disk(const Upstream& source) const {
        RelayPlan plan = question_.plan;
        plan.ask_again = {};
        plan.only_asks = true;
        plan.traits.size = bytes_due();
        Upstream upstream = source;
        upstream.location.size = plan.traits.size;
        upstream.location.digest.clear();
        upstream.location.fingerprint.clear();
        for (NbdUri& uri : upstream.uris) {
            uri = uri.with_export(std::string(ExportName::kDigestsPrefix) + plan.disk.str());
        }
        plan.upstreams = {std::move(upstream)};
        return services_.relay(std::move(plan));
    }

    void reached(const AskedPtr& asked, const Result<void>& answer) {
        if (!answer) {
            const bool none = answer.error().code == Errc::not_found;
            failed(*asked, none ? "has none" : answer.error().message);
            return;
        }
        asked->bytes.resize(bytes_due());
        read(asked, 0);
    }

    void read(const AskedPtr& asked, std::uint64_t offset) {
        const std::uint64_t length = std::min(kPiece, asked->bytes.size() - offset);
        if (done_ == nullptr) {
            failed(*asked, "");
        } else if (length == 0) {
            prove(asked);
        } else {
            services_.read(loop_, asked->disk, offset, length, asked->bytes.data() + offset,
                           [self = shared_from_this(), asked, next = offset + length](int error) {
                               if (error == 0) {
                                   self->read(asked, next);
                               } else {
                                   self->failed(*asked, "they cannot be read there");
                               }
                           });
        }
    }

    void prove(const AskedPtr& asked) {
        services_.work(
            loop_,
            [self = shared_from_this(), asked] {
                return prove_leaves(asked->bytes, self->question_.plan.traits.size,
                                    self->question_.digest);
            },
            [self = shared_from_this(), asked](Result<DigestTree::Leaves> leaves) {
                self->proven(*asked, std::move(leaves));
            });
    }

    void proven(const Asked& asked, Result<DigestTree::Leaves> leaves) {
        if (!leaves) {
            if (!question_.again) {
                services_.log.error(fmt::format(
                    "disk '{}': server {} gives chunk digests that do not belong to it: {}",
                    escaped(question_.plan.disk.str()), asked.server, leaves.error().message));
            }
            failed(asked, leaves.error().message);
        } else if (done_ != nullptr) {
            auto done = std::exchange(done_, nullptr);
            done(std::make_shared<const DigestTree::Leaves>(std::move(*leaves)));
        }
    }

    void failed(const Asked& asked, const std::string& why) {
        --running_;
        if (++named_ <= kMostNamed) {
            reasons_ += fmt::format("{}{}: {}", reasons_.empty() ? "" : "; ", asked.server, why);
        }
        ask_next();
    }

    void give_up() {
        auto done = std::exchange(done_, nullptr);
        done(fail(Errc::unavailable,
                  fmt::format("no server gives chunk digests that can be proven ({})",
                              reasons_.empty() ? "none could" : reasons_)));
    }

    VerifyServices& services_;
    EventLoop& loop_;
    LeafQuestion question_;
    LeavesFound done_;  // null once called
    const VerifyServices::Busy busy_;
    std::size_t next_ = 0;
    unsigned running_ = 0;
    unsigned named_ = 0;
    std::string reasons_;
};

}  // namespace

void find_leaves(VerifyServices& services, EventLoop& loop, LeafQuestion question,
                 LeavesFound done) {
    std::make_shared<LeafSearch>(services, loop, std::move(question), std::move(done))->ask_next();
}

}  // namespace signpost
