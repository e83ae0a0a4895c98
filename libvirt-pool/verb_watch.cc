// SPDX-License-Identifier: BSD-3-Clause
//
// `watch`: keeps a pool equal to the catalog for as long as it runs, and lets machines go on that
// an outage has stopped. Whatever is away meanwhile (the catalog, libvirt) is waited for.
//
// libvirt tells of what happens to the pool and to machines, so that each is seen to at once; the
// catalog tells nothing, and is looked at every few seconds. A pass refreshes the pool only when it
// has changed something, and libvirt tells of that refresh too: that one is expected, and skipped.

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <thread>

#include "libvirt-pool/machine_disks.h"
#include "libvirt-pool/pool_events.h"
#include "libvirt-pool/pool_sync.h"
#include "libvirt-pool/pool_verbs.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

constexpr seconds kAnyway{60};  // a pass without a sign that one is needed
constexpr seconds kBetween{5};  // passes that somebody's refresh asks for
constexpr seconds kAway{2};     // until libvirt is asked for again
constexpr seconds kMaxBackOff{30};

class Watching {
   public:
    Watching(const PoolContext& context, seconds interval)
        : context_(context), interval_(interval) {}

    [[noreturn]] void run();

   private:
    Outcome<void> look();
    Outcome<void> open();
    void close();
    Outcome<void> read_settings_again();
    Outcome<void> open_catalog();
    Outcome<void> sync_if_needed();
    Outcome<void> let_machines_go_on();
    void wait();
    void say_once(const std::string& trouble);
    timespec changed_at() const;

    const PoolContext& context_;
    const seconds interval_;
    std::optional<OpenPool> pool_;
    std::optional<PoolEvents> events_;  // on the pool's connection
    PoolEvents::Counts told_;           // when it was last waited for
    std::uint64_t expected_ = 0;        // starts and refreshes that need no pass
    std::unique_ptr<Catalog> catalog_;
    std::optional<std::uint64_t> seen_;  // change sequence; empty: a pass is due
    timespec directory_seen_{};
    Clock::time_point synced_{};
    std::string trouble_;

    struct Stopped {
        Clock::time_point try_at;
        seconds back_off{1};
    };
    std::map<std::string, Stopped> stopped_;  // machines
};

timespec Watching::changed_at() const {
    struct stat status {};
    ::fstat(pool_->directory.descriptor(), &status);
    return status.st_mtim;
}

void Watching::say_once(const std::string& trouble) {
    if (trouble != trouble_) {
        context_.console.note(trouble.empty()
                                  ? std::string("signpost-pool: all is well again")
                                  : fmt::format("signpost-pool: {}; trying again", trouble));
        trouble_ = trouble;
    }
}

Outcome<void> Watching::sync_if_needed() {
    const auto sequence = catalog_->change_sequence();
    if (!sequence) {
        return std::unexpected(catalog_failure(sequence.error()));
    }
    const std::uint64_t told = events_->counts().pool;
    const bool asked = told > expected_ && Clock::now() - synced_ >= kBetween;
    const timespec changed = changed_at();
    const bool same = seen_ == *sequence && changed.tv_sec == directory_seen_.tv_sec &&
                      changed.tv_nsec == directory_seen_.tv_nsec;
    if (same && !asked && Clock::now() - synced_ < kAnyway) {
        return {};
    }
    const SyncTerms terms{context_.options.pool, false, false, nullptr};
    const auto report = sync_pool(terms, pool_->settings, *catalog_, pool_->host, pool_->directory);
    if (!report) {
        return std::unexpected(pool_failure(report.error()));
    }
    if (!report->plan.actions.empty()) {
        context_.console.note(fmt::format("signpost-pool: {} volumes changed, {} unchanged",
                                          report->plan.actions.size(), report->plan.unchanged));
    }
    for (const SyncReport::Failed& action : report->failed) {
        context_.console.note(fmt::format("signpost-pool: {}", action.message));
    }
    expected_ = told + (report->refreshed ? 1 : 0);
    seen_ = *sequence;
    directory_seen_ = changed_at();
    synced_ = Clock::now();
    return {};
}

