// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/verified_core.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;
constexpr std::size_t kMostChunks = 16;
constexpr std::ptrdiff_t kMostLent = kMostChunks / 2;
constexpr std::uint64_t kWorthALoan =
    64 * 1024;  // below, a copy costs less than to go without 4 MiB
constexpr std::uint64_t kAhead = 3;
constexpr std::size_t kMostExtents = 1024;  // in one answer
constexpr std::chrono::milliseconds kTick{500};
constexpr std::chrono::seconds kIdle{5};

bool holds(const Upstream& upstream, const std::string& digest, std::uint64_t size) {
    return upstream.location.digest == digest && upstream.location.size == size;
}

RelayPlan with_digest(RelayPlan plan, const std::string& digest) {
    std::erase_if(plan.upstreams, [&](const Upstream& upstream) {
        return !holds(upstream, digest, plan.traits.size);
    });
    return plan;
}

}  // namespace

VerifiedCore::VerifiedCore(VerifyServices& services, RelayPlan plan, std::string digest)
    : services_(services),
      plan_(with_digest(std::move(plan), digest)),
      digest_(std::move(digest)),
      relay_(services.relay(plan_without_bad())),
      loop_(*relay_->home_loop()),
      again_in_(services.parts().again) {
    plan_.traits.description +=
        services.parts().must_check ? ", checked" : ", checked if it can be";
}

void VerifiedCore::close() {
    closed_ = true;
    std::vector<std::uint64_t> idle;
    for (const auto& [index, chunk] : chunks_) {
        if (chunk.state == Chunk::State::good) {
            idle.push_back(index);
        }
    }
    std::ranges::for_each(idle, [this](std::uint64_t index) { forget(index); });
    loop_.cancel(tick_);
    loop_.cancel(search_);
    loop_.cancel(again_);
    relay_.reset();
}

// --- requests

void VerifiedCore::take(Request& request) {
    if (request.op != Op::read && request.op != Op::extents) {
        request.done(request, 0);
        return;
    }
    last_asked_ = loop_.now();
    const Time due = last_asked_ + services_.patience;
    if (unchecked_) {
        pass(request, due);
    } else {
        begin(request, due);
    }
}

void VerifiedCore::begin(Request& request, Time due) {
    auto* const ask = new Ask{&request, 1, 0, due};
    asks_.insert(ask);
    watch_time();
    if (leaves_ == nullptr) {
        find_out();
        return;
    }
    serve(*ask);
    answer_finished();
}

void VerifiedCore::serve(Ask& ask) {
    if (ask.request->op == Op::extents) {
        list_extents(*ask.request);
        part_done(ask, 0);
    } else {
        serve_read(ask);
    }
}

// What a digest says to be zero is; all else is data. No server's map is asked.
void VerifiedCore::list_extents(Request& request) const {
    std::vector<Extent>& extents = *request.extents;
    extents.clear();
    const std::uint64_t end = request.offset + request.length;
    for (std::uint64_t at = request.offset; at < end;) {
        const std::uint64_t index = at / kChunk;
        const std::uint64_t until = std::min(end, (index + 1) * kChunk);
        const std::uint32_t flags = is_zero(index) ? wire::kStateHole | wire::kStateZero : 0;
        if (!extents.empty() && extents.back().flags == flags) {
            extents.back().length += until - at;
        } else if (extents.size() == kMostExtents ||
                   (!extents.empty() && (request.flags & kRequestOneExtent) != 0)) {
            return;
        } else {
            extents.push_back({until - at, flags});
        }
        at = until;
    }
}

void VerifiedCore::serve_read(Ask& ask) {
    const Request& request = *ask.request;
    const std::uint64_t first = request.offset / kChunk;
    const std::uint64_t last = (request.offset + request.length - 1) / kChunk;
    ask.parts_left += last - first + 1;
    for (std::uint64_t index = first; index <= last; ++index) {
        if (is_zero(index)) {
            deliver(ask, index, nullptr);
        } else {
            want(ask, index);
        }
    }
    start_wanted();
    read_ahead(last);
    part_done(ask, 0);
}

void VerifiedCore::want(Ask& ask, std::uint64_t index) {
    auto [place, is_new] = chunks_.try_emplace(index);
    Chunk& chunk = place->second;
    chunk.used = ++uses_;
    chunk.asked_for = true;
    if (chunk.state == Chunk::State::good) {
        deliver(ask, index, &chunk);
        return;
    }
    chunk.waiting.push_back(&ask);
    if (is_new) {
        wanted_.push_back(index);
    }
}

