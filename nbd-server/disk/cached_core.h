// SPDX-License-Identifier: BSD-3-Clause
//
// CachedCore is the inside of a cached disk: it puts a client's read together from what the content
// has, what is on its way, and what it fetches itself. It lives on the loop of the relay below; the
// content, which it shares with others, has the locks.
//
// Lifetime: shared by its disk and by what is under way. Threads: the loop's, but for content().

#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nbd-server/disk/block_cache.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/relayed_disk.h"

namespace signpost {

// The key of what is held to a digest, chunk by chunk.
std::string verified_content(const std::string& digest, std::uint64_t size);

// The copies of PLAN's disk if by what the catalog says they have one content; else none. A copy
// that clients may write to, or that has no fingerprint, may have any.
std::vector<Location> copies_of_one_content(const RelayPlan& plan);

class CachedCore : public std::enable_shared_from_this<CachedCore> {
   public:
    struct Terms {
        std::string name;                     // of the disk
        std::uint64_t granule = kCacheBlock;  // fetched as one
        bool opens_new = true;                // contents of which nothing is there yet

        // Of what is kept, clients may be served while no server can be asked. COPIES: where the
        // content lies, as the catalog says, if it knows of one content only.
        bool alone = false;
        std::vector<Location> copies = {};
    };

    // KEEPS says on the loop whether what is fetched now is to be kept. Empty: yes.
    CachedCore(BlockCache& cache, Terms terms, std::function<bool()> keeps)
        : cache_(cache), terms_(std::move(terms)), keeps_(std::move(keeps)) {}

    // Before it is used.
    void begin(std::shared_ptr<Disk> relay);

    // May block. A content that cannot be kept is relayed.
    void open(const CacheKeys& keys);

    // As RelayPlan::pinned and RelayPlan::held.
    void pinned(const Location& copy, const std::string& fingerprint);
    std::optional<Location> held() const { return held_; }

    // Null: not known, or not to be kept. From any thread, while the disk is there.
    CachedContent* content() const { return ready_.load(std::memory_order_acquire); }

    const DiskTraits& traits() const { return traits_; }
    EventLoop& loop() const { return *loop_; }
    BlockCache& cache() const { return cache_; }

    void take(Request& request);
    void reach(Disk::Told told);
    void fetch_ahead(ReadRange range);

    // Nobody asks any more.
    void close();

   private:
    // A client's read that is under way.
    struct Ask {
        Request* request = nullptr;
        std::unique_ptr<std::byte[]> own;  // for a sink
        std::byte* to = nullptr;
        std::uint64_t parts_left = 1;
        int error = 0;
    };
    struct Trip;

    void serve(Ask& ask, std::uint64_t begin, std::uint64_t end);
    CachedContent::Wake wake(Ask& ask, std::uint64_t begin, std::uint64_t end);
    void came(Ask& ask, std::uint64_t begin, std::uint64_t end,
              const std::shared_ptr<CacheFlight>& flight, int error);
    void give(Ask& ask, std::uint64_t begin, std::uint64_t end, const CacheFlight& flight);
    void read_file(Ask& ask, std::uint64_t begin, std::uint64_t end, CachedContent::Pin pin);
    void prove(std::uint64_t chunk);
    bool fetch(const std::shared_ptr<CacheFlight>& flight, const void* whom);
    void landed(Trip& trip, int error);
    void wait_for_room(Ask& ask, std::uint64_t begin, std::uint64_t end);
    void part_done(Ask& ask, int error);
    void answer_finished();
    struct Opened {
        std::shared_ptr<CachedContent> content;
        std::optional<BootProfile> profile;
    };
    Result<Opened> open_content(const CacheKeys& keys, bool alone);
    void begin_to_open(CacheKeys keys, bool alone);
    void opened(Result<Opened> content, bool alone);
    void answered(Disk::Told told, const Result<void>& answer);
    void tell(Disk::Told& told, const Result<void>& answer);
    bool does_without(const Result<void>& answer);
    void fetch_profile();
    void fetch_some(ReadRange range);
    void begin_fill();
    void fill_when(EventLoop::Time due);
    void fill();
    void fill_came(bool good, EventLoop::Time due);
    void end_fill();
    void settle();
    void wait_until_settled(Request& request);
    bool keeps() const { return cache_.fills() && (!keeps_ || keeps_()); }

    BlockCache& cache_;
    const Terms terms_;
    const std::function<bool()> keeps_;
    std::shared_ptr<Disk> relay_;
    DiskTraits traits_;
    EventLoop* loop_ = nullptr;

    std::shared_ptr<CachedContent> content_;
    std::atomic<CachedContent*> ready_{nullptr};
    bool opening_ = false;
    bool settled_ = false;
    bool reached_ = false;          // a server that has it has let us
    std::optional<Location> held_;  // the copy whose content was opened without asking its server
    std::optional<std::pair<Location, std::string>> meanwhile_;  // pinned while that was tried
    bool told_alone_ = false;
    std::vector<Request*> early_;                              // until it is settled
    std::vector<std::pair<Disk::Told, Result<void>>> askers_;  // until it has been opened
    std::deque<Ask*> finished_;
    std::deque<ReadRange> profile_;   // still to be fetched
    unsigned profile_under_way_ = 0;  // fetches
    bool closed_ = false;

    // The rest of the disk, piece by piece: goes on when its clients have left.
    std::uint64_t asked_ = 0;  // bytes, of clients
    bool filling_ = false;
    bool left_ = false;  // by all clients
    std::uint64_t fill_from_ = 0;
    std::uint64_t fill_brought_ = 0;
    unsigned fill_failures_ = 0;  // in a row
};

}  // namespace signpost
