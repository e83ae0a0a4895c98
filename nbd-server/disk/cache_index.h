// SPDX-License-Identifier: BSD-3-Clause
//
// CacheIndex is what a cache knows of its files from one start to the next (cache.db, SQLite):
// whose content each file holds, which blocks of it are there, and a checksum of each. Bits are
// stored when their blocks are durable, and are gone, durably, before a block is given up: so what
// the index says is there has been there. Whether it still is, its checksum says.
//
// Nothing in it is beyond repair: a file that is damaged is begun anew, a row that cannot be is
// skipped.
//
// Threads: any; calls take turns.

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/block_bits.h"
#include "nbd-server/disk/log.h"

namespace signpost {

class Connection;
class Statement;

using BlockSum = std::uint32_t;  // CRC-32
using BlockSums = std::array<BlockSum, BlockBits::kBits>;

class CacheIndex {
   public:
    struct Content {
        std::int64_t id = 0;  // never used twice
        std::string key;      // what tells it from all others
        std::string disk;     // its name when it was last opened: for people
        std::uint64_t size = 0;
    };

    struct Chunk {
        std::int64_t content = 0;
        std::uint64_t index = 0;
        BlockBits present;
        BlockBits zero;          // of these: known to be zeroes
        std::uint64_t used = 0;  // the later the larger
    };

    // A chunk as it is now, with the checksums of the blocks that are new.
    struct Change {
        Chunk chunk;
        std::vector<std::pair<std::uint16_t, BlockSum>> sums;
    };

    // What was asked of a cache in its life.
    struct Tally {
        std::uint64_t hit = 0;      // bytes for clients that were here
        std::uint64_t fetched = 0;  // bytes that were asked of other servers
    };

    // Makes the file if it is missing, and anew if it is damaged (a line says so). Fails with
    // denied, full, io or unavailable.
    static Result<std::unique_ptr<CacheIndex>> open(const std::string& path, Log& log);
    // Only to look, while a server may be using it; not_found when there is none.
    static Result<std::unique_ptr<CacheIndex>> open_to_read(const std::string& path);
    CacheIndex(const CacheIndex&) = delete;
    CacheIndex& operator=(const CacheIndex&) = delete;
    ~CacheIndex();

    Result<std::vector<Content>> contents();
    Result<void> each_chunk(const std::function<void(const Chunk&)>& take);

    // The content of that key, with this name from now on; made if it is missing.
    Result<Content> begin(const Content& wanted);
    // By what else the content is known from now on.
    Result<void> rename(std::int64_t id, const std::string& key);
    Result<void> remove(std::int64_t id);

    Result<void> store(std::span<const Change> changes);
    Result<void> remove(std::span<const std::pair<std::int64_t, std::uint64_t>> chunks);
    Result<BlockSums> sums(std::int64_t content, std::uint64_t chunk);

    Result<Tally> tally();
    Result<void> set_tally(const Tally& tally);

   private:
    explicit CacheIndex(std::unique_ptr<Connection> connection);
    void start_call();
    void store_one(const Change& change);

    std::mutex mutex_;  // of the connection
    std::unique_ptr<Connection> connection_;
};

}  // namespace signpost
