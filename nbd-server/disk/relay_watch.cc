// SPDX-License-Identifier: BSD-3-Clause
//
// Time in a RelayCore: deadlines, lanes that have fallen silent, and lanes that idle. One tick
// every tenth of a second looks at what is under way; nothing here is on the path of a request that
// is answered in time.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "nbd-server/disk/relay_core.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTick{100};
constexpr milliseconds kShortestTick{25};
constexpr seconds kIdleTick{5};

// A tick that comes so much later than it was due says that this process did not run: it was
// stopped, or its machine paused.
constexpr milliseconds kStandstill{500};

// A server that sends less than this while somebody waits counts as silent (F4).
constexpr std::uint64_t kMinimumProgress = 64 * 1024;  // bytes a second

}  // namespace

void RelayCore::watch_time() {
    const Time due = services_.loop.now() + tick_length();
    if (tick_.id != 0 && tick_.due <= due) {
        return;
    }
    services_.loop.cancel(tick_);
    tick_ = services_.loop.call_at(due, [this] { tick(); });
}

void RelayCore::tick() {
    tick_.id = 0;
    const Time now = services_.loop.now();
    if (now - tick_.due > kStandstill) {
        forgive(now - tick_.due);
    }
    sample_lanes(now);
    expire(now);
    std::vector<Piece*> under_way;
    for (const auto& piece : pieces_) {
        if (piece->under_way()) {
            under_way.push_back(piece.get());
        }
    }
    for (Piece* piece : under_way) {
        second_attempt(*piece, now);
    }
    drop_hung_lanes(now);
    end_retirement(now);
    hear_news(now);
    seek_better(now);
    close_left_lanes();
    close_spare_lanes(now);
    probe_idle_lanes(now);
    forget_ahead(now);
    if (!waiting_.empty()) {
        consult();
        give_up_if_nobody_has_it();
    }
    pump();
    if (!pieces_.empty()) {
        watch_time();
    } else if (!(lanes_.empty() && retired_.empty()) && tick_.id == 0) {
        tick_ = services_.loop.call_at(next_look(now), [this] { tick(); });
    }
}

// Nobody has let us wait while we stood still: all may take longer by as much.
void RelayCore::forgive(EventLoop::Clock::duration standstill) {
    std::vector<Transfer*> transfers;
    for (const auto& piece : pieces_) {
        piece->deadline += standstill;
        for (Attempt& attempt : piece->attempts) {
            attempt.sent += standstill;
        }
        if (piece->transfer != nullptr &&
            std::ranges::find(transfers, piece->transfer) == transfers.end()) {
            transfers.push_back(piece->transfer);
        }
    }
    for (Transfer* transfer : transfers) {
        transfer->deadline += standstill;
    }
    for (const auto& route : routes_) {
        route->dial_began += standstill;
    }
    for (const auto* lanes : {&lanes_, &retired_}) {
        for (const auto& lane : *lanes) {
            for (Time* time : {&lane->busy_since, &lane->ready_since, &lane->last_used,
                               &lane->last_wanted, &lane->retired_until}) {
                *time += standstill;
            }
            for (auto& sample : lane->samples) {
                sample.first += standstill;
            }
            lane->link->postpone(standstill);
        }
    }
}

// While nothing is under way: when a lane is due for a probe, or perhaps has become spare.
RelayCore::Time RelayCore::next_look(Time now) const {
    Time due = now + std::min<milliseconds>(kIdleTick, limits_.spare);
    for (const auto& lane : lanes_) {
        due = lane->ready ? std::min(due, lane->last_used + limits_.probe) : due;
    }
    return std::max(due, now + kShortestTick);
}

void RelayCore::sample_lanes(Time now) {
    for (const auto& route : routes_) {
        route->hedge = hedge_of(*route);
    }
    for (const auto& lane : lanes_) {
        lane->samples.emplace_back(now, lane->link->bytes_received());
        while (lane->samples.size() > 2 && now - lane->samples[1].first > limits_.hang) {
            lane->samples.pop_front();
        }
        const milliseconds hedge = lane->route->hedge;
        lane->quiet = lane->link->outstanding() > 0 && now - lane->busy_since >= hedge &&
                      silent(*lane, now, hedge);
    }
}

milliseconds RelayCore::hedge_of(const Route& route) const {
    const auto p99 = route.latency.p99();
    if (!p99) {
        return limits_.hedge;
    }
    const auto late = std::chrono::ceil<milliseconds>(4 * *p99);
    return std::min(limits_.hedge, std::max(limits_.hedge_floor, late));
}

// Fine enough to see that the shortest hedge is due.
milliseconds RelayCore::tick_length() const {
    milliseconds shortest = limits_.hedge;
    for (const auto& route : routes_) {
        shortest = route->hedge.count() > 0 ? std::min(shortest, route->hedge) : shortest;
    }
    return std::clamp(shortest / 2, kShortestTick, kTick);
}

// True when the lane has sent less than the minimum for the whole window.
bool RelayCore::silent(const Lane& lane, Time now, milliseconds window) const {
    const Time start = now - window;
    const std::pair<Time, std::uint64_t>* before = nullptr;
    for (const auto& sample : lane.samples) {
        if (sample.first > start && before != nullptr) {
            break;
        }
        before = &sample;
    }
    if (before == nullptr || before->first > start) {
        return false;  // not watched for long enough
    }
    const auto wanted = kMinimumProgress * static_cast<std::uint64_t>(window.count()) / 1000;
    return lane.link->bytes_received() - before->second < wanted;
}

