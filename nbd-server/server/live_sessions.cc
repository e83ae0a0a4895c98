// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/live_sessions.h"

#include <algorithm>

namespace signpost {

namespace {

constexpr std::size_t kMaxPeersKnown = 100'000;  // disks

}  // namespace

std::shared_ptr<SessionMeter> LiveSessions::begin(SessionReport facts) {
    auto meter = std::make_shared<SessionMeter>();
    meter->facts = std::move(facts);
    const std::lock_guard lock(mutex_);
    sessions_[meter->facts.id] = {.meter = meter};
    ++opens_[{meter->facts.route, "ok"}];
    return meter;
}

void LiveSessions::end(const SessionMeter& meter) {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(meter.facts.id);
    if (found != sessions_.end()) {
        count_bytes(found->second);
        sessions_.erase(found);
    }
}

// A disk that nobody has open any more may stay in the table; what is told of it is told of those
// who open it next, and is put right as soon as the relay has a server.
void LiveSessions::relayed_from(const std::string& disk, const std::string& peer) {
    const std::lock_guard lock(mutex_);
    for (auto& [id, entry] : sessions_) {
        if (entry.meter->facts.disk == disk) {
            count_bytes(entry);  // what came so far came from the one before
        }
    }
    if (peers_.size() < kMaxPeersKnown || peers_.contains(disk)) {
        peers_[disk] = peer;
    }
}

void LiveSessions::reconnected(const std::string& peer) {
    const std::lock_guard lock(mutex_);
    ++reconnects_[peer];
}

void LiveSessions::refused(Errc why) {
    const char* const result = why == Errc::not_found     ? "not_found"
                               : why == Errc::denied      ? "denied"
                               : why == Errc::unavailable ? "unavailable"
                                                          : "error";
    const std::lock_guard lock(mutex_);
    ++opens_[{"none", result}];
}

LiveSessions::Opens LiveSessions::opens() const {
    const std::lock_guard lock(mutex_);
    return opens_;
}

LiveSessions::Peers LiveSessions::reconnects() const {
    const std::lock_guard lock(mutex_);
    return reconnects_;
}

std::string LiveSessions::peer_of(const SessionReport& facts) const {
    const auto found = facts.route == "local" ? peers_.end() : peers_.find(facts.disk);
    return found == peers_.end() ? "" : found->second;
}

void LiveSessions::count_bytes(Entry& entry) {
    const std::uint64_t now = entry.meter->read.load(std::memory_order_relaxed);
    if (now > entry.counted) {
        bytes_[{entry.meter->facts.route, peer_of(entry.meter->facts)}] += now - entry.counted;
        entry.counted = now;
    }
}

std::vector<SessionReport> LiveSessions::reports() {
    const std::lock_guard lock(mutex_);
    std::vector<SessionReport> reports;
    reports.reserve(sessions_.size());
    for (const auto& [id, entry] : sessions_) {
        SessionReport report = entry.meter->facts;
        report.peer = peer_of(report);
        report.read = entry.meter->read.load(std::memory_order_relaxed);
        report.written = entry.meter->written.load(std::memory_order_relaxed);
        report.samples.assign(entry.samples.begin(), entry.samples.end());
        reports.push_back(std::move(report));
    }
    return reports;
}

std::size_t LiveSessions::count() const {
    const std::lock_guard lock(mutex_);
    return sessions_.size();
}

LiveSessions::Bytes LiveSessions::bytes_read() {
    const std::lock_guard lock(mutex_);
    for (auto& [id, entry] : sessions_) {
        count_bytes(entry);
    }
    return bytes_;
}

bool LiveSessions::kill(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) {
        return false;
    }
    found->second.meter->ended.store(true);
    return true;
}

void LiveSessions::sample() {
    const std::lock_guard lock(mutex_);
    for (auto& [id, entry] : sessions_) {
        const std::uint64_t now = entry.meter->read.load(std::memory_order_relaxed) +
                                  entry.meter->written.load(std::memory_order_relaxed);
        entry.samples.push_back((now - entry.sampled) / kSampleSeconds);
        entry.sampled = now;
        if (entry.samples.size() > kSamples) {
            entry.samples.pop_front();
        }
    }
}

}  // namespace signpost
