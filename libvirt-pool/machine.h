// SPDX-License-Identifier: BSD-3-Clause
//
// Machine is one virtual machine that libvirt knows: what it is doing, and what may be done to it.
//
// Errors: as LibvirtHost's; conflict: not possible in the state that it is in.
//
// Lifetime: independent of the LibvirtHost that gave it. Threads: any; libvirt's own rule.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "catalog/error.h"

struct _virDomain;

namespace signpost {

struct MachineFacts {
    // held: by Machine::hold, and whoever did it has not let it go.
    enum class State { off, running, paused, paused_by_error, held, other };

    std::string name = {};
    std::string uuid = {};
    State state = State::off;
    bool persistent = false;    // libvirt keeps it when it is off
    std::string xml = {};       // as it runs; of one that is off: as it would start
    std::string next_xml = {};  // as it would start the next time
};

// Something that QEMU does to a disk while the machine runs.
struct BlockJob {
    std::uint64_t done = 0;  // bytes
    std::uint64_t all = 0;
    bool pull = false;   // else a copy or a commit
    bool ready = false;  // a copy or commit that waits to be completed

    bool operator==(const BlockJob&) const = default;
};

class Machine {
   public:
    explicit Machine(_virDomain* machine);

    const std::string& name() const { return name_; }
    Result<MachineFacts> facts() const;

    Result<void> start() const;
    Result<void> resume() const;  // also one that is held
    // Stops the guest for a moment: QEMU then flushes all that it has for its disks. What dies
    // before it lets the guest go on leaves it held, which is seen from outside.
    Result<void> hold() const;
    Result<void> stop() const;      // as pulling the plug
    Result<void> undefine() const;  // with its firmware's variables and saved state

    enum class Reach { now, next_start, both };

    // Adds a device from libvirt's XML of it.
    Result<void> attach(const std::string& device_xml, Reach reach) const;

    // Brings all that lies behind a disk into its own image; RATE in bytes a second, 0: no limit.
    Result<void> pull(const std::string& target, std::uint64_t rate) const;
    // Brings the image's writes into what lies behind it, which then takes its place: complete()
    // once the job is ready.
    Result<void> commit(const std::string& target, std::uint64_t rate) const;
    Result<void> complete(const std::string& target) const;
    Result<void> set_job_rate(const std::string& target, std::uint64_t rate) const;
    Result<std::optional<BlockJob>> job(const std::string& target) const;  // empty: none

    // Requests of the guest for a disk since it was started.
    Result<std::uint64_t> guest_requests(const std::string& target) const;

   private:
    struct Free {
        void operator()(_virDomain* machine) const;
    };

    std::unexpected<Error> failed() const;
    Result<void> done(int result) const;  // of a call of libvirt's

    std::unique_ptr<_virDomain, Free> machine_;
    std::string name_;  // asking libvirt for it would wipe out its last error
};

}  // namespace signpost
