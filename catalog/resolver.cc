// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/resolver.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>

namespace signpost {

namespace {

// Why LOCATION cannot be used; empty when it can. NEWEST: see newest_verified().
std::string unusable(const Location& location, const std::optional<Server>& server,
                     const std::optional<Location>& newest) {
    if (!server)
        return "not a registered server";
    if (newest && conflicting(location, *newest))
        return fmt::format("has older content than {}", escaped(newest->server));
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

bool is_silent(const Server& server, std::int64_t now) {
    return server.kind == ServerKind::signpost &&
           now - server.last_heartbeat > std::chrono::seconds(kServerLease).count();
}

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

Result<std::optional<Survey>> Resolver::survey(const DiskName& name) const {
    auto record = catalog_.find(name);
    if (!record)
        return std::unexpected(std::move(record.error()));
    if (!*record)
        return std::nullopt;
    auto own = catalog_.find_server(own_server_);
    if (!own)
        return std::unexpected(std::move(own.error()));

    Survey survey{.disk = name, .own_site = own_site_, .as_of = (*record)->as_of};
    if (survey.own_site.empty() && *own)
        survey.own_site = (*own)->site;
    const Location* const newest = newest_verified(**record);
    const auto newest_content = newest == nullptr ? std::nullopt : std::optional(*newest);
    // Heartbeats carry the store's clock, which this machine's may not agree with. This server
    // beats too, so the newest heartbeat in sight is the store's time.
    survey.now = *own ? (*own)->last_heartbeat : 0;
    std::vector<Route> routes;
    std::vector<Candidate> passed_over;
    for (Location& location : (*record)->locations) {
        if (location.server == own_server_) {
            passed_over.push_back({std::move(location), *own, "this server"});
            continue;
        }
        auto server = catalog_.find_server(location.server);
        if (!server)
            return std::unexpected(std::move(server.error()));
        if (auto reason = unusable(location, *server, newest_content); !reason.empty()) {
            passed_over.push_back({std::move(location), std::move(*server), std::move(reason)});
            continue;
        }
        survey.now = std::max(survey.now, (*server)->last_heartbeat);
        routes.push_back({std::move(location), std::move(**server)});
    }
    order_routes(routes, survey.own_site, survey.now);
    for (Route& route : routes)
        survey.candidates.push_back({std::move(route.location), std::move(route.server)});
    std::ranges::move(passed_over, std::back_inserter(survey.candidates));
    return survey;
}

Result<Referral> Resolver::resolve(const DiskName& name) const {
    auto survey = this->survey(name);
    if (!survey)
        return std::unexpected(std::move(survey.error()));
    if (!*survey)
        return std::unexpected(nowhere(name, ""));
    Referral referral{.disk = name, .routes = {}, .as_of = (*survey)->as_of};
    std::string reasons;
    for (Candidate& candidate : (*survey)->candidates) {
        if (candidate.passed_over.empty()) {
            referral.routes.push_back(
                {std::move(candidate.location), std::move(*candidate.server)});
            continue;
        }
        reasons += fmt::format("{}{} ({})", reasons.empty() ? "" : ", ",
                               escaped(candidate.location.server), candidate.passed_over);
    }
    if (referral.routes.empty())
        return std::unexpected(nowhere(name, reasons));
    return referral;
}

}  // namespace signpost
