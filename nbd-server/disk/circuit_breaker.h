// SPDX-License-Identifier: BSD-3-Clause
//
// CircuitBreaker says when a server that failed may be dialled again, so that many disks that wait
// for one dead server do not make a storm of connections (F28). Closed: anybody dials. After a
// failure it is open for a back-off that grows, with jitter; then one dial is let through as a
// probe, and its end decides.
//
// The back-off stays at or below a second: a server that is back must be in use within a second,
// and nobody dials unless a request waits.
//
// Pure: time comes in as an argument. Threads: any, because the loops of a process share what they
// know of a server.

#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

namespace signpost {

class CircuitBreaker {
   public:
    using Time = std::chrono::steady_clock::time_point;

    explicit CircuitBreaker(std::uint32_t seed) : random_(seed | 1) {}

    // True when a dial may begin now; while open that claims the probe.
    bool may_dial(Time now);

    // As may_dial, claiming nothing.
    bool would_dial(Time now) const;

    void succeeded();
    void failed(Time now);

    // The server is needed now, because another has just been lost: the next probe need not wait.
    void hasten(Time now);

    // The dial ended without telling anything about the server (we gave it up).
    void withdrawn();

    bool open() const;

    // Since the first of the failures that nothing has ended; zero when closed.
    std::chrono::steady_clock::duration open_for(Time now) const;

   private:
    bool lets_through(Time now) const;

    mutable std::mutex mutex_;  // guards all below
    unsigned failures_ = 0;
    bool probing_ = false;
    Time not_before_{};
    Time opened_{};
    std::uint32_t random_;
};

}  // namespace signpost
