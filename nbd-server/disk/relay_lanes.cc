// SPDX-License-Identifier: BSD-3-Clause
//
// Lanes and routes of a RelayCore: which route serves, when a lane is dialled, and what becomes of
// its pieces when it goes.

#include <fmt/format.h>

#include <algorithm>

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
constexpr std::size_t kMaxRoutes = 64;
constexpr seconds kStaleFor{1};
constexpr seconds kConsultEvery{1};
constexpr seconds kRetirement{60};

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

bool same_place(const Location& a, const Location& b) {
    return a.server == b.server && a.export_name == b.export_name;
}

}  // namespace

CircuitBreaker& RelayCore::breaker(const Route& route) {
    const auto& uris = route.upstream.uris;
    return services_.breaker(uris.empty() ? route.name() : uris.front().endpoint());
}

bool RelayCore::is_pinned(const Route& route) const {
    return pin_ && same_place(pin_->location, route.upstream.location);
}

bool RelayCore::may_serve(const Route& route, Time now) const {
    if (!route.stale_reason.empty() && now < route.stale_until) {
        return false;
    }
    return !pin_ || is_pinned(route) ||
           (plan_.traits.read_only && interchangeable(pin_->location, route.upstream.location));
}

bool RelayCore::others_left(const Piece& piece, const Route& except) const {
    const Time now = services_.loop.now();
    return std::ranges::any_of(routes_, [&](const auto& route) {
        return route.get() != &except && (piece.refused_by >> route->number & 1) == 0 &&
               may_serve(*route, now);
    });
}

// The route in use first, the others as the referral has them.
std::vector<RelayCore::Route*> RelayCore::in_order() const {
    std::vector<Route*> order;
    if (preferred_ != nullptr) {
        order.push_back(preferred_);
    }
    for (const auto& route : routes_) {
        if (route.get() != preferred_) {
            order.push_back(route.get());
        }
    }
    return order;
}

RelayCore::Lane* RelayCore::choose_lane(const Piece& piece, const Route* except) {
    const Time now = services_.loop.now();
    const auto usable = [&](const Route& route) {
        return &route != except && (piece.refused_by >> route.number & 1) == 0 &&
               may_serve(route, now);
    };
    if (preferred_ != nullptr && usable(*preferred_)) {
        if (Lane* lane = best_lane(*preferred_)) {
            widen(*preferred_);
            return lane;
        }
    }
    const std::vector<Route*> order = in_order();
    for (Route* route : order) {
        if (usable(*route)) {
            if (Lane* lane = best_lane(*route)) {
                return lane;
            }
        }
    }
    for (Route* route : order) {
        if (!usable(*route)) {
            continue;
        }
        if (has_lane(*route) || (route->dialling && now - route->dial_began < limits_.hedge)) {
            return nullptr;  // full, or on its way; after `hedge` the next one is dialled as well
        }
        if (!route->dialling && breaker(*route).may_dial(now)) {
            dial(*route);
            return nullptr;
        }
    }
    return nullptr;
}

// The first lane with room, so that small requests gather on one; else the least loaded. A lane
// that has fallen silent is the last choice.
RelayCore::Lane* RelayCore::best_lane(const Route& route) {
    Lane* best = nullptr;
    bool best_silent = false;
    for (const auto& lane : lanes_) {
        if (lane->route != &route || !lane->ready || lane->link->outstanding() >= kLaneRequests) {
            continue;
        }
        const bool quiet = lane->pieces > 0 && silent(*lane, services_.loop.now(), limits_.hedge);
        if (!quiet && lane->bytes < kLaneBytes) {
            return lane.get();
        }
        if (best == nullptr || (best_silent && !quiet) ||
            (best_silent == quiet && lane->bytes < best->bytes)) {
            best = lane.get();
            best_silent = quiet;
        }
    }
    return best;
}

bool RelayCore::has_lane(const Route& route) const {
    return std::ranges::any_of(
        lanes_, [&](const auto& lane) { return lane->ready && lane->route == &route; });
}

// Another lane to a route whose lanes are all busy, where the server allows it.
void RelayCore::widen(const Route& route) {
    if (!plan_.traits.read_only || route.dialling) {
        return;
    }
    unsigned count = 0;
    for (const auto& lane : lanes_) {
        if (lane->route != &route) {
            continue;
        }
        const bool shared = (lane->link->info().flags & wire::kFlagCanMultiConn) != 0;
        if (!lane->ready || lane->bytes < kLaneBytes || !shared) {
            return;
        }
        ++count;
    }
    if (count < limits_.connections && breaker(route).may_dial(services_.loop.now())) {
        dial(*routes_[route.number]);
    }
}

