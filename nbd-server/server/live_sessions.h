// SPDX-License-Identifier: BSD-3-Clause
//
// LiveSessions knows the clients that have a disk open: who, which, by which way, how much. A
// session writes into a meter of its own, which nobody else writes to; whoever wants to know reads
// there. Nothing is shared while bytes move.
//
// Lifetime: outlives the sessions. Threads: any.

#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "nbd-server/http/session_report.h"

namespace signpost {

// One session's. Its loop writes the counters; `ended` is set by who wants the session to end, and
// seen by its loop within a second.
struct SessionMeter {
    SessionReport facts;  // all that stays as it was when the disk was opened
    std::atomic<std::uint64_t> read{0};
    std::atomic<std::uint64_t> written{0};
    std::atomic<bool> ended{false};
};

class LiveSessions {
   public:
    // Bytes that clients have had, by route and peer, of sessions that are no more, too.
    using Bytes = std::map<std::pair<std::string, std::string>, std::uint64_t>;
    // By route and result.
    using Opens = std::map<std::pair<std::string, std::string>, std::uint64_t>;
    using Peers = std::map<std::string, std::uint64_t>;

    LiveSessions() = default;
    LiveSessions(const LiveSessions&) = delete;
    LiveSessions& operator=(const LiveSessions&) = delete;

    std::shared_ptr<SessionMeter> begin(SessionReport facts);
    void end(const SessionMeter& meter);

    // DISK is relayed from PEER from now on.
    void relayed_from(const std::string& disk, const std::string& peer);

    // A relay's connection to PEER was lost in use, and is there again.
    void reconnected(const std::string& peer);

    // A client has asked for a disk in vain.
    void refused(Errc why);

    // In the order in which they began.
    std::vector<SessionReport> reports();
    std::size_t count() const;
    Bytes bytes_read();
    Opens opens() const;
    Peers reconnects() const;

    // False: there is none of that number.
    bool kill(std::uint64_t id);

    // Every kSampleSeconds, by one thread.
    void sample();

   private:
    struct Entry {
        std::shared_ptr<SessionMeter> meter;
        std::deque<std::uint64_t> samples = {};
        std::uint64_t sampled = 0;  // bytes of both kinds at the last sample
        std::uint64_t counted = 0;  // of those read, in bytes_
    };

    void count_bytes(Entry& entry);
    std::string peer_of(const SessionReport& facts) const;

    mutable std::mutex mutex_;                  // guards all below
    std::map<std::uint64_t, Entry> sessions_;   // by number
    std::map<std::string, std::string> peers_;  // by disk; of those that are relayed now
    Bytes bytes_;
    Opens opens_;
    Peers reconnects_;
};

}  // namespace signpost
