// SPDX-License-Identifier: BSD-3-Clause
//
// RelayServices is what a RelayEngine lends to the relayed disks of one of its loops: that loop,
// and what all loops share (RelayCommons): workers, limits, credentials, the log, pipes, and the
// health of every peer, known by its endpoint.
//
// Lifetime: the engine's. Threads: any, but for the loop, which says itself.

#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "nbd-server/disk/circuit_breaker.h"
#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/pipe_pool.h"
#include "nbd-server/disk/relay_ahead.h"
#include "nbd-server/disk/relay_engine.h"
#include "nbd-server/disk/worker_pool.h"

namespace signpost {

class RelayCommons {
   public:
    RelayCommons(RelaySettings given, std::shared_ptr<const TlsCredentials> tls, Log& lines)
        : settings(std::move(given)),
          credentials(std::move(tls)),
          log(lines),
          pipes(settings.pipes, settings.pipe_bytes),
          ahead(settings.ahead_bytes) {}

    const RelaySettings settings;
    const std::shared_ptr<const TlsCredentials> credentials;  // null: no TLS
    Log& log;
    PipePool pipes;
    ByteBudget ahead;
    WorkerPool workers{4};
    std::atomic<std::uint64_t> news{0};  // how often the catalog was seen changed

    // Of all disks of the process so many a second ask about that, however many there are.
    bool may_ask_about_news(EventLoop::Time now) {
        constexpr std::chrono::milliseconds kApart{50};
        const std::lock_guard lock(mutex_);
        if (now < next_question_) {
            return false;
        }
        next_question_ = now + kApart;
        return true;
    }

    CircuitBreaker& breaker(const std::string& endpoint) {
        const auto seed = static_cast<std::uint32_t>(std::hash<std::string>{}(endpoint));
        const std::lock_guard lock(mutex_);
        return breakers_.try_emplace(endpoint, seed).first->second;
    }

   private:
    std::mutex mutex_;
    EventLoop::Time next_question_{};                           // guarded by mutex_
    std::unordered_map<std::string, CircuitBreaker> breakers_;  // guarded by mutex_; never erased
};

class RelayServices {
   public:
    RelayServices(EventLoop& own_loop, RelayCommons& commons)
        : settings(commons.settings),
          credentials(commons.credentials.get()),
          log(commons.log),
          loop(own_loop),
          workers(commons.workers),
          pipes(commons.pipes),
          ahead(commons.ahead),
          commons_(commons) {}

    const RelaySettings& settings;
    const TlsCredentials* const credentials;  // null: no TLS
    Log& log;
    EventLoop& loop;
    WorkerPool& workers;
    PipePool& pipes;
    ByteBudget& ahead;
    std::atomic<unsigned> disks{0};  // that live on the loop

    CircuitBreaker& breaker(const std::string& endpoint) { return commons_.breaker(endpoint); }
    std::uint64_t news() const { return commons_.news.load(std::memory_order_relaxed); }
    bool may_ask_about_news() { return commons_.may_ask_about_news(loop.now()); }

   private:
    RelayCommons& commons_;
};

}  // namespace signpost
