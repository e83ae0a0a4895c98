// SPDX-License-Identifier: BSD-3-Clause
//
// `where`, `info` and `uri`: one disk, its copies, and how to reach them.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "catalog/point_search.h"
#include "catalog/resolver.h"
#include "cli/disk_door.h"
#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

const std::vector<Column> kColumns = {{"server"}, {"state"}, {"format"},  {"size", true},
                                      {"access"}, {"seen"},  {"content"}, {"uri"},
                                      {"writer"}, {"check"}};
// `check` has something to say only when the servers were asked, `writer` only when there is one.
const std::vector<std::string> kUnchecked = {"server", "state", "format",  "size",
                                             "access", "seen",  "content", "uri"};

Outcome<DiskReport> report_disk(FederationView& view, Console& console, const DiskName& name) {
    auto disk = meant_disk(view, console, name);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    if (const auto servers = view.servers(); !servers) {
        return std::unexpected(servers.error());
    }
    // Who writes now is nothing that can be remembered.
    const auto writer = disk->as_of == 0 ? view.catalog().writer(disk->name)
                                         : Result<std::optional<WriterLease>>(std::nullopt);
    if (!writer) {
        return std::unexpected(catalog_failure(writer.error()));
    }
    DiskReport report{disk->name,          disk_size(*disk),   {},
                      same_content(*disk), in_conflict(*disk), *writer};
    for (Location& location : disk->locations) {
        const Server* server = view.server(location.server);
        auto uri = location_uri(server, location);
        report.locations.push_back({std::move(location), std::move(uri), std::nullopt});
    }
    return report;
}

// Asks each server for its own copy. A copy of another size than the catalog's is not reachable:
// what is there is something else.
void ask_servers(const FederationView& view, DiskReport& report) {
    if (view.options().known_probe) {
        for (LocationReport& entry : report.locations) {
            entry.probe = view.options().known_probe(entry.location.server);
        }
        return;
    }
    std::vector<ProbeTarget> targets;
    for (const LocationReport& entry : report.locations) {
        const Server* server = view.server(entry.location.server);
        const ServerKind kind = server == nullptr ? ServerKind::foreign : server->kind;
        targets.push_back({server == nullptr ? std::vector<NbdUri>{} : server->uris,
                           own_export(report.disk, entry.location, kind)});
    }
    auto results = probe_all(targets, {.tls = view.options().tls});
    for (std::size_t i = 0; i < results.size(); ++i) {
        LocationReport& entry = report.locations[i];
        if (results[i].facts && results[i].facts->size != entry.location.size) {
            results[i].error = Error{
                Errc::conflict, fmt::format("has {} bytes there, and {} in the catalog; rescan it "
                                            "with: signpost scan, or signpost servers add",
                                            results[i].facts->size, entry.location.size)};
        }
        entry.probe = std::move(results[i]);
    }
}

Tone tone_of(LocationState state) {
    switch (state) {
        case LocationState::ready:
            return Tone::good;
        case LocationState::copying:
            return Tone::faint;
        case LocationState::stale:
            return Tone::warning;
        case LocationState::damaged:
            break;
    }
    return Tone::bad;
}

std::string content_of(const Location& location) {
    constexpr std::size_t kShown = 24;  // "sha256-32k:" and as much as tells two copies apart
    return location.digest.empty() ? "not verified" : location.digest.substr(0, kShown);
}

Cell check_cell(const LocationReport& entry) {
    if (!entry.probe) {
        return {"-"};
    }
    if (entry.probe->error) {
        return {escaped(entry.probe->error->message), Tone::bad};
    }
    return {fmt::format("ok, {}", duration_text(entry.probe->latency)), Tone::good};
}

void add_row(Table& table, const Context& context, const LocationReport& entry,
             const std::optional<WriterLease>& writer) {
    const Location& location = entry.location;
    const bool here = location.server == context.options.own_server;
    table.add({{location.server + (here && !context.options.table.tabs ? "*" : "")},
               {std::string(to_string(location.state)), tone_of(location.state)},
               {std::string(to_string(location.format))},
               {shown_size(context.options, location.size)},
               {location.read_only ? "read-only" : "writable"},
               {location.last_seen == 0 ? "-" : rfc3339(location.last_seen)},
               {content_of(location), location.digest.empty() ? Tone::faint : Tone::plain},
               {entry.uri ? entry.uri->str() : "-"},
               {writer && writer->server == location.server ? escaped(writer->writer) : "-"},
               check_cell(entry)});
}

