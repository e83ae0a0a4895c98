// SPDX-License-Identifier: BSD-3-Clause
//
// A RelayCore's way from a route that works to another one, of which the client notices nothing.
//
// There are two reasons. The catalog may no longer name the route in use: its server is being
// drained, its copy is known to be damaged, or it was withdrawn. And with failback on, a better
// route may be well again. In both cases a lane to the other route is made first; then new requests
// go there, and what is on its way ends where it is. A route that nobody can take over from is
// kept, whatever the catalog says: a change there never cuts a live disk off.

#include <algorithm>
#include <utility>
#include <vector>

#include "nbd-server/disk/relay_core.h"

namespace signpost {

// The catalog has changed since this disk asked it last.
void RelayCore::hear_news(Time now) {
    const std::uint64_t news = services_.news();
    if (news == heard_news_ || now < next_news_ || consulting_ || now < next_consultation_ ||
        !services_.may_ask_about_news()) {
        return;
    }
    heard_news_ = news;
    next_news_ = now + limits_.news;
    consult();
}

// Routes take the order of UPSTREAMS; those that are not among them, or are spare, shall serve no
// more, if they can be spared.
void RelayCore::follow_referral(const std::vector<Upstream>& upstreams) {
    const auto place = [&](const auto& route) {
        const Location& known = route->upstream.location;
        const auto found = std::ranges::find_if(upstreams, [&](const Upstream& upstream) {
            return upstream.location.server == known.server &&
                   upstream.location.export_name == known.export_name &&
                   upstream.location.size == known.size;
        });
        return found - upstreams.begin();
    };
    // Those at the same place stay in order.
    std::vector<std::pair<std::ptrdiff_t, std::size_t>> order;
    for (std::size_t i = 0; i < routes_.size(); ++i) {
        order.emplace_back(place(routes_[i]), i);
        const auto found = static_cast<std::size_t>(order.back().first);
        routes_[i]->left = found == upstreams.size() || upstreams[found].spare;
    }
    std::ranges::sort(order);
    auto unordered = std::exchange(routes_, {});
    for (const auto& [_, index] : order) {
        routes_.push_back(std::move(unordered[index]));
    }
    seek_better(services_.loop.now());
}

// Where this disk should be rather than where it is; null: here.
RelayCore::Route* RelayCore::better_route(Time now) const {
    const bool failback = services_.settings.failback;
    for (const auto& route : routes_) {
        const bool better =
            preferred_->left || (failback && route->upstream.rank < preferred_->upstream.rank);
        if (better && !route->left && route.get() != preferred_ && may_serve(*route, now)) {
            return route.get();
        }
    }
    return nullptr;
}

void RelayCore::seek_better(Time now) {
    if (preferred_ == nullptr || !pin_ || !plan_.traits.read_only) {
        return;
    }
    Route* const better = better_route(now);
    if (better == nullptr) {
        return;
    }
    if (const Lane* lane = best_lane(*better); lane != nullptr) {
        if (preferred_->left || (!lane->quiet && now - lane->ready_since >= limits_.failback)) {
            prefer(*better);
        }
    } else if (better->dials == 0 && breaker(*better).may_dial(now)) {
        dial(*better);
    }
}

// Whoever drains a server waits until nobody is connected to it.
void RelayCore::close_left_lanes() {
    std::vector<Lane*> idle;
    for (const auto& lane : lanes_) {
        if (lane->ready && lane->route->left && lane->route != preferred_ &&
            lane->link->outstanding() == 0) {
            idle.push_back(lane.get());
        }
    }
    for (Lane* lane : idle) {
        lane->link->close();
        bury_lane(*lane);
    }
}

}  // namespace signpost
