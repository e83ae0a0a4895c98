// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/resolver.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
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

// Smaller is better; what is equal in all of it is equally good, whoever beats or not.
auto preference(const Route& route, const Viewpoint& from) {
    const PriorityClass its_class = route.server.priority_class;
    const int everywhere = its_class == PriorityClass::global_high  ? 0
                           : its_class == PriorityClass::global_low ? 2
                                                                    : 1;
    const int cost = from.site.empty() ? 0 : site_cost(from.costs, from.site, route.server.site);
    return std::tuple(everywhere, cost, its_class, route.location.priority, route.server.priority);
}

// What is known of both, or of neither, and does not differ.
bool can_stand_in(const Location& other, const Location& location) {
    return interchangeable(location, other) ||
           (location.digest.empty() && other.digest.empty() && location.size == other.size &&
            location.read_only && other.read_only);
}

// Whether ROUTE is being drained, and another of ROUTES will do for it.
bool is_spare(const Route& route, const std::vector<Route>& routes) {
    return route.server.draining && std::ranges::any_of(routes, [&](const Route& other) {
               return !other.server.draining && can_stand_in(other.location, route.location);
           });
}

}  // namespace

bool is_silent(const Server& server, const Viewpoint& from) {
    if (server.kind != ServerKind::signpost)
        return false;
    if (from.liveness != nullptr) {
        if (const auto beats = from.liveness->beats(server, std::chrono::steady_clock::now()))
            return !*beats;
    }
    return from.now - server.last_heartbeat > std::chrono::seconds(kServerLease).count();
}

void order_routes(std::vector<Route>& routes, const Viewpoint& from) {
    const auto freshness = [](const Route& route) {
        return std::tuple(route.server.last_heartbeat, route.location.last_seen);
    };
    std::map<std::string, bool, std::less<>> silent;
    for (const Route& route : routes) {
        silent[route.server.name] = is_silent(route.server, from);
    }
    std::sort(routes.begin(), routes.end(), [&](const Route& a, const Route& b) {
        const auto better_a = preference(a, from);
        const auto better_b = preference(b, from);
        return std::tuple(better_a, silent[a.server.name], freshness(b),
                          std::string_view(a.server.name)) <
               std::tuple(better_b, silent[b.server.name], freshness(a),
                          std::string_view(b.server.name));
    });
    for (std::size_t i = 1; i < routes.size(); ++i) {
        const bool equal = preference(routes[i], from) == preference(routes[i - 1], from);
        routes[i].rank = routes[i - 1].rank + (equal ? 0 : 1);
    }
}

void leave_out_draining(std::vector<Route>& routes) {
    std::vector<Route> rest;
    std::ranges::copy_if(routes, std::back_inserter(rest),
                         [&](const Route& route) { return !is_spare(route, routes); });
    routes = std::move(rest);
}

Result<Viewpoint> Resolver::viewpoint() const {
    Viewpoint view{.site = own_site_, .costs = {}, .now = 0, .liveness = liveness_};
    if (view.site.empty()) {
        auto own = catalog_.find_server(own_server_);
        if (!own)
            return std::unexpected(std::move(own.error()));
        view.site = *own ? (*own)->site : std::string();
    }
    auto now = catalog_.now();
    if (!now)
        return std::unexpected(std::move(now.error()));
    view.now = *now;
    if (!view.site.empty()) {
        auto costs = catalog_.site_costs();
        if (!costs)
            return std::unexpected(std::move(costs.error()));
        view.costs = std::move(*costs);
    }
    return view;
}

DiskRecord Resolver::believed(const DiskRecord& record) const {
    DiskRecord rest = record;
    if (untrue_ != nullptr) {
        const auto now = std::chrono::steady_clock::now();
        std::erase_if(rest.locations, [&](const Location& location) {
            return location.server != own_server_ && untrue_->has(record.name, location, now);
        });
    }
    return rest;
}

Result<Resolver::Judged> Resolver::judge(const DiskRecord& record,
                                         const DiskRecord& believed) const {
    const Location* const found = newest_verified(believed);
    const auto newest = found == nullptr ? std::nullopt : std::optional(*found);
    Judged judged;
    for (const Location& location : record.locations) {
        auto server = catalog_.find_server(location.server);
        if (!server)
            return std::unexpected(std::move(server.error()));
        std::string reason;
        if (location.server == own_server_)
            reason = "this server";
        else if (std::ranges::find(believed.locations, location.server, &Location::server) ==
                 believed.locations.end())
            reason = "shows something else than the catalog says";
        else
            reason = unusable(location, *server, newest);
        if (reason.empty())
            judged.routes.push_back({location, std::move(**server)});
        else
            judged.passed_over.push_back({location, std::move(*server), 0, std::move(reason)});
    }
    return judged;
}

Result<std::optional<Survey>> Resolver::survey(const DiskName& name, bool draining) const {
    auto record = catalog_.find(name);
    if (!record)
        return std::unexpected(std::move(record.error()));
    if (!*record)
        return std::nullopt;
    auto from = viewpoint();
    if (!from)
        return std::unexpected(std::move(from.error()));

    const DiskRecord believed = this->believed(**record);
    auto judged = judge(**record, believed);
    if (judged && judged->routes.empty() && believed.locations.size() < (*record)->locations.size())
        judged = judge(**record, **record);
    if (!judged)
        return std::unexpected(std::move(judged.error()));
    auto& [routes, passed_over] = *judged;
    order_routes(routes, *from);
    Survey survey{.disk = name, .from = std::move(*from), .as_of = (*record)->as_of};
    for (const Route& route : routes) {
        if (!draining && is_spare(route, routes))
            passed_over.push_back({route.location, route.server, 0, "is being drained", true});
        else
            survey.candidates.push_back({route.location, route.server, route.rank});
    }
    std::ranges::move(passed_over, std::back_inserter(survey.candidates));
    return survey;
}

Result<Referral> Resolver::resolve(const DiskName& name, bool draining) const {
    auto survey = this->survey(name, draining);
    if (!survey)
        return std::unexpected(std::move(survey.error()));
    if (!*survey)
        return std::unexpected(nowhere(name, ""));
    Referral referral{.disk = name, .routes = {}, .as_of = (*survey)->as_of};
    std::string reasons;
    for (Candidate& candidate : (*survey)->candidates) {
        if (candidate.passed_over.empty() || candidate.spare)
            referral.routes.push_back({std::move(candidate.location), std::move(*candidate.server),
                                       candidate.rank, candidate.spare});
        else
            reasons += fmt::format("{}{} ({})", reasons.empty() ? "" : ", ",
                                   escaped(candidate.location.server), candidate.passed_over);
    }
    if (referral.routes.empty())
        return std::unexpected(nowhere(name, reasons));
    return referral;
}

}  // namespace signpost
