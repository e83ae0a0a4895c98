// SPDX-License-Identifier: BSD-3-Clause
//
// CachedContent is what a cache has of one content: a sparse file as large as the disk, and for
// each chunk of it which blocks are there. All relays of that content share it, whatever loop they
// live on: what one of them is fetching (a *flight*), the others wait for.
//
//   * A block counts as there when it is durable in the file. Until then it is served from the
//     flight's memory.
//   * Blocks from before this process's start are *unproven*: a chunk's blocks are read once and
//     compared with their checksums before any of them is served. What does not fit is fetched
//     again.
//   * Blocks that are zero are known to be, and take no space.
//   * Whoever is sent bytes of the file holds a *pin* of the chunk meanwhile; a chunk with a pin is
//     not evicted. So what was located stays what it is until it has left.
//
// Only the cache's own thread writes, evicts and stores the index (the writer's side below).
// Lifetime: the cache's. Threads: any, but for the writer's side.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "nbd-server/disk/block_bits.h"
#include "nbd-server/disk/boot_profile.h"
#include "nbd-server/disk/cache_index.h"
#include "nbd-server/disk/cached_pages.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/read_streams.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

// A stretch of a content on its way from another server, and then to the file.
struct CacheFlight {
    using Wake = std::move_only_function<void(const std::shared_ptr<CacheFlight>&, int error)>;

    std::uint64_t begin = 0;  // whole blocks, but that the last one ends with the disk
    std::uint64_t length = 0;
    std::unique_ptr<std::byte[]> bytes;  // whole blocks
    bool kept = true;                    // else nobody else knows of it, and it is not stored
    const void* begun_for = nullptr;
    std::move_only_function<void()> after = {};  // who fetches it has something to do then
    bool here = false;                           // guarded by the content's mutex
    std::vector<Wake> waiting;                   // the same

    std::uint64_t end() const { return begin + length; }
    std::uint64_t memory() const { return (length + kCacheBlock - 1) / kCacheBlock * kCacheBlock; }
};

class CachedContent {
   public:
    using Wake = CacheFlight::Wake;
    using Pin = std::shared_ptr<const std::byte>;

    // What all contents of a cache have in common.
    struct Commons {
        std::string directory;
        CacheIndex& index;
        Log& log;
        std::atomic<std::uint64_t> clock{1};  // of uses: a second each
        std::atomic<std::uint64_t> bytes{0};  // that all take
        std::atomic<std::uint64_t> hit{0};    // as CacheIndex::Tally
        std::atomic<std::uint64_t> fetched{0};
    };

    CachedContent(Commons& commons, CacheIndex::Content content);
    CachedContent(const CachedContent&) = delete;
    CachedContent& operator=(const CachedContent&) = delete;

    // From the index; before anybody uses it.
    void load(const CacheIndex::Chunk& chunk);

    std::int64_t id() const { return content_.id; }
    std::uint64_t size() const { return content_.size; }

    // The file is open while somebody uses it. True: nobody did before.
    Result<bool> enter();
    void leave();

    // What is at hand, as Disk's.
    bool read_now(std::uint64_t offset, std::span<std::byte> to);
    bool locate_now(std::uint64_t offset, std::uint64_t length, std::vector<ReadPart>& parts);

    // A client reads this; what to fetch before it asks.
    std::optional<ReadRange> note(std::uint64_t offset, std::uint64_t length);

    // Notes reads from now on, for a while; then, or when nobody uses it any more, the result.
    void record();
    std::optional<BootProfile> recorded();
    const std::string& disk() const { return content_.disk; }

    // What there is of a range, from its begin on.
    struct Seen {
        enum class Kind {
            zero,
            file,      // read() it while the pin is held
            arrived,   // `flight` has it
            coming,    // `flight` will have it; WAKE is called then
            unproven,  // somebody proves it; WAKE is called then, without a flight
            to_prove,  // the same, and the caller is to prove() it
            missing,   // the caller is to fetch `flight`, and to say landed()
        };
        Kind kind = Kind::missing;
        std::uint64_t length = 0;
        std::shared_ptr<CacheFlight> flight;
        Pin pin;
    };
    struct Wish {
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
        std::uint64_t granule = kCacheBlock;  // fetched as one, if nothing of it is there
        bool keep = true;                     // what has to be fetched
    };
    // WAKE null: nobody waits. The flight's memory is the caller's to make.
    Seen look(const Wish& wish, Wake* wake);

