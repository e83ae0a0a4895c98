// SPDX-License-Identifier: BSD-3-Clause
//
// Lanes of a RelayCore: which one a piece goes on, when one is dialled, and what becomes of its
// pieces when it goes.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/disk/peer_address.h"
#include "nbd-server/disk/relay_core.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// One lane carries this much before a second is worth its handshake; small requests share one, so
// that their replies come in batches.
constexpr std::uint64_t kLaneBytes = 512 * 1024;
constexpr std::size_t kLaneRequests = 256;
// A server that is far away, or slow, works on few requests of a connection at a time (nbdkit: 16).
constexpr milliseconds kFar{5};
constexpr std::size_t kFarLanePieces = 16;
constexpr std::uint64_t kFarLaneBytes = 4 * 1024 * 1024;
constexpr unsigned kFarDials = 4;
constexpr seconds kRetirement{60};
constexpr milliseconds kLinger{20};
constexpr seconds kLeave{5};  // the same, when nobody is left whom the lane could serve

Result<std::vector<DialTarget>> find_targets(const Upstream& upstream, const AddressRules& rules) {
    if (upstream.prepare) {
        if (auto prepared = upstream.prepare(); !prepared) {
            return std::unexpected(prepared.error());
        }
    }
    std::vector<DialTarget> targets;
    Error last{Errc::invalid, "the server has no URI"};
    for (const NbdUri& uri : upstream.uris) {
        auto addresses = resolve_peer(uri, rules);
        if (!addresses) {
            last = addresses.error();
            continue;
        }
        for (const PeerAddress& address : *addresses) {
            targets.push_back({address, uri});
        }
    }
    if (targets.empty()) {
        return std::unexpected(last);
    }
    return targets;
}

}  // namespace

RelayCore::Lane* RelayCore::choose_lane(const Piece& piece, const Route* except) {
    const Time now = services_.loop.now();
    const auto usable = [&](const Route& route) {
        return &route != except && (piece.refused_by >> route.number & 1) == 0 &&
               may_serve(route, now);
    };
    if (preferred_ != nullptr && usable(*preferred_)) {
        if (Lane* lane = best_lane(*preferred_); lane != nullptr && !lane->quiet) {
            widen(*preferred_);
            return lane;
        }
    }
    std::vector<Route*> order = in_order();
    Lane* last_choice = nullptr;
    for (Route* route : order) {
        Lane* lane = usable(*route) ? best_lane(*route) : nullptr;
        if (lane != nullptr && !lane->quiet) {
            return lane;
        }
        last_choice = last_choice == nullptr ? lane : last_choice;
    }
    if (last_choice != nullptr) {
        return last_choice;
    }
    put_troubled_last(order);
    for (Route* route : order) {
        if (!usable(*route)) {
            continue;
        }
        if (has_lane(*route) || (route->dials > 0 && now - route->dial_began < limits_.hedge)) {
            return nullptr;  // full, or on its way; after `hedge` the next one is dialled as well
        }
        if (route->dials == 0 && breaker(*route).may_dial(now)) {
            dial(*route);
            return nullptr;
        }
    }
    return nullptr;
}

// And of these first whoever has had no turn for the longest time: two silent servers, of which
// each may be dialled again by the time that the other's dial has failed, would keep a third from
// its turn.
void RelayCore::put_troubled_last(std::vector<Route*>& order) const {
    const std::vector<Route*> before = order;
    std::ranges::sort(order, {}, [&](const Route* route) {
        return std::pair(breaker(*route).open() ? route->dial_began : Time::min(),
                         std::ranges::find(before, route) - before.begin());
    });
}

// A helper of our own is never far, whatever its disk takes.
bool RelayCore::is_far(const Route& route) {
    return !route.upstream.trusted_address && route.latency.round_trip() >= kFar;
}

bool RelayCore::has_room(const Lane& lane) const {
    return is_far(*lane.route) ? lane.bytes < kFarLaneBytes && lane.pieces < kFarLanePieces
                               : lane.bytes < kLaneBytes;
}

