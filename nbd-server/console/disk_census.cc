// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/console/disk_census.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "catalog/restore_point.h"

namespace signpost {

namespace {

constexpr int kLowWeight = 10;  // nice
constexpr std::size_t kPage = 500;

// The best first.
constexpr std::array kStates{LocationState::ready, LocationState::copying, LocationState::stale,
                             LocationState::damaged};

}  // namespace

void DiskCounter::add(const DiskRecord& record) {
    std::uint64_t ready = 0;
    bool reachable = false;
    auto best = kStates.end();
    for (const Location& location : record.locations) {
        ++counts_.by_server[location.server];
        best = std::min(best, std::ranges::find(kStates, location.state));
        if (location.state == LocationState::ready) {
            ++ready;
            reachable = reachable || !is_down_(location.server);
        }
    }
    if (best != kStates.end()) {
        ++counts_.by_state[std::string(to_string(*best))];
    }
    counts_.one_location += record.locations.size() == 1 ? 1 : 0;
    counts_.single_copy += ready == 1 ? 1 : 0;
    counts_.unreachable += reachable ? 0 : 1;
    const auto point = RestorePoint::of(record.name);
    if (!point) {
        return;
    }
    if (point->disk != disk_) {
        end_disk();
        disk_ = point->disk;
    }
    if (ready > 0) {
        newest_ = std::max(newest_, point->seconds());
    }
}

void DiskCounter::end_disk() {
    if (!disk_.empty() && newest_ != 0) {
        ++counts_.with_points;
        counts_.stalest = counts_.stalest == 0 ? newest_ : std::min(counts_.stalest, newest_);
        const bool stale = stale_after_.count() > 0 && now_ - newest_ > stale_after_.count();
        counts_.stale += stale ? 1 : 0;
    }
    newest_ = 0;
}

DiskCounts DiskCounter::finish() {
    end_disk();
    counts_.counted_at = now_;
    return std::move(counts_);
}

DiskCensus::DiskCensus(Settings settings)
    : settings_(std::move(settings)), thread_([this] { run(); }) {}

DiskCensus::~DiskCensus() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

std::optional<DiskCounts> DiskCensus::counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
}

// False: it is to end.
bool DiskCensus::rest(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, time, [this] { return ending_; });
}

void DiskCensus::run() {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowWeight);
    std::optional<std::uint64_t> seen;
    Clock::time_point walked{};
    do {
        const auto sequence = settings_.catalog.change_sequence();
        const bool due = Clock::now() - walked >= settings_.longest;
        if (!sequence || (seen == *sequence && !due)) {
            continue;
        }
        if (auto counts = walk()) {
            walked = Clock::now();
            seen = *sequence;
            const std::lock_guard lock(mutex_);
            counts_ = std::move(counts);
        }
    } while (rest(settings_.interval));
}

// Empty: the catalog has failed in the middle of it, or this ends.
std::optional<DiskCounts> DiskCensus::walk() {
    const auto begin = Clock::now();
    DiskCounter counter(std::time(nullptr), settings_.stale_after, settings_.is_down);
    std::string after;
    for (;;) {
        const auto page = settings_.catalog.list("", after, kPage);
        if (!page) {
            return std::nullopt;
        }
        for (const DiskRecord& record : *page) {
            counter.add(record);
        }
        if (page->size() < kPage) {
            break;
        }
        after = page->back().name.str();
        if (!rest(settings_.rest)) {
            return std::nullopt;
        }
    }
    DiskCounts counts = counter.finish();
    counts.duration = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
    return counts;
}

}  // namespace signpost