// For whoever asked for the chunk before, too.
void VerifiedCore::read_ahead(std::uint64_t index) {
    const auto before = chunks_.find(index - 1);
    const bool in_sequence =
        index == 0 || is_zero(index - 1) || (before != chunks_.end() && before->second.asked_for);
    if (!in_sequence) {
        return;
    }
    const std::uint64_t end = std::min(index + 1 + kAhead, chunk_count(plan_.traits.size));
    for (std::uint64_t next = index + 1; next < end; ++next) {
        if (is_zero(next) || chunks_.contains(next)) {
            continue;
        }
        auto bytes = memory(false);
        if (bytes == nullptr) {
            return;
        }
        Chunk& chunk = chunks_[next];
        chunk.bytes = std::move(bytes);
        chunk.used = ++uses_;
        read(next);
    }
}

// CHUNK is a good one; null: it is zero.
void VerifiedCore::deliver(Ask& ask, std::uint64_t index, Chunk* chunk) {
    Request& request = *ask.request;
    const std::uint64_t begin = std::max(request.offset, index * kChunk);
    const std::uint64_t end =
        std::min(request.offset + request.length, index * kChunk + bytes_of(index));
    const std::uint64_t at = begin - index * kChunk;
    const std::size_t length = end - begin;
    if (request.sink != nullptr) {
        ReadPart part = chunk == nullptr ? ReadPart{} : part_of(*chunk, at, length);
        part.offset = begin;
        part.length = static_cast<std::uint32_t>(length);
        request.sink->take(request, std::move(part));
    } else if (chunk != nullptr) {
        std::memcpy(request.buffer + (begin - request.offset), chunk->bytes.get() + at, length);
    } else {
        std::memset(request.buffer + (begin - request.offset), 0, length);
    }
    part_done(ask, 0);
}

ReadPart VerifiedCore::part_of(Chunk& chunk, std::uint64_t at, std::uint64_t length) {
    ReadPart part;
    if (auto loan = length < kWorthALoan ? nullptr : lend(chunk)) {
        part.place = ReadPart::Place::lent;
        part.loan = ChunkPool::Loan(loan, loan.get() + at);
        return part;
    }
    part.place = ReadPart::Place::memory;
    part.bytes = std::make_unique_for_overwrite<std::byte[]>(length);
    std::memcpy(part.bytes.get(), chunk.bytes.get() + at, length);
    return part;
}

// Null: a client that takes its time must not have all the memory there is.
ChunkPool::Loan VerifiedCore::lend(Chunk& chunk) {
    auto loan = chunk.loan.lock();
    const auto lent = [](const auto& entry) { return !entry.second.loan.expired(); };
    if (loan == nullptr && std::ranges::count_if(chunks_, lent) < kMostLent) {
        loan = services_.pool->lend(chunk.bytes);
        chunk.loan = loan;
    }
    return loan;
}

void VerifiedCore::part_done(Ask& ask, int error) {
    ask.error = ask.error != 0 ? ask.error : error;
    if (--ask.parts_left == 0) {
        asks_.erase(&ask);
        finished_.push_back(&ask);
    }
}

// Not before all else is done: the client's side may ask for more at once.
void VerifiedCore::answer_finished() {
    while (!finished_.empty()) {
        const std::unique_ptr<Ask> ask(finished_.front());
        finished_.pop_front();
        ask->request->done(*ask->request, ask->error);
    }
}

// --- chunks

bool VerifiedCore::is_zero(std::uint64_t index) const {
    const DigestTree::ChunkDigest& leaf = (*leaves_)[index];
    return bytes_of(index) == kChunk ? leaf == zero_chunk_ : leaf == zero_end_;
}

std::uint64_t VerifiedCore::bytes_of(std::uint64_t index) const {
    return chunk_bytes(plan_.traits.size, index);
}

// MUST: rather too much than nothing at all.
ChunkPool::Buffer VerifiedCore::memory(bool must) {
    const auto in_memory = [](const auto& entry) { return entry.second.bytes != nullptr; };
    if (std::ranges::count_if(chunks_, in_memory) < static_cast<std::ptrdiff_t>(kMostChunks)) {
        if (auto fresh = services_.pool->try_take()) {
            return fresh;
        }
    }
    auto oldest = chunks_.end();
    for (auto at = chunks_.begin(); at != chunks_.end(); ++at) {
        const bool older = oldest == chunks_.end() || at->second.used < oldest->second.used;
        if (at->second.state == Chunk::State::good && older && at->second.loan.expired()) {
            oldest = at;
        }
    }
    if (oldest != chunks_.end()) {
        auto bytes = std::move(oldest->second.bytes);
        chunks_.erase(oldest);
        return bytes;
    }
    return must ? services_.pool->take() : nullptr;
}

