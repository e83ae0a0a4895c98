// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/relay_ahead.h"

#include <algorithm>
#include <utility>

namespace signpost {

namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

// Requests of a deep queue do not come in order: so far from where the stream is they belong to it.
constexpr std::uint64_t kGap = 1 * kMiB;
constexpr std::uint64_t kSlack = 4 * kMiB;
constexpr std::uint64_t kFirstWindow = 1 * kMiB;
constexpr unsigned kSteps = 2;  // by then it is a sequence
constexpr std::chrono::milliseconds kStopped{500};

std::uint64_t round_up(std::uint64_t offset) {
    return (offset + RelayAhead::kBlock - 1) / RelayAhead::kBlock * RelayAhead::kBlock;
}

}  // namespace

RelayAhead::~RelayAhead() {
    budget_.give(bytes_);
}

RelayAhead::Stream* RelayAhead::stream_at(std::uint64_t offset) {
    for (Stream& stream : streams_) {
        if (stream.used != Time{} && offset + kSlack >= stream.next &&
            offset <= stream.next + kGap) {
            return &stream;
        }
    }
    return nullptr;
}

void RelayAhead::note(std::uint64_t offset, std::uint64_t length, Time now) {
    const std::uint64_t end = offset + length;
    Stream* stream = stream_at(offset);
    if (stream == nullptr) {
        stream = &*std::ranges::min_element(streams_, {}, &Stream::used);
        end_stream(*stream);
        *stream = {.next = end, .asked = round_up(end)};
    } else if (end > stream->next) {
        stream->next = end;
        stream->asked = std::max(stream->asked, round_up(end));
        if (++stream->steps == kSteps) {
            stream->window = std::max(kFirstWindow, 4 * length);
        }
        if (stream->next > 2 * kSlack) {
            drop_range(stream->next - 2 * kSlack, stream->next - kSlack);
        }
    }
    stream->used = now;
}

void RelayAhead::end_stream(Stream& stream) {
    drop_range(stream.next - std::min(stream.next, 2 * kSlack), stream.asked);
    stream = {};
}

// Drops the blocks that begin in this range, but for those on their way: they are dropped when they
// have come.
void RelayAhead::drop_range(std::uint64_t begin, std::uint64_t end) {
    for (auto at = blocks_.lower_bound(begin); at != blocks_.end() && at->first < end;) {
        Block& block = (at++)->second;
        if (block.here) {
            drop(block);
        }
    }
}

RelayAhead::Block* RelayAhead::find(std::uint64_t offset, std::uint64_t length) {
    if (blocks_.empty()) {
        return nullptr;
    }
    const auto found = blocks_.find(offset / kBlock * kBlock);
    if (found == blocks_.end()) {
        return nullptr;
    }
    Block& block = found->second;
    const std::uint64_t skip = offset - block.offset;
    return skip < block.length && length <= block.length - skip ? &block : nullptr;
}

void RelayAhead::waited_for(const Block& block) {
    if (Stream* stream = stream_at(block.offset)) {
        stream->window = std::min(2 * stream->window, kMaxBytes);
    }
}

// Clients share the room that there is.
RelayAhead::Block* RelayAhead::next_wanted() {
    const Time latest = std::ranges::max(streams_, {}, &Stream::used).used;
    const auto reading = std::ranges::count_if(streams_, [&](const Stream& stream) {
        return stream.window > 0 && stream.used + kStopped >= latest;
    });
    const std::uint64_t share = kMaxBytes / static_cast<std::uint64_t>(std::max(reading, 1L));
    for (Stream& stream : streams_) {
        if (Block* block = next_wanted_of(stream, std::min(stream.window, share))) {
            return block;
        }
    }
    return nullptr;
}

RelayAhead::Block* RelayAhead::next_wanted_of(Stream& stream, std::uint64_t window) {
    const std::uint64_t end = std::min(stream.next + window, size_);
    for (; stream.asked < end; stream.asked += kBlock) {
        const std::uint64_t offset = stream.asked;
        const std::uint64_t length = std::min(kBlock, size_ - offset);
        if (blocks_.contains(offset)) {
            continue;
        }
        if (!make_room(stream, length)) {
            return nullptr;
        }
        bytes_ += length;
        stream.asked += kBlock;
        Block& block = blocks_[offset];
        block.offset = offset;
        block.length = static_cast<std::uint32_t>(length);
        block.bytes = std::make_unique_for_overwrite<std::byte[]>(length);
        return &block;
    }
    return nullptr;
}

// Where clients that have stopped hold it, they give way.
bool RelayAhead::make_room(const Stream& stream, std::uint64_t length) {
    while (bytes_ + length > kMaxBytes) {
        Stream* oldest = nullptr;
        for (Stream& other : streams_) {
            const bool stopped = other.window > 0 && other.used + kStopped < stream.used;
            if (stopped && (oldest == nullptr || other.used < oldest->used)) {
                oldest = &other;
            }
        }
        if (oldest == nullptr) {
            return false;
        }
        end_stream(*oldest);
    }
    return budget_.take(length);
}

void RelayAhead::arrived(Block& block) {
    block.here = true;
    const bool wanted = std::ranges::any_of(streams_, [&](const Stream& stream) {
        return stream.window > 0 && block.offset < stream.asked &&
               block.offset + 2 * kSlack >= stream.next;
    });
    if (!wanted) {
        drop(block);
    }
}

void RelayAhead::drop(Block& block) {
    budget_.give(block.length);
    bytes_ -= block.length;
    blocks_.erase(block.offset);
}

void RelayAhead::took(Block& block, std::uint32_t length) {
    block.taken += std::min(length, block.length - block.taken);
    if (block.taken == block.length) {
        drop(block);
    }
}

void RelayAhead::forget_before(Time then) {
    for (Stream& stream : streams_) {
        if (stream.used != Time{} && stream.used < then) {
            end_stream(stream);
        }
    }
}

}  // namespace signpost
