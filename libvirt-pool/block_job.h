// SPDX-License-Identifier: BSD-3-Clause
//
// Waits for what QEMU does to a machine's disk, shows how far it is, and makes way for the guest: a
// job that nobody limits runs at full speed only while the guest leaves its disk alone.
//
// Threads: one.

#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "libvirt-pool/machine.h"
#include "terminal/progress.h"

namespace signpost {

class JobWatch {
   public:
    // RATE: bytes a second that the job may have at most; 0: what the guest leaves.
    JobWatch(const Machine& machine, std::string target, std::uint64_t rate, Progress& progress)
        : machine_(machine), target_(std::move(target)), rate_(rate), progress_(progress) {}

    // Returns when there is no job any more (empty), or when it is ready to be completed.
    Result<std::optional<BlockJob>> wait();

   private:
    using Clock = std::chrono::steady_clock;

    void make_way();

    const Machine& machine_;
    const std::string target_;
    const std::uint64_t rate_;
    Progress& progress_;
    std::uint64_t guest_requests_ = 0;
    bool slowed_ = false;
    Clock::time_point looked_{};
};

}  // namespace signpost