    // Of the range, from its begin on, at most MOST extents; nothing when some of it is not there.
    std::optional<std::vector<Extent>> extents(std::uint64_t begin, std::uint64_t end,
                                               std::size_t most);

    // The first block from AT on that is neither there nor on its way; nothing when all are.
    std::optional<std::uint64_t> missing_from(std::uint64_t at);
    std::atomic<bool> being_filled{false};  // by one of its disks

    // True when some of the range is there, or on its way.
    bool touches(std::uint64_t begin, std::uint64_t end);

    // Those who wait are woken. On success it is to be written next.
    void landed(const std::shared_ptr<CacheFlight>& flight, int error);

    // False: the file cannot be read there; what it had of the chunk is forgotten.
    bool read(std::uint64_t offset, std::span<std::byte> to);

    // May block.
    void prove(std::uint64_t chunk);

    std::uint64_t bytes_there();  // of the disk, zeroes too

    // --- the writer's side

    // To the file; not durable yet. Errno.
    int write(const CacheFlight& flight);
    int sync();
    // The flight's blocks are durable, or (not GOOD) given up.
    void settle(const std::shared_ptr<CacheFlight>& flight, bool good);

    // What has changed, for the index; and that it was stored.
    std::vector<CacheIndex::Change> changes();
    void stored(std::span<const CacheIndex::Change> changes);

    struct Candidate {
        std::uint64_t used = 0;
        CachedContent* content = nullptr;
        std::uint64_t chunk = 0;
        std::uint64_t bytes = 0;
    };
    void add_candidates(std::vector<Candidate>& to);
    // Takes it from whoever might read it; false: it is in use. Then the index forgets it, and then
    // the file; or it is put back.
    bool take_out(std::uint64_t chunk);
    void put_back(std::uint64_t chunk);
    void punch(std::uint64_t chunk);

    bool close_if_idle();
    void tidy();

   private:
    struct Chunk {
        BlockBits present;
        BlockBits zero;                       // of these
        std::unique_ptr<BlockBits> unproven;  // of these; null: none
        std::shared_ptr<std::byte> pin;       // shared with those who are sent bytes of it
        std::uint64_t used = 0;

        std::uint64_t bytes() const {
            return (std::uint64_t{present.without(zero).count()} + 1) * kCacheBlock;
        }
        bool ready(unsigned block) const {
            return present.test(block) && (!unproven || !unproven->test(block));
        }
    };
    // A flight in the file, block by block.
    struct Written {
        std::vector<bool> zero;
        std::vector<BlockSum> sums;
    };
    struct Stretch {
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
        bool zero = false;
        Pin pin;
    };

    std::string file_name() const;
    Result<UniqueFd> open_file() const;
    bool ready_stretches(std::uint64_t begin, std::uint64_t end, std::vector<Stretch>& to);
    Stretch ready_stretch(Chunk& chunk, std::uint64_t at, std::uint64_t end);
    std::shared_ptr<CacheFlight> flight_at(std::uint64_t at) const;
    bool is_missing(std::uint64_t block_begin) const;
    std::shared_ptr<CacheFlight> begin_flight(const Wish& wish);
    Pin pin(Chunk& chunk);
    void note_bytes(std::uint64_t before, std::uint64_t after);
    void drop_bad(std::uint64_t chunk, const BlockBits& bad);
    BlockBits bad_blocks(std::uint64_t chunk, const BlockBits& bits, const BlockBits& zero);

    Commons& commons_;
    const CacheIndex::Content content_;

    std::mutex mutex_;  // guards all below
    UniqueFd file_;
    std::unique_ptr<CachedPages> pages_;  // of it
    unsigned users_ = 0;
    std::unordered_map<std::uint64_t, Chunk> chunks_;
    std::map<std::uint64_t, std::shared_ptr<CacheFlight>> flights_;  // by begin
    std::map<std::uint64_t, std::vector<Wake>> proofs_;              // under way, by chunk
    std::map<std::uint64_t, std::vector<std::pair<std::uint16_t, BlockSum>>> dirty_;  // by chunk
    std::map<std::uint64_t, Chunk> leaving_;                                          // by chunk
    ReadStreams streams_;
    std::optional<BootRecorder> recorder_;
    std::uint64_t record_until_ = 0;  // of the clock

    // Of flights that were written and wait to be durable; the writer's.
    std::map<const CacheFlight*, Written> written_;
};

}  // namespace signpost
