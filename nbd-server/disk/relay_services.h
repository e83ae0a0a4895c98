// SPDX-License-Identifier: BSD-3-Clause
//
// RelayServices is what a RelayEngine lends to each relayed disk: the loop, the workers, limits,
// credentials, the log, and the health of every peer, known by its endpoint.
//
// Lifetime: the engine's. Threads: loop, workers, settings and log as they say themselves;
// breaker() on the loop's thread only.

#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "nbd-server/disk/circuit_breaker.h"
#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/relay_engine.h"
#include "nbd-server/disk/worker_pool.h"

namespace signpost {

class RelayServices {
   public:
    RelayServices(RelaySettings given, std::shared_ptr<const TlsCredentials> tls, Log& lines)
        : settings(std::move(given)), credentials(std::move(tls)), log(lines) {}

    const RelaySettings settings;
    const std::shared_ptr<const TlsCredentials> credentials;  // null: no TLS
    Log& log;
    EventLoop loop;
    WorkerPool workers{4};

    CircuitBreaker& breaker(const std::string& endpoint) {
        const auto seed = static_cast<std::uint32_t>(std::hash<std::string>{}(endpoint));
        return breakers_.try_emplace(endpoint, seed).first->second;
    }

   private:
    std::unordered_map<std::string, CircuitBreaker> breakers_;
};

}  // namespace signpost
