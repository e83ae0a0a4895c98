// SPDX-License-Identifier: BSD-3-Clause
//
// BlockCache keeps what this server relays, in a directory of its own, across restarts: at most so
// many bytes, of which those go first that nobody has read for the longest time. It is what the
// cached disks of a process share (cached_disk.h); two processes never share a directory.
//
// Contents are told apart by what they are, never by name alone: see CacheKeys.
//
// One thread writes: it takes flights that have landed, many at a time, makes them durable, and
// tells the index about once a second. When the storage fails or is full, the cache stops filling
// for a while, and what it has is served on.
//
// Lifetime: the destructor waits until nothing is under way, so the relay engine outlives it.
// Threads: any. One is made by start(): not before a fork.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "nbd-server/disk/cache_settings.h"
#include "nbd-server/disk/cached_content.h"
#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/relay_ahead.h"
#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/disk/worker_pool.h"

namespace signpost {

// What a content is known by. The later are as good as the first, but what is kept under one of
// them is known by the first from then on.
using CacheKeys = std::vector<std::string>;

// What is known, and learnt, of how machines start: calls that may block. Empty: nothing.
struct BootProfiles {
    std::function<std::optional<std::string>(const std::string& disk)> find = {};
    std::function<void(const std::string& disk, const std::string& profile)> learned = {};
};

class BlockCache {
   public:
    // Makes the directory if it is missing. invalid: it is not for this user alone; conflict:
    // another process uses it; denied, io, full.
    static Result<void> check(const CacheSettings& settings);

    static Result<std::unique_ptr<BlockCache>> start(CacheSettings settings, Log& log,
                                                     BootProfiles profiles = {});
    BlockCache(const BlockCache&) = delete;
    BlockCache& operator=(const BlockCache&) = delete;
    ~BlockCache();

    // DISK is for people. NEW_TOO: makes a content that is not there; else not_found. May block.
    Result<std::shared_ptr<CachedContent>> open(const CacheKeys& keys, const std::string& disk,
                                                std::uint64_t size, bool new_too = true);

    // Of a content that was just opened, if nobody else has it open: what to fetch before it is
    // asked for. Where that is not known yet, it is learnt. May block.
    std::optional<BootProfile> boot_profile(CachedContent& content);

    // A flight that has landed; its memory was taken of `memory`, and is given back here.
    void store(std::shared_ptr<CachedContent> content, std::shared_ptr<CacheFlight> flight);

    // False: nothing is stored now, because the storage fails, is full, or does not keep up.
    bool fills() const;

    // Runs TASK on LOOP once memory has been given back.
    void when_room(EventLoop& loop, EventLoop::Task task);

    // Of disks that are fetched whole: when the next piece may go, which takes so many bytes of the
    // rate; and whether there is room without evicting anything.
    std::uint64_t fill_rate() const { return settings_.fill_rate; }
    std::chrono::steady_clock::time_point next_fill(std::uint64_t bytes);
    bool has_room() const;

    // The end has begun: who has time does not come back.
    bool ending() const { return ending_.load(std::memory_order_relaxed); }

    // Told, on a thread that may block, of a disk that is there as a whole. Set before the first
    // disk is made; empty: nobody wants to know.
    std::function<void(const std::string& disk)> filled = {};

    // Held by whatever will come back.
    class Busy {
       public:
        explicit Busy(BlockCache& cache);
        Busy(Busy&& other) noexcept : cache_(std::exchange(other.cache_, nullptr)) {}
        Busy& operator=(Busy&&) = delete;
        ~Busy();

       private:
        BlockCache* cache_;
    };

    CachedContent::Commons& commons() { return commons_; }
    WorkerPool& workers() { return workers_; }
    void give_memory(std::uint64_t bytes);

    Log& log;
    ByteBudget memory;

   private:
    struct Landed {
        std::shared_ptr<CachedContent> content;
        std::shared_ptr<CacheFlight> flight;
    };
    using Batch = std::vector<Landed>;
    using Time = std::chrono::steady_clock::time_point;

    BlockCache(CacheSettings settings, UniqueFd lock, std::unique_ptr<CacheIndex> index, Log& log,
               BootProfiles profiles);

    Result<void> load();
    void remove_strangers() const;
    void write();
    Batch next_batch();
    void write_batch(const Batch& batch);
    void make_room(std::uint64_t bytes);
    void evict(std::vector<CachedContent::Candidate> chosen);
    void store_changes();
    void close_idle();
    void tell_profiles(bool now);
    void pause(const std::string& why);
    std::vector<std::shared_ptr<CachedContent>> contents();
    Result<std::shared_ptr<CachedContent>> use(std::shared_ptr<CachedContent> content);

    const CacheSettings settings_;
    const BootProfiles profiles_;
    const UniqueFd lock_;
    const std::unique_ptr<CacheIndex> index_;
    CachedContent::Commons commons_;
    CacheIndex::Tally told_;

    std::mutex mutex_;  // guards all below
    std::condition_variable changed_;
    std::map<std::string, std::shared_ptr<CachedContent>> contents_;  // by key
    std::deque<Landed> landed_;
    std::vector<std::pair<EventLoop*, EventLoop::Task>> room_;
    std::set<const CachedContent*> fresh_;  // opened a moment ago, by the first user
    std::size_t busy_ = 0;
    bool stopping_ = false;
    Time next_fill_{};

    std::atomic<bool> ending_{false};
    std::atomic<Time> paused_until_{Time{}};
    std::atomic<Time> writing_since_{Time{}};  // a batch; Time{}: none is being written

    WorkerPool workers_;
    std::thread writer_;
};

}  // namespace signpost
