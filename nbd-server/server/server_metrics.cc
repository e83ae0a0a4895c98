// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/server_metrics.h"

#include <map>

#include "nbd-server/server/nbd_server.h"
#include "nbd-server/server/request_counts.h"

namespace signpost {

namespace {

using Kind = MetricsText::Kind;

void add_sessions(MetricsText& text, LiveSessions& live) {
    std::map<std::string_view, std::uint64_t> by_route;
    for (const std::string_view route : kRouteNames) {
        by_route[route] = 0;
    }
    for (const SessionReport& session : live.reports()) {
        ++by_route[session.route == "local"   ? kRouteNames[0]
                   : session.route == "relay" ? kRouteNames[1]
                                              : kRouteNames[2]];
    }
    text.family("sessions", Kind::gauge, "Clients that have a disk open.");
    for (const auto& [route, count] : by_route) {
        text.sample({{"route", route}}, count);
    }
    text.family("export_opens_total", Kind::counter, "Disks that clients have asked for.");
    for (const auto& [key, count] : live.opens()) {
        text.sample({{"route", key.first}, {"result", key.second}}, count);
    }
    text.family("read_bytes_total", Kind::counter,
                "Bytes sent to clients that have a disk open, by the server that they came from.");
    for (const auto& [key, bytes] : live.bytes_read()) {
        text.sample({{"route", key.first}, {"peer", key.second}}, bytes);
    }
}

void add_requests(MetricsText& text, NbdServer& server) {
    struct Sum {
        DurationCounts durations;
        std::uint64_t errors = 0;
    };
    std::map<std::pair<std::string_view, std::string_view>, Sum> sums;
    server.each_loop_counts([&](RequestCounts& counts) {
        for (std::size_t op = 0; op < kOpNames.size(); ++op) {
            for (std::size_t route = 0; route < kRouteNames.size(); ++route) {
                auto& kind = counts.of(static_cast<Op>(op), static_cast<SessionRoute>(route));
                Sum& sum = sums[{kOpNames[op], kRouteNames[route]}];
                sum.durations += kind.durations.read();
                sum.errors += kind.errors.load(std::memory_order_relaxed);
            }
        }
    });
    const auto total = [](const Sum& sum) {
        std::uint64_t count = 0;
        for (const std::uint64_t each : sum.durations.classes) {
            count += each;
        }
        return count;
    };
    std::erase_if(sums, [&](const auto& each) { return total(each.second) == 0; });
    text.family("requests_total", Kind::counter, "Requests of clients that were answered.");
    for (const auto& [key, sum] : sums) {
        const std::uint64_t all = total(sum);
        const std::uint64_t errors = std::min(sum.errors, all);
        text.sample({{"op", key.first}, {"route", key.second}, {"result", "ok"}}, all - errors);
        text.sample({{"op", key.first}, {"route", key.second}, {"result", "error"}}, errors);
    }
    text.family("request_duration_seconds", Kind::histogram,
                "From a request to its answer; what was at hand counts as 0.");
    for (const auto& [key, sum] : sums) {
        text.sample({{"op", key.first}, {"route", key.second}}, sum.durations);
    }
}

void add_federation(MetricsText& text, const FederationFigures& figures,
                    const LiveSessions::Peers& reconnects) {
    text.family("catalog_lookup_duration_seconds", Kind::histogram,
                "Asking the catalog where a disk is.");
    text.sample({}, figures.lookups);
    text.family("relay_reconnects_total", Kind::counter,
                "Connections to other servers that were lost in use, and made again.");
    for (const auto& [peer, count] : reconnects) {
        text.sample({{"peer", peer}}, count);
    }
    text.gauge("helper_processes", "Images that are read by a qemu-nbd of their own.",
               figures.helpers);
    if (figures.has_cache) {
        text.family("cache_hit_bytes_total", Kind::counter,
                    "Bytes for clients that were in the cache.");
        text.sample({}, figures.cache_hit);
        text.family("cache_fetched_bytes_total", Kind::counter,
                    "Bytes that were fetched from other servers into the cache.");
        text.sample({}, figures.cache_fetched);
        text.gauge("cache_bytes", "What the cache takes.", figures.cache_bytes);
    }
    if (figures.last_scan != 0) {
        text.gauge("scan_last_success_timestamp_seconds",
                   "When the repositories were last looked through.",
                   static_cast<std::uint64_t>(figures.last_scan));
    }
}

}  // namespace

void add_server_metrics(MetricsText& text, NbdServer& server) {
    add_sessions(text, server.live());
    add_requests(text, server);
    add_federation(text, server.federation().figures(), server.live().reconnects());
}

}  // namespace signpost
