// SPDX-License-Identifier: BSD-3-Clause
//
// DiskBlocks is an open export as whoever looks at file systems reads it: small reads, again and
// again in the same places, from a cache of blocks that is read ahead when they come in sequence;
// and large ones past the cache, many in flight.
//
// A part of the export that is encrypted is read as a disk of its own, decrypted as it comes.
//
// Nothing here waits: the owner polls for waiting() and gives what came to moved().
//
// Lifetime: buffers given to read_past_cache stay until its `done` ran or the object is gone.
// Threads: one.

#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cli/peer.h"
#include "cli/sector_cipher.h"
#include "files/messages.h"

namespace signpost {

class DiskBlocks {
   public:
    static constexpr std::uint64_t kBlock = 256 * 1024;

    enum class Look { here, coming, failed };

    // CONNECTION has opened the export that FACTS are of.
    DiskBlocks(PeerConnection connection, const ExportFacts& facts);
    // Of it, what lies in PART, whole sectors of the cipher.
    DiskBlocks(PeerConnection connection, const ExportFacts& facts, const files::Volume& part,
               SectorCipher cipher);
    DiskBlocks(const DiskBlocks&) = delete;
    DiskBlocks& operator=(const DiskBlocks&) = delete;

    std::uint64_t size() const { return facts_.size; }
    std::size_t reads_in_flight() const { return in_flight_; }
    std::uint64_t replies() const { return replies_; }

    // Fills TO, or starts what is missing for it. failed: the server says that it cannot be read;
    // asked again, it is tried again.
    Look look(std::uint64_t offset, std::span<std::byte> to);

    // What will be looked at soon. More than is good at once is not begun.
    void ahead(std::uint64_t offset, std::uint64_t length);

    // LENGTH is at most most_at_once(). Begins and ends with sectors, where these are encrypted.
    Result<void> read_past_cache(std::uint64_t offset, std::span<std::byte> to,
                                 PeerConnection::ReadDone done);
    std::uint64_t most_at_once() const;

    pollfd waiting() const { return connection_.waiting(); }
    Result<void> moved(short events) { return connection_.moved(events); }

   private:
    struct Block {
        std::vector<std::byte> bytes;
        std::uint64_t used = 0;  // when, by a counter
        bool here = false;
        bool failed = false;
    };

    std::uint64_t block_length(std::uint64_t index) const;
    bool start(std::uint64_t index);
    void make_room();
    void grow_window(std::uint64_t missed);

    ExportFacts facts_;  // the size is of what is shown here
    std::uint64_t origin_ = 0;
    std::optional<SectorCipher> cipher_;
    std::unordered_map<std::uint64_t, std::unique_ptr<Block>> blocks_;
    std::uint64_t clock_ = 0;
    std::uint64_t next_expected_ = 0;  // block behind the last window that was read ahead
    std::uint64_t window_ = 1;
    std::size_t in_flight_ = 0;
    std::uint64_t replies_ = 0;
    PeerConnection connection_;  // last: it goes before the buffers that it reads into
};

}  // namespace signpost
