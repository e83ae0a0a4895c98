// SPDX-License-Identifier: BSD-3-Clause

#include "cli/repair_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "catalog/catalog.h"
#include "cli/job_plan.h"
#include "terminal/text.h"

namespace signpost {

const Server* RepairPlan::server(const std::string& name) const {
    const auto found = std::ranges::find(servers_, name, &Server::name);
    return found == servers_.end() ? nullptr : &*found;
}

bool RepairPlan::is_there(const Server* server, std::int64_t silence) const {
    return server != nullptr &&
           (server->kind == ServerKind::foreign || now_ - server->last_heartbeat <= silence);
}

unsigned RepairPlan::wished(const DiskName& disk) const {
    const auto fits = std::ranges::find_if(
        wishes_, [&](const WishedCopies& wish) { return matches_pattern(wish.disks, disk.str()); });
    return fits == wishes_.end() ? 0 : fits->copies;
}

void RepairPlan::note(const DiskRecord& disk) {
    for (const Location& location : disk.locations) {
        bytes_[location.server] += location.size;
    }
}

void RepairPlan::exclude(const DiskName& disk, const std::string& server) {
    excluded_.emplace(disk, server);
}

// The largest set of equal ones.
std::vector<const Location*> RepairPlan::good_copies(const DiskRecord& disk,
                                                     std::string& problem) const {
    std::map<std::string, std::vector<const Location*>> by_digest;
    std::size_t ready = 0;
    for (const Location& location : disk.locations) {
        if (location.state == LocationState::ready &&
            is_there(server(location.server), kLostAfter_s)) {
            by_digest[location.digest].push_back(&location);
            ++ready;
        }
    }
    const std::string name = escaped(disk.name.str());
    if (ready > 1 && by_digest.contains("")) {
        problem = fmt::format(
            "not all of its copies are known to be equal; first: signpost verify "
            "{}",
            name);
        return {};
    }
    if (by_digest.size() > 1) {
        problem = fmt::format("its copies differ; see: signpost info {}", name);
        return {};
    }
    if (by_digest.empty()) {
        problem = fmt::format("no good copy of it is left; see: signpost where {}", name);
        return {};
    }
    auto good = std::move(by_digest.begin()->second);
    if (std::ranges::none_of(good, [this](const Location* copy) {
            return can_be_source(*copy, server(copy->server));
        })) {
        problem = fmt::format(
            "its copy has no digest to prove another by; first: signpost verify "
            "{}",
            name);
        return {};
    }
    return good;
}

std::optional<std::string> RepairPlan::best_place(const DiskRecord& disk,
                                                  const std::set<std::string>& sites) const {
    using Rank = std::tuple<bool, std::uint64_t, std::string>;
    std::optional<Rank> best;
    for (const Server& server : servers_) {
        const bool held = std::ranges::count(disk.locations, server.name, &Location::server) > 0;
        if (held || server.kind == ServerKind::foreign || server.draining ||
            !is_there(&server, kServerLease.count()) ||
            excluded_.contains({disk.name, server.name})) {
            continue;
        }
        const auto bytes = bytes_.find(server.name);
        Rank rank{sites.contains(server.site), bytes == bytes_.end() ? 0 : bytes->second,
                  server.name};
        if (!best || rank < *best) {
            best = std::move(rank);
        }
    }
    return best ? std::optional(std::get<std::string>(*best)) : std::nullopt;
}

RepairPlan::Need RepairPlan::look_at(const DiskRecord& disk) {
    Need need;
    need.wished = wished(disk.name);
    if (need.wished == 0) {
        return need;
    }
    const auto good = good_copies(disk, need.problem);
    need.good = static_cast<unsigned>(good.size());
    if (good.empty()) {
        return need;
    }
    std::set<std::string> sites;
    for (const Location* copy : good) {
        sites.insert(server(copy->server)->site);
    }
    DiskRecord with_new = disk;
    const auto go_to = [&](const std::string& name) {
        need.targets.push_back(name);
        sites.insert(server(name)->site);
        bytes_[name] += good.front()->size;
        Location there;
        there.server = name;
        with_new.locations.push_back(std::move(there));
    };
    for (const Location& location : disk.locations) {
        const bool mends = location.state == LocationState::damaged &&
                           location.format == ImageFormat::raw && !good.front()->digest.empty() &&
                           is_there(server(location.server), kServerLease.count()) &&
                           server(location.server)->kind == ServerKind::signpost &&
                           !excluded_.contains({disk.name, location.server});
        if (mends) {
            go_to(location.server);
        }
    }
    while (need.good + need.targets.size() < need.wished) {
        const auto place = best_place(with_new, sites);
        if (!place) {
            need.problem = fmt::format("{} of {} good copies, and no other server can take one",
                                       need.good + need.targets.size(), need.wished);
            break;
        }
        go_to(*place);
    }
    return need;
}

}  // namespace signpost
