// SPDX-License-Identifier: BSD-3-Clause
//
// RequestCounts is what one event loop's sessions have been asked, by kind and by where the bytes
// came from. Only the loop counts; anybody may read.
//
// Lifetime: its SessionLoop's. Threads: as said.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/histogram.h"

namespace signpost {

enum class SessionRoute : std::uint8_t { local, relay, cache };

inline constexpr std::array<std::string_view, 3> kRouteNames{"local", "relay", "cache"};
inline constexpr std::array<std::string_view, 7> kOpNames{
    "read", "write", "flush", "trim", "write_zeroes", "cache", "block_status"};

class RequestCounts {
   public:
    struct Kind {
        Histogram durations;  // of all that were answered
        std::atomic<std::uint64_t> errors{0};
    };

    Kind& of(Op op, SessionRoute route) {
        return kinds_[static_cast<std::size_t>(op)][static_cast<std::size_t>(route)];
    }

    // At once: of those whose bytes were at hand.
    void count(Op op, SessionRoute route, Histogram::Duration duration, bool good,
               std::uint64_t times = 1) {
        Kind& kind = of(op, route);
        kind.durations.count(duration, times);
        if (!good) {
            kind.errors.store(kind.errors.load(std::memory_order_relaxed) + times,
                              std::memory_order_relaxed);
        }
    }

   private:
    std::array<std::array<Kind, kRouteNames.size()>, kOpNames.size()> kinds_;
};

}  // namespace signpost