void RelayCore::dial(Route& route) {
    route.dialling = true;
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
        route.dialling = false;
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
        UpstreamLink::Setting{limits_, services_.credentials.get(), tls});
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
    route.dialling = false;
    breaker(route).succeeded();
    if (const std::string reason = unsuitable(lane); !reason.empty()) {
        link.close();
        bury_lane(lane);
        make_stale(route, reason);
        pump();
        return;
    }
    route.stale_reason.clear();
    if (!pin_) {
        pin(route, fingerprint_in(link.info().description).value_or(""));
    }
    if (std::exchange(route.reported_down, false)) {
        services_.log.info(
            fmt::format("disk {}: {} answers again", plan_.disk.str(), route.name()));
    }
    lane.ready = true;
    lane.ready_since = lane.last_used = services_.loop.now();
    if (preferred_ == nullptr || best_lane(*preferred_) == nullptr) {
        preferred_ = &route;
    }
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

std::string RelayCore::wrong_content(const Route& route, const std::string& fingerprint) const {
    if (!pin_) {
        return "";
    }
    if (is_pinned(route)) {
        return fingerprint == pin_->fingerprint
                   ? ""
                   : "its image was replaced or changed since this disk was opened: open it anew";
    }
    const std::string& expected = route.upstream.location.fingerprint;
    return expected.empty() || expected == fingerprint
               ? ""
               : "its image has changed since its digest was taken: run signpost verify";
}

// A digest says nothing of this content when it was taken from another state of the image.
void RelayCore::pin(const Route& route, const std::string& fingerprint) {
    pin_ = Pin{route.upstream.location, fingerprint};
    if (pin_->location.fingerprint != fingerprint) {
        pin_->location.digest.clear();
    }
}

void RelayCore::make_stale(Route& route, const std::string& reason) {
    if (route.stale_reason != reason) {
        services_.log.error(
            fmt::format("disk {}: not served from {}: {}", plan_.disk.str(), route.name(), reason));
    }
    route.stale_reason = reason;
    route.stale_until = services_.loop.now() + kStaleFor;
    consulted_in_vain_ = false;
    consult();
    give_up_if_nobody_has_it();
}

void RelayCore::report_down(Route& route, const std::string& reason) {
    if (!std::exchange(route.reported_down, true)) {
        services_.log.error(
            fmt::format("disk {}: lost {}: {}", plan_.disk.str(), route.name(), reason));
    }
    consult();
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
        route.dialling = false;
    }
    requeue(lane);
    bury_lane(lane);
    if (error == LinkError::unknown_export || error == LinkError::refused) {
        breaker(route).succeeded();
        make_stale(route, reason);
    } else {
        breaker(route).failed(services_.loop.now());
        if (was_ready) {
            hasten_others(route);
        }
        report_down(route, reason);
    }
    watch_time();
    pump();
}

// A server that was down a moment ago may be all that is left: see at once whether it is back.
void RelayCore::hasten_others(const Route& lost) {
    const Time now = services_.loop.now();
    for (const auto& route : routes_) {
        if (route.get() != &lost && may_serve(*route, now)) {
            breaker(*route).hasten(now);
        }
    }
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
        if (piece->purpose == Piece::Purpose::probe || piece->purpose == Piece::Purpose::replay) {
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

// Asks the catalog again, off the loop, at most once a second.
void RelayCore::consult() {
    const Time now = services_.loop.now();
    if (!plan_.ask_again || consulting_ || now < next_consultation_) {
        return;
    }
    consulting_ = true;
    next_consultation_ = now + kConsultEvery;
    services_.workers.run([weak = weak_from_this(), loop = &services_.loop, ask = plan_.ask_again] {
        loop->post([weak, answer = ask()]() mutable {
            if (const auto self = weak.lock(); self && !self->shut_down_) {
                self->consulted(std::move(answer));
            }
        });
    });
}

void RelayCore::consulted(Result<std::vector<Upstream>> answer) {
    consulting_ = false;
    bool news = false;
    if (answer) {
        for (const Upstream& upstream : *answer) {
            news |= adopt(upstream);
        }
    } else {
        services_.log.debug(fmt::format("disk {}: {}", plan_.disk.str(), answer.error().message));
    }
    consulted_in_vain_ = !news;
    give_up_if_nobody_has_it();
    pump();
}

// True when the upstream is new, or is not what it was.
bool RelayCore::adopt(const Upstream& upstream) {
    if (upstream.location.size != plan_.traits.size) {
        return false;
    }
    if (pin_ && same_place(pin_->location, upstream.location) &&
        pin_->fingerprint == upstream.location.fingerprint) {
        pin_->location = upstream.location;
    }
    for (const auto& route : routes_) {
        if (!same_place(route->upstream.location, upstream.location)) {
            continue;
        }
        const bool news = route->upstream.uris != upstream.uris ||
                          route->upstream.location.generation != upstream.location.generation ||
                          route->upstream.location.digest != upstream.location.digest;
        route->upstream = upstream;
        if (news) {
            route->stale_reason.clear();
        }
        return news;
    }
    if (routes_.size() >= kMaxRoutes || !(plan_.traits.read_only || routes_.empty())) {
        return false;
    }
    auto route = std::make_unique<Route>();
    route->upstream = upstream;
    route->number = routes_.size();
    routes_.push_back(std::move(route));
    return true;
}

}  // namespace signpost
