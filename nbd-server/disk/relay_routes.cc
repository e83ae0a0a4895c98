// SPDX-License-Identifier: BSD-3-Clause
//
// Routes of a RelayCore: which of them may serve the pinned content, and how the catalog is asked
// for others.

#include <fmt/format.h>

#include <algorithm>

#include "nbd-server/disk/relay_core.h"

namespace signpost {

namespace {

using std::chrono::seconds;

constexpr std::size_t kMaxRoutes = 64;
constexpr seconds kStaleFor{1};
constexpr seconds kConsultEvery{1};
constexpr std::size_t kMostGenerations = 8;  // of a pinned content

bool same_place(const Location& a, const Location& b) {
    return a.server == b.server && a.export_name == b.export_name;
}

}  // namespace

CircuitBreaker& RelayCore::breaker(const Route& route) const {
    const auto& uris = route.upstream.uris;
    return services_.breaker(uris.empty() ? route.name() : uris.front().endpoint());
}

void RelayCore::prefer(Route& route) {
    preferred_ = &route;
    const std::string& server = route.upstream.location.server;
    if (services_.settings.moved && server != served_from_) {
        services_.settings.moved(plan_.disk, server, served_from_);
        served_from_ = server;
    }
}

bool RelayCore::is_pinned(const Route& route) const {
    return pin_ && pin_->route == &route;
}

bool RelayCore::may_serve(const Route& route, Time now) const {
    if (!route.stale_reason.empty() && now < route.stale_until) {
        return false;
    }
    return !pin_ || is_pinned(route) ||
           (plan_.traits.read_only && pin_->is_content_of(route.upstream.location));
}

bool RelayCore::Pin::is_content_of(const Location& other) const {
    Location row = location;
    return std::ranges::any_of(generations, [&](std::uint64_t generation) {
        row.generation = generation;
        return interchangeable(row, other);
    });
}

bool RelayCore::others_left(const Piece& piece, const Route& except) const {
    const Time now = services_.loop.now();
    return std::ranges::any_of(routes_, [&](const auto& route) {
        return route.get() != &except && (piece.refused_by >> route->number & 1) == 0 &&
               may_serve(*route, now);
    });
}

// The route in use first, the others as the referral has them; what it has no longer comes last.
std::vector<RelayCore::Route*> RelayCore::in_order() const {
    std::vector<Route*> order;
    if (preferred_ != nullptr) {
        order.push_back(preferred_);
    }
    for (const bool left : {false, true}) {
        for (const auto& route : routes_) {
            if (route.get() != preferred_ && route->left == left) {
                order.push_back(route.get());
            }
        }
    }
    return order;
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
    pin_ = Pin{&route, route.upstream.location, fingerprint};
    if (pin_->location.fingerprint != fingerprint) {
        pin_->location.digest.clear();
    } else if (!pin_->location.digest.empty()) {
        pin_->generations = {pin_->location.generation};
    }
    if (plan_.pinned) {
        plan_.pinned(route.upstream.location, fingerprint);
    }
}

// COPY shows the fingerprint that its row has.
void RelayCore::hold_to(const Location& copy) {
    const auto found = std::ranges::find_if(
        routes_, [&](const auto& route) { return same_place(route->upstream.location, copy); });
    pin_ = Pin{found == routes_.end() ? nullptr : found->get(), copy, copy.fingerprint};
    if (!copy.digest.empty()) {
        pin_->generations = {copy.generation};
    }
}

void RelayCore::make_stale(Route& route, const std::string& reason) {
    if (route.stale_reason != reason && !plan_.only_asks) {
        services_.log.error(
            fmt::format("disk {}: not served from {}: {}", plan_.disk.str(), route.name(), reason));
    }
    route.stale_reason = route.trouble = reason;
    route.stale_until = services_.loop.now() + kStaleFor;
    consulted_in_vain_ = false;
    consult();
    give_up_if_nobody_has_it();
}

void RelayCore::report_down(Route& route, const std::string& reason) {
    route.trouble = reason;
    if (!std::exchange(route.reported_down, true)) {
        services_.log.error(
            fmt::format("disk {}: lost {}: {}", plan_.disk.str(), route.name(), reason));
    }
    consult();
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
        learn_of_others(*answer);
        follow_referral(*answer);
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
        learn_of_pinned(upstream.location);
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
    route->left = upstream.spare;
    route->number = routes_.size();
    routes_.push_back(std::move(route));
    return true;
}

// One state of an image has one digest: a row that says otherwise is wrong, and not believed.
void RelayCore::learn_of_pinned(const Location& row) {
    const std::string& known = pin_->location.digest;
    if (!known.empty() && !row.digest.empty() && row.digest != known) {
        return;
    }
    if (row.digest.empty()) {
        pin_->generations.clear();  // it is about to be written
    } else {
        pin_->note_generation(row.generation);
    }
    pin_->location = row;
}

void RelayCore::Pin::note_generation(std::uint64_t generation) {
    if (std::ranges::find(generations, generation) != generations.end()) {
        return;
    }
    generations.push_back(generation);
    if (generations.size() > kMostGenerations) {
        generations.erase(generations.begin() + 1);  // not the one that it was opened with
    }
}

// An image that was moved has given all copies of its content a newer generation, by being
// published elsewhere, and may be withdrawn before that was seen here.
void RelayCore::learn_of_others(const std::vector<Upstream>& answer) {
    if (!pin_ || pin_->generations.empty() ||
        std::ranges::any_of(answer, [&](const Upstream& upstream) {
            return same_place(upstream.location, pin_->location);
        })) {
        return;
    }
    for (const Upstream& upstream : answer) {
        Location row = pin_->location;
        row.generation = upstream.location.generation;
        if (row.generation > pin_->generations.front() && interchangeable(row, upstream.location)) {
            pin_->note_generation(row.generation);
        }
    }
}

}  // namespace signpost
