// SPDX-License-Identifier: BSD-3-Clause
//
// `status`: the catalog and the servers on one screen. No server is asked; `doctor` does that.

#include <fmt/format.h>

#include "cli/federation_view.h"
#include "cli/host_stubs.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kCountingTime{2};

// How many disks one failure would take away. A large catalog is not read to its end for this.
Outcome<void> count_single_copies(const FederationView& view, StatusReport& report) {
    const auto end = std::chrono::steady_clock::now() + kCountingTime;
    return view.each_disk("", [&](const DiskRecord& disk) {
        report.single_copy_disks += disk.locations.size() == 1 ? 1 : 0;
        report.all_disks_seen = std::chrono::steady_clock::now() < end;
        return report.all_disks_seen;
    });
}

Outcome<StatusReport> gather(FederationView& view) {
    StatusReport report;
    Catalog& catalog = view.catalog();
    const auto totals = catalog.totals();
    if (!totals) {
        return std::unexpected(catalog_failure(totals.error()));
    }
    const auto sequence = catalog.change_sequence();
    if (!sequence) {
        return std::unexpected(catalog_failure(sequence.error()));
    }
    const auto servers = view.servers();
    if (!servers) {
        return std::unexpected(servers.error());
    }
    if (const auto counted_all = count_single_copies(view, report); !counted_all) {
        return std::unexpected(counted_all.error());
    }
    report.catalog = catalog.description();
    report.schema = catalog.schema_version();
    report.change_sequence = *sequence;
    report.totals = *totals;
    report.skipped_rows = catalog.skipped_rows();
    report.servers = **servers;
    const auto now = view.now();
    if (!now) {
        return std::unexpected(now.error());
    }
    report.now = *now;
    return report;
}

Outcome<StatusReport> of_catalog(const Options& options) {
    auto view = FederationView::open(options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    return gather(*view);
}

// What a server of this machine knew of the catalog when it last heard from it.
Outcome<StatusReport> of_stubs(const Options& options, const std::string& trouble) {
    auto stubs = open_host_stubs(options);
    if (!stubs) {
        return failure(ExitCode::catalog_unreachable, stubs.error().message);
    }
    auto view = FederationView::of(options, std::move(stubs->kept.rows));
    auto report = gather(view);
    if (report) {
        report->catalog = describe_catalog_url(options.catalog);
        report->schema = 0;
        report->change_sequence = stubs->kept.note.sequence;
        report->trouble = trouble;
        report->knowledge = stubs_text(*stubs, report->now);
        report->as_of = stubs->as_of(report->now);
    }
    return report;
}

Cell state_cell(const Server& server, std::int64_t now) {
    if (server.kind == ServerKind::foreign) {
        return {"foreign", Tone::faint};
    }
    if (server.last_heartbeat == 0) {
        return {"no heartbeat yet", Tone::warning};
    }
    const bool fresh = now - server.last_heartbeat <= kServerLease.count();
    return {fmt::format("{}heartbeat {} ago", server.draining ? "draining, " : "",
                        age(server.last_heartbeat, now)),
            fresh ? Tone::good : Tone::bad};
}

void print(const Context& context, const StatusReport& report) {
    Console& console = context.console;
    const std::string schema = report.schema == 0 ? "" : fmt::format(", schema {}", report.schema);
    console.out(fmt::format("catalog    {}{}, change {}\n", escaped(report.catalog, 400), schema,
                            report.change_sequence));
    if (!report.trouble.empty()) {
        console.out(fmt::format("           {}\n",
                                console.toned(Tone::bad, "unreachable: " + report.trouble)));
        console.out(fmt::format("known by   {}\n", report.knowledge));
    }
    console.out(fmt::format("disks      {} in {}\n", report.totals.disks,
                            counted(report.totals.locations, "location")));
    console.out(fmt::format("one copy   {}{}\n", report.all_disks_seen ? "" : "at least ",
                            counted(report.single_copy_disks, "disk")));
    if (report.skipped_rows > 0) {
        console.out(fmt::format("skipped    {} that break the rules; see: signpost doctor\n",
                                counted(report.skipped_rows, "row")));
    }
    console.out(fmt::format("servers    {}\n", report.servers.size()));
    TableStyle style = context.options.table;
    style.columns.clear();
    Table table({{"server"}, {"state"}, {"site"}, {"uri"}}, style);
    for (const Server& server : report.servers) {
        table.add({{server.name},
                   state_cell(server, report.trouble.empty() ? report.now : report.as_of),
                   {server.site.empty() ? "-" : escaped(server.site)},
                   {server.uris.empty() ? "-" : server.uris.front().str()}});
    }
    if (!report.servers.empty()) {
        table.write(console);
    }
}

}  // namespace

VerbResult run(const Context& context, const StatusVerb& /*verb*/) {
    auto report = of_catalog(context.options);
    if (!report && report.error().code == ExitCode::catalog_unreachable) {
        auto remembered = of_stubs(context.options, report.error().message);
        if (remembered) {
            report = std::move(*remembered);
        }
    }
    if (!report) {
        return std::unexpected(report.error());
    }
    if (context.json()) {
        context.console.out(status_json(*report) + "\n");
    } else {
        print(context, *report);
    }
    return report->trouble.empty() ? ExitCode::ok : ExitCode::catalog_unreachable;
}

}  // namespace signpost
