// SPDX-License-Identifier: BSD-3-Clause
//
// DiskCensus counts the catalog's disks now and then: how many have one copy only, lie on no server
// that answers, or have no fresh restore point. It walks through the catalog slowly, on a thread of
// its own of low weight, and only when something has changed; who asks gets the last count.
//
// Lifetime: the catalog outlives it; the destructor waits for a page of the walk. Threads: any.

#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "catalog/catalog.h"

namespace signpost {

// By name: a restore point counts as a disk of its own, but for what is said of freshness, which is
// of the disks that have restore points.
struct DiskCounts {
    std::map<std::string, std::uint64_t> by_state;   // of its best copy
    std::map<std::string, std::uint64_t> by_server;  // copies
    std::uint64_t one_location = 0;                  // in one place, in whatever state
    std::uint64_t single_copy = 0;                   // with one ready copy
    std::uint64_t unreachable = 0;                   // no ready copy on a server that answers
    std::uint64_t with_points = 0;
    std::uint64_t stale = 0;                // of these: the newest point is too old
    std::int64_t stalest = 0;               // the oldest of the newest points; 0: there are none
    std::int64_t counted_at = 0;            // seconds since 1970
    std::chrono::microseconds duration{0};  // of the walk
};

// Counts RECORDS one after the other, in the order of their names.
class DiskCounter {
   public:
    // STALE_AFTER 0: nothing is too old. IS_DOWN: the server is known not to answer.
    DiskCounter(std::int64_t now, std::chrono::seconds stale_after,
                std::function<bool(const std::string& server)> is_down)
        : now_(now), stale_after_(stale_after), is_down_(std::move(is_down)) {}

    void add(const DiskRecord& record);
    DiskCounts finish();

   private:
    void end_disk();

    const std::int64_t now_;
    const std::chrono::seconds stale_after_;
    const std::function<bool(const std::string&)> is_down_;
    DiskCounts counts_;
    std::string disk_;         // whose points are coming
    std::int64_t newest_ = 0;  // of them
};

class DiskCensus {
   public:
    struct Settings {
        Catalog& catalog;
        std::chrono::seconds stale_after{0};
        std::function<bool(const std::string& server)> is_down;
        std::chrono::seconds interval{30};  // between walks, when something has changed
        std::chrono::seconds longest{
            120};  // and when nothing has: servers come and go, and points grow old
        std::chrono::milliseconds rest{5};  // between two pages of a walk
    };

    explicit DiskCensus(Settings settings);
    DiskCensus(const DiskCensus&) = delete;
    DiskCensus& operator=(const DiskCensus&) = delete;
    ~DiskCensus();

    // Empty: the first walk has not ended.
    std::optional<DiskCounts> counts() const;

   private:
    using Clock = std::chrono::steady_clock;

    void run();
    bool rest(std::chrono::milliseconds time);
    std::optional<DiskCounts> walk();

    const Settings settings_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<DiskCounts> counts_;  // guarded by mutex_
    bool ending_ = false;               // guarded by mutex_
    std::thread thread_;
};

}  // namespace signpost