void print_copies(const Context& context, const DiskReport& report, bool checked) {
    TableStyle style = context.options.table;
    if (style.columns.empty()) {
        style.columns = kUnchecked;
        if (report.writer) {
            style.columns.emplace_back("writer");
        }
        if (checked) {
            style.columns.emplace_back("check");
        }
    }
    Table table(kColumns, style);
    for (const LocationReport& entry : report.locations) {
        add_row(table, context, entry, report.writer);
    }
    table.write(context.console);
    if (report.conflict && !style.tabs) {
        context.console.out(
            "in conflict: verified copies differ; only the newest content is served to others\n");
    }
}

std::size_t count_unreachable(const DiskReport& report) {
    return static_cast<std::size_t>(std::ranges::count_if(
        report.locations,
        [](const LocationReport& entry) { return entry.probe && entry.probe->error; }));
}

std::string live_line(const ProbeResult& probe) {
    if (!probe.facts) {
        return fmt::format("does not answer: {}",
                           probe.error ? escaped(probe.error->message) : "no reason given");
    }
    const ExportFacts& facts = *probe.facts;
    std::vector<std::string_view> flags = {facts.read_only ? "read-only" : "writable"};
    const std::pair<bool, std::string_view> known[] = {{facts.flush, "flush"},
                                                       {facts.fua, "fua"},
                                                       {facts.trim, "trim"},
                                                       {facts.zero, "zero"},
                                                       {facts.multi_conn, "multi-conn"},
                                                       {facts.structured_replies, "structured"},
                                                       {facts.tls, "tls"}};
    for (const auto& [has, name] : known) {
        if (has) {
            flags.push_back(name);
        }
    }
    return fmt::format("answers in {}: {}", duration_text(probe.latency), fmt::join(flags, ", "));
}

// The newest first, and not more of them than a screen has room for.
void print_points(Console& console, const std::vector<NamedPoint>& points) {
    constexpr std::size_t kShown = 10;
    std::size_t shown = 0;
    for (auto point = points.rbegin(); point != points.rend() && shown < kShown; ++point) {
        console.out(fmt::format("  {}  {}{}\n", shown == 0 ? "points" : "      ",
                                shown_name(console, point->name.str()),
                                shown == 0 ? "  (newest)" : ""));
        ++shown;
    }
    if (points.size() > shown) {
        console.out(fmt::format("          and {} more: signpost ls --points {}\n",
                                points.size() - shown,
                                shown_name(console, points.front().point.disk)));
    }
}

void print_info(const Context& context, const DiskReport& report) {
    Console& console = context.console;
    console.out(fmt::format("{}\n  size    {}\n  copies  {}\n",
                            shown_name(console, report.disk.str()),
                            shown_size(context.options, report.size), report.locations.size()));
    for (const auto& group : report.same_content) {
        if (group.size() > 1) {
            console.out(
                fmt::format("  same    {} have the same content\n", fmt::join(group, ", ")));
        }
    }
    if (report.conflict) {
        console.out("  CONFLICT verified copies differ; only the newest content is served\n");
    }
    if (report.writer) {
        console.out(fmt::format("  writer  {} on {}\n", escaped(report.writer->writer),
                                report.writer->server));
    }
    print_points(console, report.points);
    for (const LocationReport& entry : report.locations) {
        const Location& location = entry.location;
        console.out(fmt::format(
            "\n{}\n  state       {}\n  format      {}\n  size        {}\n  generation  {}\n"
            "  digest      {}\n  seen        {}\n  uri         {}\n",
            location.server, console.toned(tone_of(location.state), to_string(location.state)),
            to_string(location.format), shown_size(context.options, location.size),
            location.generation, location.digest.empty() ? "not verified" : location.digest,
            location.last_seen == 0 ? "never" : rfc3339(location.last_seen),
            entry.uri ? entry.uri->str() : "none"));
        if (entry.probe) {
            console.out(fmt::format("  now         {}\n", live_line(*entry.probe)));
        }
    }
}

