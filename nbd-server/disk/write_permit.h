// SPDX-License-Identifier: BSD-3-Clause
//
// WritePermit says until when the sessions of one client may write to a disk's image. Who writes
// looks at it before each write, and again before it says that the write was done: a process that
// was stopped for longer than its lease finds out before its first write, because the clock is its
// own and runs on meanwhile.
//
// Lifetime: shared by the sessions of the client and Writers. Threads: any.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>

namespace signpost {

// Since the machine was started; runs on while it, or the process, sleeps. Nobody can set it.
using BootTime = std::chrono::nanoseconds;

class WritePermit {
   public:
    // Nobody else could take the disk away.
    static constexpr BootTime kForEver{std::numeric_limits<std::int64_t>::max()};

    explicit WritePermit(BootTime until) : until_(until.count()) {}

    bool endless() const { return until_.load(std::memory_order_acquire) == kForEver.count(); }
    bool revoked() const { return until_.load(std::memory_order_acquire) == kRevoked; }
    bool good(BootTime now) const { return now.count() < until_.load(std::memory_order_acquire); }

    // Nothing revives one that was revoked.
    void extend(BootTime until) {
        std::int64_t before = until_.load(std::memory_order_relaxed);
        while (before != kRevoked &&
               !until_.compare_exchange_weak(before, until.count(), std::memory_order_release)) {
        }
    }
    void revoke() { until_.store(kRevoked, std::memory_order_release); }

   private:
    static constexpr std::int64_t kRevoked = std::numeric_limits<std::int64_t>::min();

    std::atomic<std::int64_t> until_;
};

}  // namespace signpost
