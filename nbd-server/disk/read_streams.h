// SPDX-License-Identifier: BSD-3-Clause
//
// ReadStreams finds the clients that read in sequence, and says what to fetch before they ask:
// never more than a small part of what such a client has read so far, so that what nobody wants in
// the end costs a few per cent at most.
//
// Pure. Lifetime: the owner's. Threads: one at a time.

#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "nbd-server/disk/disk.h"

namespace signpost {

class ReadStreams {
   public:
    static constexpr std::uint64_t kPart = 24;  // of what was read in sequence
    static constexpr std::uint64_t kLeast = std::uint64_t{64} << 10;
    static constexpr std::uint64_t kMost = std::uint64_t{16} << 20;

    // A client reads this. What is to be fetched now, if anything; it may end behind the disk.
    std::optional<ReadRange> note(std::uint64_t offset, std::uint64_t length);

   private:
    struct Stream {
        std::uint64_t next = 0;   // where it will go on
        std::uint64_t run = 0;    // bytes that were read in sequence
        std::uint64_t asked = 0;  // up to where has been fetched ahead
        std::uint64_t used = 0;   // the later the larger
    };

    Stream* stream_at(std::uint64_t offset);

    std::array<Stream, 8> streams_;
    std::uint64_t uses_ = 0;
};

}  // namespace signpost
