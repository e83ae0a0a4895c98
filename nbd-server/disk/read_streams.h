// SPDX-License-Identifier: BSD-3-Clause
//
// ReadStreams finds the clients that read in sequence, and says what to fetch before they ask: as
// much as such a client has read so far, but of all that was fetched no more than a small part may
// be what nobody has read yet. So a wrong guess costs a few per cent of the traffic, for ever.
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
    static constexpr std::uint64_t kLeast = std::uint64_t{64} << 10;  // fetched at a time
    static constexpr std::uint64_t kMost = std::uint64_t{16} << 20;   // ahead of one client
    // Of what is fetched this may be unread: so much to begin with, and a part of what was wanted.
    static constexpr std::uint64_t kCredit = std::uint64_t{2} << 20;
    static constexpr std::uint64_t kPart = 40;

    // A client reads this. What is to be fetched now, if anything; it may end behind the disk.
    std::optional<ReadRange> note(std::uint64_t offset, std::uint64_t length);

    // So many bytes had to be fetched because a client asked for them.
    void missed(std::uint64_t bytes) { wanted_ += bytes; }

   private:
    struct Stream {
        std::uint64_t next = 0;   // where it will go on
        std::uint64_t run = 0;    // bytes that were read in sequence
        std::uint64_t asked = 0;  // up to where has been fetched ahead
        std::uint64_t used = 0;   // the later the larger
    };

    Stream* stream_at(std::uint64_t offset);
    void begin(std::uint64_t end, std::uint64_t length);
    std::uint64_t credit() const;

    std::array<Stream, 8> streams_;
    std::uint64_t uses_ = 0;
    std::uint64_t wanted_ = 0;  // bytes
    std::uint64_t wasted_ = 0;  // of streams that have ended
};

}  // namespace signpost
