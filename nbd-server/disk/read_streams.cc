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

std::optional<ReadRange> ReadStreams::note(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t end = offset + length;
    Stream* const stream = stream_at(offset);
    if (stream == nullptr) {
        *std::ranges::min_element(streams_, {}, &Stream::used) = {
            .next = end, .run = length, .asked = end, .used = ++uses_};
        return std::nullopt;
    }
    stream->used = ++uses_;
    if (end <= stream->next) {
        return std::nullopt;
    }
    stream->run += std::min(length, end - stream->next);
    stream->next = end;
    stream->asked = std::max(stream->asked, end);
    const std::uint64_t window = std::min(stream->run / kPart, kMost);
    // In pieces worth a request: each time that half of what is ahead has been read.
    if (window < kLeast || stream->asked > end + window / 2) {
        return std::nullopt;
    }
    const ReadRange range{stream->asked, end + window - stream->asked};
    stream->asked = end + window;
    return range;
}

}  // namespace signpost
