// SPDX-License-Identifier: BSD-3-Clause
//
// Liveness says which servers beat, by what was seen of their heartbeats' sequence numbers: one
// whose number has moved within kServerLease is alive, one that was watched for so long without
// that is silent. No clock of another machine counts, nor does this one's time of day (F26); of a
// server that has not been watched for long enough it knows nothing.
//
// Pure: time comes in as an argument. Threads: any.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "catalog/records.h"

namespace signpost {

class Liveness {
   public:
    using Time = std::chrono::steady_clock::time_point;

    // What the catalog says now; to be told about every kHeartbeatInterval.
    void note(const std::vector<Server>& servers, Time now);

    // Empty: not known.
    std::optional<bool> beats(const Server& server, Time now) const;

   private:
    struct Seen {
        std::string instance;
        std::uint64_t sequence = 0;
        Time first{};  // when it was seen first
        Time moved{};  // when it was last seen moved; `first`: never
        Time last{};   // when it was last looked at
    };

    mutable std::mutex mutex_;  // guards seen_
    std::map<std::string, Seen, std::less<>> seen_;
};

}  // namespace signpost
