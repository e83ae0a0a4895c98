// SPDX-License-Identifier: BSD-3-Clause
//
// StubKeeper keeps a server's stubs like the catalog, and knows whether the catalog answers.
//
// One thread of its own does all the writing, so that nobody who opens a disk waits for a disk of
// this server's state. It asks the catalog for its change sequence every few seconds: an unchanged
// one proves that every stub is still true. A changed one begins a round: page by page, at a
// bounded rate, the stubs are compared with the catalog's disks, and what differs is written. So
// every disk of the federation is known when the catalog dies, not only those that were asked for.
// Disks that were asked for are looked at again when their time to live is over, rounds or not:
// stubs lapse although they are in use.
//
// How old the knowledge is, is measured by the monotonic clock; only across a restart by the wall
// clock, and then an age is never negative.
//
// This server's own locations are kept even where the catalog has lost them, until it has been told
// of all of them again (own_told): their generations and digests are given back to it.
//
// Lifetime: one thread, stopped and joined by the destructor; catalog, store and log outlive it.
// Threads: any.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "nbd-server/disk/stub_store.h"

namespace signpost {

struct StubKeeperSettings {
    std::string server;
    std::chrono::milliseconds lifetime{300'000};  // of a stub: then it is looked at again
    std::chrono::milliseconds probe{5000};        // between two looks at the change sequence
    std::chrono::milliseconds shortest_round{2000};
    std::chrono::milliseconds servers{30'000};  // between two looks at who is alive
    std::string known_trouble;  // of the catalog at start; empty: none

    // Seam for tests: seconds since 1970.
    std::function<std::int64_t()> wall_clock = {};
};

class StubKeeper {
   public:
    using Clock = std::chrono::steady_clock;

    StubKeeper(StubKeeperSettings settings, Catalog& live, StubStore& store, Log& log);
    StubKeeper(const StubKeeper&) = delete;
    StubKeeper& operator=(const StubKeeper&) = delete;
    ~StubKeeper();

    // Why the catalog is not to be asked now; nothing while it answers.
    std::optional<Error> trouble() const;

    // A look-up has failed. It is tried again from now on by the thread alone.
    void lost(const Error& why);

    // As of when the stubs are true, in seconds since 1970 by today's clock; 0: not known.
    std::int64_t as_of() const;

    // What the catalog just said, and that somebody wanted to know.
    void learn(const DiskRecord& record);
    void learn_none(const DiskName& name);

    // It was changed: look at it soon.
    void look_again(const DiskName& name);

    // Whether the catalog has been told all that this server holds, so that its word counts.
    void set_own_told(bool told);

    // The catalog has gone back in time, and what it was told is to be told again: true once.
    bool take_own_lost() { return own_lost_.exchange(false); }

    // Whether it has gone back, asked now.
    bool has_gone_back() const;

    // Something was changed: look soon.
    void hasten();
    // Somebody has changed something: look before long.
    void hint();

   private:
    struct Round {
        std::uint64_t sequence;
        Clock::time_point begun;
        std::string after = {};
        std::uint64_t disks = 0;
    };
    struct Use {
        Clock::time_point due;
        Clock::time_point last;
    };
    using News = std::map<DiskName, std::optional<DiskRecord>>;

    void look_within(std::chrono::milliseconds time);

    // All of the thread's.
    void run();
    Clock::time_point next_due() const;  // with the lock held
    Clock::time_point probe_time() const;
    void write_site_costs(Catalog& rows);
    void probe();
    void saw(std::uint64_t sequence, Clock::time_point asked);
    void begin_round(std::uint64_t sequence, Clock::time_point asked);
    void turn_page();
    void end_round();
    bool write_servers();
    void write_news();
    void look_again_at_used();
    bool write_page(std::vector<DiskRecord> page, const std::string& after, bool last);
    void compare(std::optional<DiskRecord> now, const DiskRecord* kept, Restoration& change);
    bool write(const Restoration& change);
    void notice_new_beginning();
    void save_note();
    void answered();
    void add_news(const DiskName& name, std::optional<DiskRecord> record);

    const StubKeeperSettings settings_;
    Catalog& live_;
    StubStore& store_;
    Log& log_;

    std::atomic<bool> own_told_{false};
    std::atomic<bool> own_lost_{false};
    std::atomic<bool> away_{false};

    mutable std::mutex mutex_;  // of what follows, up to the thread's own
    std::condition_variable wake_;
    bool stopping_ = false;
    std::optional<Error> trouble_;
    Clock::time_point probe_at_{};
    News news_;
    Clock::time_point news_at_{};
    std::map<DiskName, Use> used_;
    std::optional<Clock::time_point> confirmed_;

    // The thread's own.
    StubNote known_;
    unsigned beginnings_ = 0;  // of the store
    std::optional<Round> round_;
    bool round_wanted_ = false;
    Clock::time_point next_round_{};
    Clock::time_point page_at_{};
    Clock::time_point servers_at_{};
    Clock::time_point note_at_{};
    Clock::time_point removals_from_{};  // before that nothing is forgotten
    std::chrono::milliseconds pause_;
    std::minstd_rand chance_{std::random_device{}()};

    std::thread thread_;  // it uses all of the above
    std::shared_ptr<void> hints_;
};

}  // namespace signpost
