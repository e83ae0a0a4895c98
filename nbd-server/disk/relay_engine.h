// SPDX-License-Identifier: BSD-3-Clause
//
// RelayEngine owns what all relayed disks of a process share: the event loops with their threads,
// workers for calls that block, TLS credentials, limits, pipes, and each peer's health (circuit
// breaker). One per process; main or the plugin builds it after any fork.
//
// Each disk lives on one of the loops (Disk::home_loop). A server's sessions may live on the same
// loops: who asks a disk on its own loop pays for no way between threads.
//
// Lifetime: outlives its disks, and pipes of its pool; the destructor stops the threads. Threads:
// any. The process's signals are blocked on the loops' threads.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "catalog/disk_name.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/pipe_pool.h"
#include "nbd-server/disk/tls.h"

namespace signpost {

// PROTOCOL.md section 3 has the values.
struct RelayLimits {
    std::chrono::milliseconds connect{1000};
    std::chrono::milliseconds handshake{2000};
    std::chrono::milliseconds hedge{1000};  // no progress: ask another replica as well, or
    std::chrono::milliseconds hedge_floor{
        50};                               // earlier: after 4 times its 99th percentile, or this
    std::chrono::milliseconds hang{3000};  // no progress: the server counts as dead
    std::chrono::milliseconds request{12000};  // peer-timeout: then EIO
    std::chrono::milliseconds spare{30000};    // so long a connection beside another may idle
    std::chrono::milliseconds probe{10000};    // one that idles is asked for a block so often (R22)
    std::chrono::milliseconds failback{5000};  // so long a better server must have been well
    std::chrono::milliseconds news{2000};      // a disk asks the changed catalog again so often
    unsigned connections = 4;                  // per disk, where the server allows it
    unsigned far_connections = 16;             // the same to a server that is 5 ms away or farther
};

struct RelaySettings {
    RelayLimits limits;
    TlsSettings tls;
    bool allow_privileged_ports = false;  // peers below port 1024

    // Live disks go back to a better location when that has been well again for `failback`. Else
    // they stay where it works, as in DFS without target failback.
    bool failback = false;
    unsigned loops = 1;  // event loops, a thread each; at least 1

    // For payloads that do not enter user space. An ordinary user may have so many of this size:
    // /proc/sys/fs/pipe-user-pages-soft.
    std::size_t pipes = 64;
    std::size_t pipe_bytes = PipePool::kCapacity;

    // What all disks together may hold of far servers' data before it is asked for.
    std::uint64_t ahead_bytes = 256 * 1024 * 1024;

    // Told of the server that a disk is relayed from, and of each that it moves to (BEFORE: from
    // which; empty: the first). Called on the loops. Empty: nobody wants to know.
    std::function<void(const DiskName& disk, const std::string& server, const std::string& before)>
        moved;

    // Told of a server whose connection was lost in use, and is there again. As above.
    std::function<void(const std::string& server)> reconnected;
};

class EventLoop;
class RelayServices;

class RelayEngine {
   public:
    RelayEngine() = default;
    RelayEngine(const RelayEngine&) = delete;
    RelayEngine& operator=(const RelayEngine&) = delete;
    virtual ~RelayEngine() = default;

    // All of them, running.
    virtual std::span<EventLoop* const> loops() = 0;

    virtual PipePool& pipes() = 0;

    // What a new disk gets: the services of the loop that has the fewest.
    virtual RelayServices& services() = 0;

    // Says that the catalog is not what it was: live disks ask for their locations again, a few of
    // them at a time. From any thread.
    virtual void catalog_changed() = 0;
};

// Fails when the TLS files cannot be loaded.
Result<std::unique_ptr<RelayEngine>> make_relay_engine(RelaySettings settings, Log& log);

}  // namespace signpost