// The first lane with room, so that small requests gather on one; else the least loaded. A lane
// that has fallen silent is the last choice.
RelayCore::Lane* RelayCore::best_lane(const Route& route) const {
    Lane* best = nullptr;
    for (const auto& lane : lanes_) {
        if (lane->route != &route || !lane->ready || lane->link->outstanding() >= kLaneRequests) {
            continue;
        }
        if (!lane->quiet && has_room(*lane)) {
            return lane.get();
        }
        if (best == nullptr || (best->quiet && !lane->quiet) ||
            (best->quiet == lane->quiet && lane->bytes < best->bytes)) {
            best = lane.get();
        }
    }
    return best;
}

bool RelayCore::has_lane(const Route& route) const {
    return std::ranges::any_of(
        lanes_, [&](const auto& lane) { return lane->ready && lane->route == &route; });
}

// Another lane to a route whose lanes are all busy, where the server allows it. To a far one each
// lane takes its time to come up, so several are made at once.
void RelayCore::widen(Route& route) {
    if (!plan_.traits.read_only) {
        return;
    }
    const bool far = is_far(route);
    if (route.dials >= (far ? kFarDials : 1)) {
        return;
    }
    unsigned count = route.dials;
    for (const auto& lane : lanes_) {
        if (lane->route != &route || !lane->ready) {
            continue;
        }
        const bool shared = (lane->link->info().flags & wire::kFlagCanMultiConn) != 0;
        if (has_room(*lane) || !shared) {
            return;
        }
        ++count;
    }
    const unsigned maximum = far ? limits_.far_connections : limits_.connections;
    if (count < maximum && breaker(route).may_dial(services_.loop.now())) {
        dial(route);
    }
}

void RelayCore::dial(Route& route) {
    ++route.dials;
    route.dial_began = services_.loop.now();
    const AddressRules rules{services_.settings.allow_privileged_ports,
                             route.upstream.trusted_address};
    if (!route.upstream.prepare && std::ranges::all_of(route.upstream.uris, resolves_at_once)) {
        dial_now(route, find_targets(route.upstream, rules));
        return;
    }
    services_.workers.run([weak = weak_from_this(), loop = &services_.loop, &route, rules,
                           upstream = route.upstream] {
        loop->post([weak, &route, targets = find_targets(upstream, rules)]() mutable {
            if (const auto self = weak.lock(); self && !self->shut_down_) {
                self->dial_now(route, std::move(targets));
            }
        });
    });
}

void RelayCore::dial_now(Route& route, Result<std::vector<DialTarget>> targets) {
    if (!targets) {
        --route.dials;
        const Error& error = targets.error();
        if (error.code == Errc::denied || error.code == Errc::invalid) {
            breaker(route).withdrawn();
            make_stale(route, error.message);
        } else {
            breaker(route).failed(services_.loop.now());
            report_down(route, error.message);
        }
        return;
    }
    auto lane = std::make_unique<Lane>();
    lane->route = &route;
    const auto tls =
        route.upstream.trusted_address ? wire::TlsMode::off : services_.settings.tls.mode;
    lane->link = std::make_unique<UpstreamLink>(
        services_.loop, static_cast<UpstreamLink::Owner&>(*this),
        UpstreamLink::Setting{limits_, services_.credentials, tls, route.upstream.ticket});
    lane->link->dial(std::move(*targets));
    lanes_.push_back(std::move(lane));
}

RelayCore::Lane* RelayCore::lane_of(const UpstreamLink& link) {
    for (const auto* lanes : {&lanes_, &retired_}) {
        for (const auto& lane : *lanes) {
            if (lane->link.get() == &link) {
                return lane.get();
            }
        }
    }
    return nullptr;
}

