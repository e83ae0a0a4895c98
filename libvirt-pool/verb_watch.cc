// SPDX-License-Identifier: BSD-3-Clause
//
// `watch`: keeps a pool equal to the catalog for as long as it runs, and lets machines go on that
// an outage has stopped. Whatever is away meanwhile (the catalog, libvirt) is waited for.

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "libvirt-pool/machine_disks.h"
#include "libvirt-pool/pool_sync.h"
#include "libvirt-pool/pool_verbs.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

constexpr seconds kAnyway{60};  // a pass without a sign that one is needed
constexpr seconds kMaxBackOff{30};

class Watching {
   public:
    Watching(const PoolContext& context, seconds interval)
        : context_(context), interval_(interval) {}

    [[noreturn]] void run();

   private:
    Outcome<void> look();
    Outcome<void> sync_if_needed();
    Outcome<void> let_machines_go_on();
    void say_once(const std::string& trouble);
    timespec changed_at() const;

    const PoolContext& context_;
    const seconds interval_;
    std::optional<OpenPool> pool_;
    std::unique_ptr<Catalog> catalog_;
    std::optional<std::uint64_t> seen_;  // change sequence
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
    const timespec changed = changed_at();
    const bool same = seen_ == *sequence && changed.tv_sec == directory_seen_.tv_sec &&
                      changed.tv_nsec == directory_seen_.tv_nsec;
    if (same && Clock::now() - synced_ < kAnyway) {
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
    seen_ = *sequence;
    directory_seen_ = changed_at();
    synced_ = Clock::now();
    return {};
}

// Only machines with a disk of the pool; each time later while the server stays away.
Outcome<void> Watching::let_machines_go_on() {
    const auto machines = pool_->host.machines();
    if (!machines) {
        return std::unexpected(pool_failure(machines.error()));
    }
    std::map<std::string, Stopped> still;
    for (const MachineFacts& facts : *machines) {
        const auto disks = disks_in_pool(facts, context_.options.pool, pool_->directory);
        if (facts.state != MachineFacts::State::paused_by_error || !disks || disks->empty()) {
            continue;
        }
        Stopped& stopped = still[facts.name] = stopped_[facts.name];
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
    stopped_ = std::move(still);
    return {};
}

Outcome<void> Watching::look() {
    if (!pool_) {
        auto pool = open_pool(context_.options);
        if (!pool) {
            return std::unexpected(pool.error());
        }
        pool_.emplace(std::move(*pool));
    }
    // Machines do not wait for a catalog.
    if (const auto gone_on = let_machines_go_on(); !gone_on) {
        pool_.reset();
        return gone_on;
    }
    if (!catalog_) {
        auto catalog = open_pool_catalog(pool_->settings);
        if (!catalog) {
            return std::unexpected(catalog.error());
        }
        catalog_ = std::move(*catalog);
    }
    const auto synced = sync_if_needed();
    if (!synced) {
        catalog_.reset();
        pool_.reset();
    }
    return synced;
}

void Watching::run() {
    while (true) {
        const auto looked = look();
        say_once(looked ? "" : looked.error().message);
        std::this_thread::sleep_for(interval_);
    }
}

}  // namespace

PoolResult run(const PoolContext& context, const WatchVerb& verb) {
    // What can never come right ends the command at once.
    const auto pool = open_pool(context.options);
    if (!pool && pool.error().code != ExitCode::peer_unreachable &&
        pool.error().code != ExitCode::no_such_disk) {
        return std::unexpected(pool.error());
    }
    Watching(context, seconds(std::max<std::uint64_t>(1, verb.interval_s))).run();
}

}  // namespace signpost