// Only machines with a disk of the pool; each time later while the server stays away. How late is
// forgotten some time after the last try, since a machine that goes on may stop at once again.
Outcome<void> Watching::let_machines_go_on() {
    const auto machines = pool_->host.machines();
    if (!machines) {
        return std::unexpected(pool_failure(machines.error()));
    }
    for (const MachineFacts& facts : *machines) {
        const auto disks = disks_in_pool(facts, context_.options.pool, pool_->directory);
        if (facts.state != MachineFacts::State::paused_by_error || !disks || disks->empty()) {
            continue;
        }
        Stopped& stopped = stopped_[facts.name];
        if (Clock::now() < stopped.try_at) {
            continue;
        }
        stopped.try_at = Clock::now() + stopped.back_off;
        stopped.back_off = std::min(2 * stopped.back_off, kMaxBackOff);
        const auto machine = pool_->host.machine(facts.name);
        if (machine && machine->resume()) {
            context_.console.note(
                fmt::format("signpost-pool: machine {} was stopped by a disk's "
                            "error, and goes on",
                            escaped(facts.name)));
        }
    }
    std::erase_if(stopped_, [](const auto& stopped) {
        return Clock::now() - stopped.second.try_at > kMaxBackOff;
    });
    return {};
}

Outcome<void> Watching::open() {
    auto pool = open_pool(context_.options);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    pool_.emplace(std::move(*pool));
    events_.emplace(pool_->host, context_.options.pool);
    told_ = {};
    expected_ = 0;
    seen_.reset();  // nobody has told of what happened before
    return {};
}

void Watching::close() {
    events_.reset();
    pool_.reset();
}

// `define` may have been called meanwhile.
Outcome<void> Watching::read_settings_again() {
    auto settings = settings_in(pool_->directory, context_.options);
    if (!settings) {
        return std::unexpected(settings.error());
    }
    if (*settings != pool_->settings) {
        pool_->settings = std::move(*settings);
        catalog_.reset();
        seen_.reset();
    }
    return {};
}

Outcome<void> Watching::open_catalog() {
    if (!catalog_) {
        auto catalog = open_pool_catalog(pool_->settings);
        if (!catalog) {
            return std::unexpected(catalog.error());
        }
        catalog_ = std::move(*catalog);
    }
    return {};
}

Outcome<void> Watching::look() {
    if (events_ && events_->counts().closed) {
        close();
    }
    if (!pool_) {
        if (const auto opened = open(); !opened) {
            return opened;
        }
    }
    // Machines do not wait for a catalog.
    for (const auto step : {&Watching::let_machines_go_on, &Watching::read_settings_again,
                            &Watching::open_catalog, &Watching::sync_if_needed}) {
        if (const auto done = (this->*step)(); !done) {
            catalog_.reset();
            if (done.error().code != ExitCode::catalog_unreachable) {
                close();
            }
            return done;
        }
    }
    return {};
}

// Until the next look is due, or libvirt tells of something.
void Watching::wait() {
    const auto now = Clock::now();
    auto until = now + interval_;
    const auto not_after = [&](Clock::time_point moment) {
        if (moment > now) {
            until = std::min(until, moment);
        }
    };
    for (const auto& [machine, stopped] : stopped_) {
        not_after(stopped.try_at);
    }
    if (!events_) {
        not_after(now + kAway);
        std::this_thread::sleep_until(until);
        return;
    }
    if (events_->counts().pool > expected_) {
        not_after(synced_ + kBetween);
    }
    told_ = events_->wait(told_, until);
}

void Watching::run() {
    while (true) {
        const auto looked = look();
        say_once(looked ? "" : looked.error().message);
        wait();
    }
}

}  // namespace

PoolResult run(const PoolContext& context, const WatchVerb& verb) {
    // At once, wherever it is: a pass may be cut short anywhere.
    std::signal(SIGTERM, [](int) { ::_exit(static_cast<int>(ExitCode::ok)); });
    PoolEvents::begin_loop();
    // What can never come right ends the command at once.
    const auto pool = open_pool(context.options);
    if (!pool && pool.error().code != ExitCode::peer_unreachable &&
        pool.error().code != ExitCode::no_such_disk) {
        return std::unexpected(pool.error());
    }
    Watching(context, seconds(std::max<std::uint64_t>(1, verb.interval_s))).run();
}

}  // namespace signpost