void RelayCore::link_ready(UpstreamLink& link) {
    Lane& lane = *lane_of(link);
    Route& route = *lane.route;
    --route.dials;
    breaker(route).succeeded();
    if (const auto copy = !pin_ && plan_.held ? plan_.held() : std::nullopt) {
        hold_to(*copy);
    }
    const std::string shown = fingerprint_in(link.info().description).value_or("");
    route.changed = !wrong_content(route, shown).empty();
    std::string reason = unsuitable(lane);
    if (reason.empty() && !route.doubted) {
        reason = doubt(lane);
        route.doubted = !reason.empty();
    }
    if (!reason.empty()) {
        note_size(route, link.info().size);
        link.close();
        bury_lane(lane);
        make_stale(route, reason);
        pump();
        return;
    }
    route.stale_reason.clear();
    route.unknown_there = route.untrue = false;
    if (!pin_) {
        pin(route, shown);
    }
    if (std::exchange(route.reported_down, false)) {
        services_.log.info(
            fmt::format("disk {}: {} answers again", plan_.disk.str(), route.name()));
    }
    if (std::exchange(route.lost, false) && services_.settings.reconnected) {
        services_.settings.reconnected(route.upstream.location.server);
    }
    lane.ready = true;
    lane.ready_since = lane.last_used = lane.last_wanted = services_.loop.now();
    lane.samples.emplace_back(lane.ready_since, link.bytes_received());
    if (preferred_ == nullptr || best_lane(*preferred_) == nullptr) {
        prefer(route);
    }
    seek_better(lane.ready_since);
    prepare_replay();
    watch_time();
    pump();
}

// Why this lane must not be used; empty when it may.
std::string RelayCore::unsuitable(const Lane& lane) const {
    const wire::ExportInfo& info = lane.link->info();
    if (info.size != plan_.traits.size) {
        return fmt::format("shows {} bytes where {} were expected", info.size, plan_.traits.size);
    }
    if (describes_relay(info.description)) {
        return "is itself a Signpost relay: register that server without --foreign";
    }
    // Of `local:NAME` only: a foreign server may describe its exports as it likes.
    const auto& uris = lane.route->upstream.uris;
    const bool asked_for_its_own =
        !uris.empty() && uris.front().export_name.starts_with(ExportName::kLocalPrefix);
    if (asked_for_its_own && describes_point(info.description)) {
        return "has restore points of it, but not the disk itself";
    }
    if (!plan_.traits.read_only) {
        if ((info.flags & wire::kFlagReadOnly) != 0) {
            return "is read-only";
        }
        if ((info.flags & wire::kFlagSendFlush) == 0) {
            return "cannot flush, so a write could be lost";
        }
        if (info.minimum_block > plan_.traits.minimum_block) {
            return fmt::format("writes blocks of {} bytes only", info.minimum_block);
        }
    }
    return wrong_content(*lane.route, fingerprint_in(info.description).value_or(""));
}

// The image is not the one that was verified, so that the session would have this copy alone. Why
// another should have its turn before; empty when it need not.
std::string RelayCore::doubt(const Lane& lane) const {
    const Location& row = lane.route->upstream.location;
    const std::string shown = fingerprint_in(lane.link->info().description).value_or("");
    const bool other_image =
        !row.digest.empty() && !row.fingerprint.empty() && row.fingerprint != shown;
    const Time now = services_.loop.now();
    const bool others = std::ranges::any_of(routes_, [&](const auto& route) {
        return route.get() != lane.route && !route->doubted && may_serve(*route, now);
    });
    return !pin_ && plan_.traits.read_only && other_image && others
               ? "its image is not the one that the catalog has"
               : "";
}

void RelayCore::note_size(Route& route, std::uint64_t shown) {
    route.untrue = shown != route.upstream.location.size;
    if (route.untrue && plan_.untrue) {
        plan_.untrue(route.upstream.location);
    }
}

void RelayCore::link_failed(UpstreamLink& link, LinkError error, const std::string& reason) {
    Lane& lane = *lane_of(link);
    Route& route = *lane.route;
    if (is_retired(lane)) {
        bury_lane(lane);
        return;
    }
    const bool was_ready = lane.ready;
    if (!was_ready) {
        --route.dials;
    }
    requeue(lane);
    bury_lane(lane);
    route.unknown_there = error == LinkError::unknown_export;
    if (error == LinkError::unknown_export || error == LinkError::refused) {
        breaker(route).succeeded();
        make_stale(route, reason);
    } else {
        breaker(route).failed(services_.loop.now());
        if (was_ready) {
            route.lost = true;
            hasten_others(route);
        }
        report_down(route, reason);
    }
    watch_time();
    pump();
}