void VerifiedCore::start_wanted() {
    while (!wanted_.empty() && !closed_) {
        const std::uint64_t index = wanted_.front();
        const auto found = chunks_.find(index);
        if (found == chunks_.end() || found->second.state != Chunk::State::wanted) {
            wanted_.pop_front();
            continue;
        }
        auto bytes = memory(reading_ == 0);
        if (bytes == nullptr) {
            return;  // until one that is on its way has come
        }
        wanted_.pop_front();
        chunks_[index].bytes = std::move(bytes);
        read(index);
    }
}

void VerifiedCore::read(std::uint64_t index) {
    Chunk& chunk = chunks_[index];
    chunk.state = Chunk::State::reading;
    chunk.relay = relays_;
    ++reading_;
    services_.read(
        loop_, relay_, index * kChunk, bytes_of(index), chunk.bytes.get(),
        [self = shared_from_this(), index](int error) { self->read_done(index, error); });
}

void VerifiedCore::read_done(std::uint64_t index, int error) {
    --reading_;
    if (closed_) {
        forget(index);
        return;
    }
    if (error != 0) {
        // Those that are left out for a bad chunk may have this one.
        bad_.empty() ? give_up(index) : suspect(index);
        answer_finished();
        return;
    }
    Chunk& chunk = chunks_[index];
    chunk.state = Chunk::State::checking;
    const std::span<const std::byte> bytes(chunk.bytes.get(), bytes_of(index));
    services_.work(
        loop_,
        [bytes, leaf = (*leaves_)[index]] {
            const auto digest = digest_of_chunk(bytes);
            return digest && *digest == leaf;
        },
        [self = shared_from_this(), index](bool good) {
            self->checked(index, good);
            self->answer_finished();
        });
}

void VerifiedCore::checked(std::uint64_t index, bool good) {
    if (closed_) {
        forget(index);
    } else if (good) {
        settle(index);
    } else {
        suspect(index);
    }
}

void VerifiedCore::settle(std::uint64_t index) {
    Chunk& chunk = chunks_[index];
    chunk.state = Chunk::State::good;
    for (Ask* ask : std::exchange(chunk.waiting, {})) {
        deliver(*ask, index, &chunk);
    }
    start_wanted();
}

void VerifiedCore::give_up(std::uint64_t index) {
    for (Ask* ask : std::exchange(chunks_[index].waiting, {})) {
        part_done(*ask, EIO);
    }
    forget(index);
    start_wanted();
}

void VerifiedCore::forget(std::uint64_t index) {
    chunks_.erase(index);
}

// --- time

void VerifiedCore::watch_time() {
    if (tick_.id == 0) {
        tick_ = loop_.call_at(loop_.now() + kTick, [weak = weak_from_this()] {
            if (const auto self = weak.lock()) {
                self->tick();
            }
        });
    }
}

void VerifiedCore::tick() {
    tick_ = {};
    const Time now = loop_.now();
    expire(now);
    drop_idle(now);
    answer_finished();
    if (!asks_.empty() || !chunks_.empty()) {
        watch_time();
    }
}

// A copy that hangs has cost its time at the relay already; this is for what comes on top.
void VerifiedCore::expire(Time now) {
    std::vector<Ask*> late;
    std::ranges::copy_if(asks_, std::back_inserter(late),
                         [now](const Ask* ask) { return ask->due <= now; });
    for (Ask* ask : late) {
        for (auto& [index, chunk] : chunks_) {
            std::erase(chunk.waiting, ask);
        }
        ask->parts_left = 1;
        part_done(*ask, EIO);
    }
}

void VerifiedCore::drop_idle(Time now) {
    if (!asks_.empty() || now - last_asked_ < kIdle) {
        return;
    }
    std::vector<std::uint64_t> idle;
    for (const auto& [index, chunk] : chunks_) {
        if (chunk.state == Chunk::State::good) {
            idle.push_back(index);
        }
    }
    std::ranges::for_each(idle, [this](std::uint64_t index) { forget(index); });
}

}  // namespace signpost
