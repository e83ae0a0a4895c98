// SPDX-License-Identifier: BSD-3-Clause
//
// `servers drain`: no new client is sent to a server, and those that other servers relay from it go
// elsewhere, before it is stopped. What it alone has it goes on serving: that is said.
//
// Whether anybody still uses it the server says itself, with each heartbeat. One that was on its
// way when the drain began does not count, so the second after that is the first to be believed.

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "catalog/resolver.h"
#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kWalkTime{20};  // through the disks of a large catalog
constexpr std::chrono::milliseconds kLook{500};
constexpr std::size_t kNamed = 5;  // disks in a sentence

Outcome<Server> registered(const FederationView& view, const std::string& name) {
    auto held = view.catalog().find_server(name);
    if (!held) {
        return std::unexpected(catalog_failure(held.error()));
    }
    if (!*held) {
        return failure(
            ExitCode::no_such_disk,
            fmt::format("no server is called {}; `signpost servers` lists them", escaped(name)));
    }
    return std::move(**held);
}

// Whether clients are sent to SERVER for the disk even while it is drained.
bool only_there(FederationView& view, const DiskRecord& disk, const std::string& server) {
    std::vector<Route> routes;
    for (const Location& location : disk.locations) {
        const Server* const holder = view.server(location.server);
        if (holder != nullptr && location.state == LocationState::ready && !holder->uris.empty()) {
            routes.push_back({location, *holder});
            routes.back().server.draining |= holder->name == server;
        }
    }
    leave_out_draining(routes);
    return std::ranges::any_of(routes,
                               [&](const Route& route) { return route.server.name == server; });
}

struct OnlyCopies {
    std::vector<std::string> disks;
    bool all = true;  // false: the catalog is too large to be read to its end for this
};

Outcome<OnlyCopies> only_copies(FederationView& view, const std::string& server) {
    if (const auto servers = view.servers(); !servers) {
        return std::unexpected(servers.error());
    }
    OnlyCopies found;
    const auto end = std::chrono::steady_clock::now() + kWalkTime;
    const auto seen = view.each_disk("", [&](const DiskRecord& disk) {
        if (only_there(view, disk, server)) {
            found.disks.push_back(disk.name.str());
        }
        found.all = std::chrono::steady_clock::now() < end;
        return found.all;
    });
    if (!seen) {
        return std::unexpected(seen.error());
    }
    return found;
}

std::string sentence(const OnlyCopies& found) {
    std::string names;
    for (std::size_t i = 0; i < std::min(found.disks.size(), kNamed); ++i) {
        names += (i == 0 ? "" : ", ") + escaped(found.disks[i]);
    }
    if (found.disks.size() > kNamed) {
        names += fmt::format(" and {} more", found.disks.size() - kNamed);
    }
    return fmt::format("{}{} without another copy that is known to be equal {} served on: {}",
                       found.all ? "" : "at least ", counted(found.disks.size(), "disk"),
                       found.disks.size() == 1 ? "is" : "are", names);
}

VerbResult wait_until_unused(const Context& context, const FederationView& view,
                             const Server& before) {
    for (;;) {
        const auto server = registered(view, before.name);
        if (!server) {
            return std::unexpected(server.error());
        }
        if (!server->draining) {
            return failure(
                ExitCode::conflict,
                fmt::format("{} takes clients again: somebody has said --off", server->name));
        }
        const bool told = server->heartbeat_sequence >= before.heartbeat_sequence + 2;
        if (told && server->sessions == 0) {
            context.console.out(
                context.json() ? ""
                               : fmt::format("{}: nobody uses it any more; it can be stopped\n",
                                             server->name));
            return ExitCode::ok;
        }
        const auto now = view.now();
        if (now && *now - server->last_heartbeat > kServerLease.count()) {
            return failure(ExitCode::peer_unreachable,
                           fmt::format("{} does not say whether anybody uses it: its last "
                                       "heartbeat was {} ago",
                                       server->name, age(server->last_heartbeat, *now)));
        }
        context.console.progress(
            told ? fmt::format("{}: {}", server->name, counted(server->sessions, "session"))
                 : fmt::format("{}: waiting for its next heartbeat", server->name));
        std::this_thread::sleep_for(kLook);
    }
}

}  // namespace

VerbResult run(const Context& context, const ServersDrainVerb& verb) {
    auto view = FederationView::open(context.options, CatalogUse::write);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto server = registered(*view, verb.name);
    if (!server) {
        return std::unexpected(server.error());
    }
    if (verb.wait && server->kind == ServerKind::foreign) {
        return failure(ExitCode::usage,
                       fmt::format("--wait: {} is a foreign server, which does not say who uses it",
                                   server->name));
    }
    if (!context.options.dry_run) {
        if (const auto set = view->catalog().set_draining(verb.name, !verb.off); !set) {
            return std::unexpected(catalog_failure(set.error()));
        }
    }
    OnlyCopies found;
    if (!verb.off) {
        auto only = only_copies(*view, verb.name);
        if (!only) {
            return std::unexpected(only.error());
        }
        found = std::move(*only);
    }
    if (context.json()) {
        context.console.out(drain_json(verb.name, !verb.off, found.disks) + "\n");
    } else {
        context.console.out(fmt::format("{}: {}\n", verb.name,
                                        verb.off ? "takes clients again" : "takes no new clients"));
        if (!found.disks.empty()) {
            context.console.out(sentence(found) + "\n");
        }
    }
    return verb.wait && !context.options.dry_run ? wait_until_unused(context, *view, *server)
                                                 : VerbResult(ExitCode::ok);
}

}  // namespace signpost