// Ends what has waited too long. A server that let it wait in silence is given up with it.
void RelayCore::expire(Time now) {
    std::vector<Piece*> expired;
    for (const auto& piece : pieces_) {
        if (now >= piece->deadline) {
            expired.push_back(piece.get());
        }
    }
    std::vector<Lane*> hung;
    for (Piece* piece : expired) {
        for (const Attempt& attempt : piece->attempts) {
            if (attempt.lane != nullptr && silent(*attempt.lane, now, limits_.hang) &&
                std::ranges::find(hung, attempt.lane) == hung.end()) {
                hung.push_back(attempt.lane);
            }
        }
        if (piece->purpose == Purpose::request) {
            services_.log.error(fmt::format(
                "disk {}: no server has answered for {} bytes at {} in {} s: signpost where {}",
                plan_.disk.str(), piece->length, piece->offset,
                std::chrono::duration_cast<seconds>(limits_.request).count(), plan_.disk.str()));
        }
        std::erase(waiting_, piece);
        if (piece->purpose != Purpose::replay) {
            finish(*piece, EIO);
        }
    }
    for (Lane* lane : hung) {
        lose_lane(*lane, "does not answer");
    }
}

// Asks somebody else as well for a read that a silent lane holds.
void RelayCore::second_attempt(Piece& piece, Time now) {
    const bool only_reads =
        piece.command == wire::Command::read || piece.command == wire::Command::block_status;
    const bool first_only = piece.attempts[0].lane != nullptr && piece.attempts[1].lane == nullptr;
    if (!plan_.traits.read_only || !only_reads || !first_only ||
        (piece.purpose != Purpose::request && piece.purpose != Purpose::ahead)) {
        return;
    }
    const Attempt& first = piece.attempts[0];
    const auto waited = now - first.sent;
    Route& route = *first.lane->route;
    if (waited < route.hedge || !silent(*first.lane, now, route.hedge)) {
        return;
    }
    if (others_left(piece, route)) {
        if (Lane* other = choose_lane(piece, &route)) {
            place(piece, 1, *other);
        }
        return;
    }
    if (waited < limits_.hang || !silent(*first.lane, now, limits_.hang)) {
        return;
    }
    // The same server again: perhaps only the connection is dead. The old lane is kept, because
    // perhaps the server is only slow.
    for (const auto& lane : lanes_) {
        if (lane->route == &route && lane->ready && lane->ready_since > first.sent) {
            place(piece, 1, *lane);
            return;
        }
    }
    if (route.dials == 0 && breaker(route).may_dial(now)) {
        dial(route);
    }
}

// Where another route can serve, a lane that has been silent for `hang` counts as dead.
void RelayCore::drop_hung_lanes(Time now) {
    std::vector<Lane*> hung;
    for (const auto& piece : pieces_) {
        for (const Attempt& attempt : piece->attempts) {
            if (attempt.lane == nullptr || now - attempt.sent < limits_.hang ||
                !silent(*attempt.lane, now, limits_.hang) ||
                std::ranges::find(hung, attempt.lane) != hung.end()) {
                continue;
            }
            if (others_left(*piece, *attempt.lane->route) || piece->purpose == Purpose::probe) {
                hung.push_back(attempt.lane);
            }
        }
    }
    for (const auto& lane : lanes_) {
        // All that was on it has been answered by others.
        if (lane->ready && lane->pieces == 0 && lane->link->outstanding() > 0 &&
            now - lane->busy_since >= limits_.hang && silent(*lane, now, limits_.hang)) {
            hung.push_back(lane.get());
        }
    }
    for (Lane* lane : hung) {
        lose_lane(*lane, "does not answer");
    }
}

// NBD has no ping. A lane that nobody uses is asked for one block now and then, so that a server
// that went away is noticed before a client needs it (R22).
void RelayCore::probe_idle_lanes(Time now) {
    for (const auto& lane : lanes_) {
        if (!lane->ready || lane->link->outstanding() > 0 ||
            now - lane->last_used < limits_.probe) {
            continue;
        }
        const std::uint64_t length =
            std::min<std::uint64_t>(lane->link->info().minimum_block, plan_.traits.size);
        if (length == 0) {
            continue;
        }
        Piece& probe =
            new_piece(Purpose::probe, wire::Command::read, 0, static_cast<std::uint32_t>(length));
        probe.deadline = now + 2 * limits_.hang;
        place(probe, 0, *lane);
    }
}

// What a burst of reads has left: one lane to a server is enough for a disk that idles.
void RelayCore::close_spare_lanes(Time now) {
    std::vector<Lane*> spare;
    std::vector<const Route*> seen;
    for (const auto& lane : lanes_) {
        if (!lane->ready) {
            continue;
        }
        const bool beside_another = std::ranges::find(seen, lane->route) != seen.end();
        seen.push_back(lane->route);
        if (beside_another && lane->link->outstanding() == 0 &&
            now - lane->last_wanted >= limits_.spare) {
            spare.push_back(lane.get());
        }
    }
    for (Lane* lane : spare) {
        lane->link->close();
        bury_lane(*lane);
    }
}

// Nothing has been read yet, and every location has said that it does not have the disk: waiting
// would not change that.
void RelayCore::give_up_if_nobody_has_it() {
    const Time now = services_.loop.now();
    const bool in_vain = consulted_in_vain_ || !plan_.ask_again;
    const bool all_stale = std::ranges::all_of(routes_, [&](const auto& route) {
        return !route->stale_reason.empty() && now < route->stale_until;
    });
    if (pin_ || !in_vain || !all_stale) {
        return;
    }
    std::deque<Piece*> waiting;
    waiting.swap(waiting_);
    for (Piece* piece : waiting) {
        finish(*piece, EIO);
    }
}

}  // namespace signpost
