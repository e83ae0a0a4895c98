// SPDX-License-Identifier: BSD-3-Clause
//
// Whether a RelayCore's disk can be had: a piece that is never sent waits for a lane like any
// other, so that routes are dialled and asked about in the usual order, but for so long only as a
// dial may take. What it finds out is for a client that is about to choose the disk.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "catalog/disk_name.h"
#include "nbd-server/disk/relay_core.h"

namespace signpost {

namespace {

constexpr std::size_t kMostNamed = 3;  // servers, in one sentence

}  // namespace

void RelayCore::reach(Disk::Told told) {
    if (std::ranges::any_of(lanes_, [](const auto& lane) { return lane->ready; })) {
        told({});
        return;
    }
    askers_.push_back(std::move(told));
    if (askers_.size() > 1) {
        return;  // one looks for all
    }
    Piece& piece = new_piece(Purpose::reach, wire::Command::cache, 0, 0);
    piece.deadline = services_.loop.now() + limits_.connect + limits_.handshake;
    waiting_.push_back(&piece);
    watch_time();
    pump();
}

void RelayCore::reached(int error) {
    std::vector<Disk::Told> askers;
    askers.swap(askers_);
    Result<void> answer;
    if (error != 0 && !askers.empty()) {
        answer = std::unexpected(out_of_reach());
    }
    for (Disk::Told& told : askers) {
        told(answer);
    }
}

Error RelayCore::out_of_reach() const {
    if (std::ranges::all_of(routes_, [](const auto& route) { return route->unknown_there; })) {
        return {Errc::not_found, fmt::format("disk {} is no longer where the catalog has it: {}",
                                             plan_.disk.str(), routes_.front()->name())};
    }
    std::string text = fmt::format("disk {} ", plan_.disk.str());
    std::size_t named = 0;
    for (const auto& route : routes_) {
        if (named == kMostNamed) {
            text += fmt::format("; and {} more", routes_.size() - named);
            break;
        }
        text += fmt::format("{} {}, {}", named == 0 ? "is on" : "; on", route->name(),
                            trouble_of(*route));
        ++named;
    }
    const bool untrue =
        std::ranges::any_of(routes_, [](const auto& route) { return route->untrue; });
    const bool changed =
        std::ranges::all_of(routes_, [](const auto& route) { return route->changed; });
    return {untrue || changed ? Errc::conflict : Errc::unavailable, std::move(text)};
}

std::string RelayCore::trouble_of(const Route& route) const {
    const Time now = services_.loop.now();
    if (!route.stale_reason.empty()) {
        return "from which it cannot be had: " + route.stale_reason;
    }
    if (route.dial_began == Time{} && !breaker(route).open()) {
        return "whose turn did not come in time";
    }
    const auto silent = std::max(breaker(route).open_for(now), now - route.dial_began);
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(silent).count();
    std::string text = fmt::format("which has not answered for {} s", std::max(seconds, 1L));
    return route.trouble.empty() ? text : text + ": " + route.trouble;
}

}  // namespace signpost
