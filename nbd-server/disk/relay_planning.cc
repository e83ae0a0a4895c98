// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/relay_planning.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

std::string export_to_ask_for(const DiskName& disk, const Route& route) {
    return route.server.kind == ServerKind::signpost
               ? std::string(ExportName::kLocalPrefix) + disk.str()
               : route.location.export_name;
}

DiskTraits traits_of(const Referral& referral, bool writable) {
    const Location& first = referral.routes.front().location;
    const std::size_t others = std::ranges::count(referral.routes, false, &Route::spare) - 1;
    DiskTraits traits;
    traits.size = first.size;
    traits.read_only = !writable;
    // Whether a flush reaches what other connections wrote is the peer's to say, and no peer has
    // been dialled yet.
    traits.multi_conn = !writable;
    traits.relayed = true;
    traits.minimum_block = first.minimum_block;
    traits.preferred_block = std::max(traits.preferred_block, traits.minimum_block);
    traits.description =
        describe_relayed_disk(first.size, first.format, first.server, others, referral.as_of);
    return traits;
}

}  // namespace

std::vector<Upstream> upstreams_of(const Referral& referral, bool writable, const Asker& asker) {
    std::vector<Upstream> upstreams;
    upstreams.reserve(referral.routes.size());
    for (const Route& route : referral.routes) {
        Upstream upstream;
        upstream.location = route.location;
        upstream.rank = route.rank;
        upstream.spare = route.spare;
        const bool ours = route.server.kind == ServerKind::signpost;
        if (ours && asker.ticket) {
            upstream.ticket = [make = asker.ticket, server = route.location.server,
                               disk = referral.disk,
                               writable] { return make(server, disk, writable); };
        }
        if (ours && !route.location.read_only) {
            upstream.location.digest.clear();
        }
        const std::string name = export_to_ask_for(referral.disk, route);
        for (const NbdUri& uri : route.server.uris) {
            upstream.uris.push_back(uri.with_export(name));
        }
        upstreams.push_back(std::move(upstream));
    }
    return upstreams;
}

// Another copy has the content of before the last writer came: it is for those who mean to go back
// to that, or who have no choice.
Result<Referral> RelayPlanner::resolve_for_writing(const DiskName& disk) const {
    auto referral = resolver_.resolve(disk);
    if (!referral) {
        return referral;
    }
    const auto last = catalog_->last_writer(disk);
    const auto view = resolver_.viewpoint();
    if (!last || !*last || !view) {
        return referral;
    }
    auto& routes = referral->routes;
    const auto written = std::ranges::find_if(routes, [&](const Route& route) {
        return route.server.name == (*last)->server && !route.location.read_only && !route.spare;
    });
    if (written != routes.end() &&
        ((*last)->expires > view->now || !is_silent(written->server, *view))) {
        std::rotate(routes.begin(), written, written + 1);
    }
    return referral;
}

Result<RelayPlan> RelayPlanner::plan(const DiskName& disk, bool writable,
                                     const Asker& asker) const {
    const auto referral = writable ? resolve_for_writing(disk) : resolver_.resolve(disk);
    if (!referral) {
        return std::unexpected(referral.error());
    }
    const Location& first = referral->routes.front().location;
    const bool unknown_there =
        asker.ticket && referral->routes.front().server.kind != ServerKind::signpost;
    const bool granted = writable && !first.read_only && !unknown_there;
    RelayPlan plan{.disk = disk,
                   .traits = traits_of(*referral, granted),
                   .upstreams = upstreams_of(*referral, granted, asker),
                   .ask_again = {},
                   .before_first_write = {},
                   .leased_for = {}};
    if (untrue_) {
        plan.untrue = [rows = untrue_, disk](const Location& row) {
            rows->note(disk, row, std::chrono::steady_clock::now());
        };
    }
    plan.ask_again = [planner = *this, disk, granted, asker,
                      written = first.server]() -> Result<std::vector<Upstream>> {
        const auto again = planner.resolver_.resolve(disk, granted);
        if (!again) {
            return std::unexpected(again.error());
        }
        auto upstreams = upstreams_of(*again, granted, asker);
        if (granted) {
            std::erase_if(upstreams, [&](const Upstream& upstream) {
                return upstream.location.server != written;
            });
        }
        return upstreams;
    };
    if (granted) {
        const bool foreign = referral->routes.front().server.kind == ServerKind::foreign;
        plan.leased_for = foreign ? first.server : std::string();
        plan.upstreams.erase(plan.upstreams.begin() + 1, plan.upstreams.end());
        plan.before_first_write = [catalog = catalog_, disk, server = first.server] {
            return tell_before_write(*catalog, disk, server);
        };
    }
    return plan;
}

Result<void> tell_before_write(Catalog& catalog, const DiskName& disk, const std::string& server) {
    const auto record = catalog.find(disk);
    if (!record) {
        return fail(record.error().code,
                    fmt::format("disk '{}' is not written: its copies may count as equal, and the "
                                "catalog cannot be told otherwise: {}",
                                escaped(disk.str()), record.error().message));
    }
    if (*record && (*record)->as_of != 0) {
        return fail(Errc::unavailable,
                    fmt::format("disk '{}' is not written: its copies may count as equal, and the "
                                "catalog does not answer, which had to be told otherwise",
                                escaped(disk.str())));
    }
    const bool may_count_as_equal =
        *record && std::ranges::any_of((*record)->locations, [&](const Location& location) {
            return location.server == server && !location.digest.empty();
        });
    if (!may_count_as_equal) {
        return {};
    }
    auto marked = catalog.mark_changed(disk, server);
    if (!marked && marked.error().code == Errc::not_found) {
        return {};  // withdrawn meanwhile
    }
    return marked;
}

}  // namespace signpost
