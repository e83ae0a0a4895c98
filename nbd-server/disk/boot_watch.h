// SPDX-License-Identifier: BSD-3-Clause
//
// A BootWatch sees what clients read of a disk in the first two minutes after it was opened, where
// no cache does: on a server that has the disk itself, or relays it without keeping it. Sessions of
// one disk share one; what was seen is told when the time is over, or the last of them has gone.
//
// BootWatches has those of a process. Lifetime: sessions own the watches; what LEARNED needs
// outlives them. Threads: any.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "nbd-server/disk/boot_profile.h"

namespace signpost {

class BootWatch {
   public:
    // Called once at most, and must not block.
    using Learned = std::function<void(const BootProfile& profile)>;

    BootWatch(std::uint64_t disk_size, Learned learned,
              std::chrono::milliseconds time = std::chrono::minutes(2));
    BootWatch(const BootWatch&) = delete;
    BootWatch& operator=(const BootWatch&) = delete;
    ~BootWatch();

    // Within the disk.
    void note(std::uint64_t offset, std::uint64_t length) {
        if (!over_.load(std::memory_order_relaxed)) {
            note_now(offset, length);
        }
    }

   private:
    void note_now(std::uint64_t offset, std::uint64_t length);
    void tell();

    const Learned learned_;
    const std::chrono::steady_clock::time_point end_;
    std::atomic<bool> over_{false};
    std::mutex mutex_;
    BootRecorder recorder_;  // guarded by mutex_
};

class BootWatches {
   public:
    // The one of all who have KEY's disk open now.
    std::shared_ptr<BootWatch> join(const std::string& key, std::uint64_t disk_size,
                                    const BootWatch::Learned& learned);

   private:
    std::mutex mutex_;
    std::unordered_map<std::string, std::weak_ptr<BootWatch>> watches_;  // guarded by mutex_
};

}  // namespace signpost