Outcome<Door> door_of_server(const FederationView& view, const DiskRecord& disk,
                             std::string_view name) {
    const Server* server = view.server(name);
    if (server == nullptr) {
        return failure(
            ExitCode::no_such_disk,
            fmt::format("no server is called {}; `signpost servers` lists them", escaped(name)));
    }
    if (server->uris.empty()) {
        return failure(ExitCode::failed,
                       fmt::format("server {} has no URI; give it one with: signpost servers add "
                                   "{} nbd://HOST",
                                   escaped(name), escaped(name)));
    }
    if (server->kind == ServerKind::signpost) {
        return Door{server->name, server->uris.front().with_export(disk.name.str())};
    }
    const auto location = std::ranges::find(disk.locations, name, &Location::server);
    if (location == disk.locations.end()) {
        return failure(
            ExitCode::no_such_disk,
            fmt::format("foreign server {} does not hold disk {}; see: signpost where "
                        "{}",
                        escaped(name), escaped(disk.name.str()), escaped(disk.name.str())));
    }
    return Door{server->name, server->uris.front().with_export(location->export_name)};
}

// This server if it can be asked, else the best that holds a copy.
Outcome<Door> best_door(const FederationView& view, const DiskRecord& disk) {
    const Server* own = view.server(view.options().own_server);
    if (own != nullptr && own->kind == ServerKind::signpost && !own->uris.empty()) {
        return door_of_server(view, disk, own->name);
    }
    std::vector<Route> routes;
    for (const Location& location : disk.locations) {
        const Server* server = view.server(location.server);
        if (server != nullptr && !server->uris.empty() && location.state == LocationState::ready) {
            routes.push_back({location, *server});
        }
    }
    if (routes.empty()) {
        return failure(ExitCode::failed,
                       fmt::format("no server with a ready copy of {} has a URI; see: signpost "
                                   "where {}",
                                   escaped(disk.name.str()), escaped(disk.name.str())));
    }
    const auto from = Resolver(view.catalog(), view.options().own_server).viewpoint();
    if (!from) {
        return std::unexpected(catalog_failure(from.error()));
    }
    leave_out_draining(routes);
    order_routes(routes, *from);
    return door_of_server(view, disk, routes.front().server.name);
}

}  // namespace

Outcome<Door> disk_door(FederationView& view, const DiskRecord& disk) {
    if (const auto servers = view.servers(); !servers) {
        return std::unexpected(servers.error());
    }
    return view.options().server_given ? door_of_server(view, disk, view.options().own_server)
                                       : best_door(view, disk);
}

VerbResult run(const Context& context, const WhereVerb& verb) {
    if (const auto checked = check_columns(context.options.table.columns, kColumns); !checked) {
        return std::unexpected(checked.error());
    }
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    auto report = report_disk(*view, context.console, verb.disk);
    if (!report) {
        return std::unexpected(report.error());
    }
    if (verb.check) {
        ask_servers(*view, *report);
    }
    if (context.json()) {
        context.console.out(where_json(*report) + "\n");
    } else {
        print_copies(context, *report, verb.check);
    }
    const std::size_t unreachable = count_unreachable(*report);
    if (unreachable > 0) {
        return failure(ExitCode::problems_found,
                       fmt::format("{}: {} of {} cannot be reached; see: signpost doctor",
                                   escaped(report->disk.str()), unreachable,
                                   counted(report->locations.size(), "location")));
    }
    return ExitCode::ok;
}

VerbResult run(const Context& context, const InfoVerb& verb) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    auto report = report_disk(*view, context.console, verb.disk);
    if (!report) {
        return std::unexpected(report.error());
    }
    auto points = points_of(view->catalog(), PointWish::of(report->disk).disk);
    if (!points) {
        return std::unexpected(catalog_failure(points.error()));
    }
    report->points = std::move(*points);
    ask_servers(*view, *report);
    if (context.json()) {
        context.console.out(info_json(*report) + "\n");
    } else {
        print_info(context, *report);
    }
    return ExitCode::ok;
}

VerbResult run(const Context& context, const UriVerb& verb) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto disk = meant_disk(*view, context.console, verb.disk);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    const auto door = disk_door(*view, *disk);
    if (!door) {
        return std::unexpected(door.error());
    }
    context.console.out(
        (context.json() ? uri_json(disk->name, door->server, door->uri) : door->uri.str()) + "\n");
    return ExitCode::ok;
}

}  // namespace signpost
