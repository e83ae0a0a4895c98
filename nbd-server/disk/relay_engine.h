// SPDX-License-Identifier: BSD-3-Clause
//
// RelayEngine owns what all relayed disks of a process share: the event loop's thread, a worker for
// calls that block, TLS credentials, limits, and each peer's health (circuit breaker). One per
// process; main or the plugin builds it after any fork.
//
// Lifetime: outlives its disks; the destructor stops the threads. Threads: any.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "nbd-server/disk/log.h"
#include "nbd-server/disk/tls.h"

namespace signpost {

// PROTOCOL.md section 3 has the values.
struct RelayLimits {
    std::chrono::milliseconds connect{1000};
    std::chrono::milliseconds handshake{2000};
    std::chrono::milliseconds hedge{1000};     // no progress: ask another replica as well
    std::chrono::milliseconds hang{3000};      // no progress: the server counts as dead
    std::chrono::milliseconds request{12000};  // peer-timeout: then EIO
    unsigned connections = 4;                  // per disk, where the server allows it
};

struct RelaySettings {
    RelayLimits limits;
    TlsSettings tls;
    bool allow_privileged_ports = false;  // peers below port 1024
};

class RelayServices;

class RelayEngine {
   public:
    RelayEngine() = default;
    RelayEngine(const RelayEngine&) = delete;
    RelayEngine& operator=(const RelayEngine&) = delete;
    virtual ~RelayEngine() = default;

    virtual RelayServices& services() = 0;
};

// Fails when the TLS files cannot be loaded.
Result<std::unique_ptr<RelayEngine>> make_relay_engine(RelaySettings settings, Log& log);

}  // namespace signpost