// Gives a lane up by our own decision.
void RelayCore::lose_lane(Lane& lane, const std::string& reason) {
    Route& route = *lane.route;
    requeue(lane);
    if (plan_.traits.read_only && lane.link->outstanding() > 0) {
        retire_lane(lane);
    } else {
        lane.link->close();
        bury_lane(lane);
    }
    if (best_lane(route) == nullptr) {
        breaker(route).failed(services_.loop.now());
        report_down(route, reason);
    }
    pump();
}

// Nobody waits for the lane's answers any more, but its server may still send them, and nbdkit 1.32
// aborts as a whole when a client leaves for whom several of its threads have replies. So the
// connection is kept for a while, what comes is dropped, and then it ends in good order. (A lane
// that carried writes is cut at once: what it has not carried out, it should not.)
void RelayCore::retire_lane(Lane& lane) {
    const auto found = std::ranges::find_if(
        lanes_, [&](const auto& candidate) { return candidate.get() == &lane; });
    lane.ready = false;
    lane.retired_until = services_.loop.now() + kRetirement;
    retired_.push_back(std::move(*found));
    lanes_.erase(found);
    watch_time();
}

// The client has gone. What was read ahead for it may still be on its way.
void RelayCore::leave_lanes() {
    for (const auto& piece : pieces_) {
        drop_attempt(*piece, 0, true);
        drop_attempt(*piece, 1, true);
    }
    pieces_.clear();
    for (auto& lane : lanes_) {
        if (plan_.traits.read_only && lane->ready && lane->link->outstanding() > 0) {
            lane->ready = false;
            retired_.push_back(std::move(lane));
        } else {
            lane->link->close();
        }
    }
    lanes_.clear();
    for (const auto& lane : retired_) {
        lane->retired_until = services_.loop.now() + kLeave;
    }
    linger();
}

// Keeps the core alive until the last lane has ended.
void RelayCore::linger() {
    end_retirement(services_.loop.now());
    if (!retired_.empty()) {
        services_.loop.call_at(services_.loop.now() + kLinger,
                               [self = shared_from_this()] { self->linger(); });
    }
}

bool RelayCore::is_retired(const Lane& lane) const {
    return std::ranges::any_of(retired_, [&](const auto& one) { return one.get() == &lane; });
}

void RelayCore::end_retirement(Time now) {
    std::vector<Lane*> ended;
    for (const auto& lane : retired_) {
        if (lane->link->outstanding() == 0 || now >= lane->retired_until) {
            ended.push_back(lane.get());
        }
    }
    for (Lane* lane : ended) {
        lane->link->close();
        bury_lane(*lane);
    }
}

// What was on the lane waits again, in the order in which it was sent.
void RelayCore::requeue(Lane& lane) {
    std::vector<Piece*> moved;
    for (const auto& piece : pieces_) {
        for (unsigned which = 0; which < 2; ++which) {
            if (piece->attempts[which].lane == &lane) {
                drop_attempt(*piece, which, true);
                if (!piece->under_way()) {
                    moved.push_back(piece.get());
                }
            }
        }
    }
    std::ranges::sort(moved, std::greater{}, [](const Piece* piece) {
        return std::max(piece->attempts[0].sent, piece->attempts[1].sent);
    });
    forget_replay();
    for (Piece* piece : moved) {
        piece->in_replay = false;
        if (piece->purpose == Purpose::probe || piece->purpose == Purpose::replay) {
            free_piece(*piece);
        } else if (!piece->logged) {
            waiting_.push_front(piece);
        }
        // A logged write is sent again from the write log, in its place.
    }
}

void RelayCore::bury_lane(Lane& lane) {
    for (auto* lanes : {&lanes_, &retired_}) {
        const auto found = std::ranges::find_if(
            *lanes, [&](const auto& candidate) { return candidate.get() == &lane; });
        if (found != lanes->end()) {
            graveyard_.push_back(std::move(*found));
            lanes->erase(found);
            break;
        }
    }
    services_.loop.post([weak = weak_from_this()] {
        if (const auto self = weak.lock()) {
            self->graveyard_.clear();
        }
    });
}

}  // namespace signpost
