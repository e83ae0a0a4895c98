// SPDX-License-Identifier: BSD-3-Clause
//
// PoolEvents counts what libvirt tells of a pool and of machines, so that `watch` acts at once: the
// pool was started or refreshed, a disk's error has stopped a machine, libvirtd is gone. A libvirtd
// that says nothing for half a minute is taken for one that is gone.
//
// A hypervisor without such events leaves the counts at zero: looking now and then stays necessary.
//
// Lifetime: the host outlives it. Threads: one; libvirt's calls come on the loop's own.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "libvirt-pool/libvirt_host.h"

namespace signpost {

class PoolEvents {
   public:
    struct Counts {
        std::uint64_t pool = 0;      // starts and refreshes, whoever asked for them
        std::uint64_t machines = 0;  // stopped by a disk's error
        bool closed = false;         // the connection is of no more use

        bool operator==(const Counts&) const = default;
    };

    // libvirt's event loop, in a thread that lasts as long as the process. Connections that are to
    // have events are made after this.
    static void begin_loop();

    PoolEvents(const LibvirtHost& host, const std::string& pool);
    PoolEvents(const PoolEvents&) = delete;
    PoolEvents& operator=(const PoolEvents&) = delete;
    ~PoolEvents();

    Counts counts() const;

    // Returns as soon as the counts are not KNOWN any more, or at UNTIL.
    Counts wait(const Counts& known, std::chrono::steady_clock::time_point until) const;

   private:
    struct Heard;

    _virConnect* connection_;
    std::shared_ptr<Heard> heard_;  // libvirt has it too, until it has forgotten the callbacks
    int started_ = -1;
    int refreshed_ = -1;
    int stopped_ = -1;
};

}  // namespace signpost
