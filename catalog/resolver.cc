// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/resolver.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace signpost {

namespace {

bool is_silent(const Server& server, std::int64_t now) {
    return server.kind == ServerKind::signpost &&
           now - server.last_heartbeat > std::chrono::seconds(kServerLease).count();
}

// Why LOCATION cannot be used; empty when it can.
std::string unusable(const Location& location, const std::optional<Server>& server) {
    if (!server)
        return "not a registered server";
    if (location.state != LocationState::ready)
        return std::string(to_string(location.state));
    if (server->uris.empty())
        return "the server has no URI; start it with uri=";
    return {};
}

Error nowhere(const DiskName& name, const std::string& reasons) {
    const std::string quoted = escaped(name.str());
    if (reasons.empty())
        return {Errc::not_found,
                fmt::format("no server has disk {}; look for it with: signpost find", quoted)};
    return {
        Errc::not_found,
        fmt::format("no other server can serve disk {}: {}; see: signpost where", quoted, reasons)};
}

}  // namespace

void order_routes(std::vector<Route>& routes, std::string_view own_site, std::int64_t now) {
    const auto rank = [&](const Route& route) {
        const bool other_site = own_site.empty() || route.server.site != own_site;
        return std::tuple(other_site, route.location.priority, route.server.priority,
                          is_silent(route.server, now));
    };
    const auto freshness = [](const Route& route) {
        return std::tuple(route.server.last_heartbeat, route.location.last_seen);
    };
    std::sort(routes.begin(), routes.end(), [&](const Route& a, const Route& b) {
        return std::tuple(rank(a), freshness(b), std::string_view(a.server.name)) <
               std::tuple(rank(b), freshness(a), std::string_view(b.server.name));
    });
}

Result<Referral> Resolver::resolve(const DiskName& name) const {
    auto record = catalog_.find(name);
    if (!record)
        return std::unexpected(std::move(record.error()));
    if (!*record)
        return std::unexpected(nowhere(name, ""));
    auto own = catalog_.find_server(own_server_);
    if (!own)
        return std::unexpected(std::move(own.error()));

    Referral referral{.disk = name, .routes = {}};
    std::string reasons;
    // Heartbeats carry the store's clock, which this machine's may not agree with. This server
    // beats too, so the newest heartbeat in sight is the store's time.
    std::int64_t now = *own ? (*own)->last_heartbeat : 0;
    for (Location& location : (*record)->locations) {
        std::string reason = "this server";
        if (location.server != own_server_) {
            auto server = catalog_.find_server(location.server);
            if (!server)
                return std::unexpected(std::move(server.error()));
            reason = unusable(location, *server);
            if (reason.empty()) {
                now = std::max(now, (*server)->last_heartbeat);
                referral.routes.push_back({std::move(location), std::move(**server)});
                continue;
            }
        }
        reasons +=
            fmt::format("{}{} ({})", reasons.empty() ? "" : ", ", escaped(location.server), reason);
    }
    if (referral.routes.empty())
        return std::unexpected(nowhere(name, reasons));
    order_routes(referral.routes, *own ? (*own)->site : std::string(), now);
    return referral;
}

}  // namespace signpost
