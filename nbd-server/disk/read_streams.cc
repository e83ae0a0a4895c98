// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/read_streams.h"

#include <algorithm>

namespace signpost {

namespace {

// Requests of a deep queue, or of clients that read the same, do not come in order: so far from
// where the stream is they belong to it.
constexpr std::uint64_t kGap = std::uint64_t{1} << 20;
constexpr std::uint64_t kSlack = std::uint64_t{4} << 20;

}  // namespace

ReadStreams::Stream* ReadStreams::stream_at(std::uint64_t offset) {
    const auto found = std::ranges::find_if(streams_, [&](const Stream& stream) {
        return stream.used != 0 && offset + kSlack >= stream.next && offset <= stream.next + kGap;
    });
    return found == streams_.end() ? nullptr : &*found;
}

void ReadStreams::begin(std::uint64_t end, std::uint64_t length) {
    Stream& oldest = *std::ranges::min_element(streams_, {}, &Stream::used);
    wasted_ += oldest.asked - oldest.next;
    oldest = {.next = end, .run = length, .asked = end, .used = ++uses_};
}

// What may still be fetched ahead.
std::uint64_t ReadStreams::credit() const {
    std::uint64_t unread = wasted_;
    for (const Stream& stream : streams_) {
        unread += stream.asked - stream.next;
    }
    const std::uint64_t most = kCredit + wanted_ / kPart;
    return most - std::min(most, unread);
}

std::optional<ReadRange> ReadStreams::note(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t end = offset + length;
    Stream* const stream = stream_at(offset);
    if (stream == nullptr) {
        begin(end, length);
        return std::nullopt;
    }
    stream->used = ++uses_;
    if (end <= stream->next) {
        return std::nullopt;
    }
    stream->run += std::min(length, end - stream->next);
    if (stream->asked > stream->next) {
        wanted_ += std::min(end, stream->asked) - stream->next;  // it was fetched, and is read
    }
    stream->next = end;
    stream->asked = std::max(stream->asked, end);
    const std::uint64_t window = std::min({stream->run, kMost, credit() + (stream->asked - end)});
    // In pieces worth a request: each time that half of what is ahead has been read.
    if (stream->asked > end + window / 2) {
        return std::nullopt;
    }
    const ReadRange range{stream->asked, end + window - stream->asked};
    if (range.length < kLeast) {
        return std::nullopt;
    }
    stream->asked += range.length;
    return range;
}

}  // namespace signpost
