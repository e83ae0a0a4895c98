// SPDX-License-Identifier: BSD-3-Clause
//
// `servers`: who is in the federation. A foreign server is looked at before anything is written, so
// a wrong address leaves the catalog as it was.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/federation_view.h"
#include "cli/foreign_exports.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

const std::vector<Column> kColumns = {{"name"},  {"kind"},           {"site"},
                                      {"class"}, {"priority", true}, {"heartbeat"},
                                      {"state"}, {"sessions", true}, {"uri"}};

Cell heartbeat_cell(const Server& server, std::int64_t now) {
    if (server.kind == ServerKind::foreign) {
        return {"-", Tone::faint};
    }
    if (server.last_heartbeat == 0) {
        return {"never", Tone::warning};
    }
    const bool fresh = now - server.last_heartbeat <= kServerLease.count();
    return {age(server.last_heartbeat, now), fresh ? Tone::good : Tone::bad};
}

std::string uris_text(const Server& server) {
    std::vector<std::string> uris;
    for (const NbdUri& uri : server.uris) {
        uris.push_back(uri.str());
    }
    return uris.empty() ? "-" : fmt::format("{}", fmt::join(uris, " "));
}

bool print_servers(const Context& context, const std::vector<Server>& servers, std::int64_t now) {
    if (context.json()) {
        JsonList list(context.options.json == JsonMode::lines);
        for (const Server& server : servers) {
            context.console.out(list.item(server_json(server, now)));
        }
        return context.console.out(list.end());
    }
    Table table(kColumns, context.options.table);
    for (const Server& server : servers) {
        table.add({{server.name},
                   {std::string(to_string(server.kind))},
                   {server.site.empty() ? "-" : escaped(server.site)},
                   {std::string(to_string(server.priority_class))},
                   {std::to_string(server.priority)},
                   heartbeat_cell(server, now),
                   {server.draining ? "draining" : "in use",
                    server.draining ? Tone::warning : Tone::plain},
                   {server.last_heartbeat == 0 ? "-" : std::to_string(server.sessions)},
                   {uris_text(server)}});
    }
    return table.write(context.console);
}

// The names of the disks that SERVER holds.
Outcome<std::vector<std::string>> disks_of(const FederationView& view, std::string_view server) {
    std::vector<std::string> names;
    const auto seen = view.each_disk("", [&](const DiskRecord& disk) {
        if (std::ranges::find(disk.locations, server, &Location::server) != disk.locations.end()) {
            names.push_back(disk.name.str());
        }
        return true;
    });
    if (!seen) {
        return std::unexpected(seen.error());
    }
    return names;
}

// The server as it is to be registered; what the command line leaves open stays as it was.
Outcome<Server> server_to_put(const FederationView& view, const ServersAddVerb& verb) {
    const auto held = view.catalog().find_server(verb.name);
    if (!held) {
        return std::unexpected(catalog_failure(held.error()));
    }
    const ServerKind kind = verb.foreign ? ServerKind::foreign : ServerKind::signpost;
    if (*held && (*held)->kind != kind) {
        return failure(ExitCode::conflict,
                       fmt::format("{} is registered as a {} server; choose another name, or "
                                   "first: signpost servers rm {}",
                                   verb.name, to_string((*held)->kind), verb.name));
    }
    Server server;
    server.name = verb.name;
    server.uris = {verb.uri.with_export("")};
    server.site = verb.site.value_or(*held ? (*held)->site : "");
    server.kind = kind;
    server.priority = verb.priority.value_or(*held ? (*held)->priority : kDefaultPriority);
    server.priority_class =
        verb.priority_class.value_or(*held ? (*held)->priority_class : PriorityClass::site_normal);
    return server;
}

Outcome<ImportPlan> import_plan(const Context& context, const ServersAddVerb& verb) {
    const auto found = look_at_exports(
        verb.uri, {.tls = context.options.tls}, [&](std::size_t seen, std::size_t all) {
            if (seen % 100 == 0) {
                context.console.progress(fmt::format("{}: {} of {} exports", verb.name, seen, all));
            }
        });
    if (!found) {
        return std::unexpected(found.error());
    }
    ImportPlan plan = plan_import(verb.name, found->exports);
    plan.refusals.insert(plan.refusals.begin(), found->refusals.begin(), found->refusals.end());
    return plan;
}

// Registers the server and publishes what it has.
Outcome<PublishSummary> store(const FederationView& view, const ServersAddVerb& verb,
                              std::vector<Image> images) {
    const auto server = server_to_put(view, verb);
    if (!server) {
        return std::unexpected(server.error());
    }
    if (const auto put = view.catalog().put_server(*server); !put) {
        return std::unexpected(catalog_failure(put.error()));
    }
    if (!verb.foreign) {
        return PublishSummary{};
    }
    const auto summary = view.catalog().publish(
        verb.name, {.images = std::move(images), .vanished = {}, .complete = true});
    if (!summary) {
        return std::unexpected(catalog_failure(summary.error()));
    }
    return *summary;
}

}  // namespace

VerbResult run(const Context& context, const ServersListVerb& /*verb*/) {
    if (const auto checked = check_columns(context.options.table.columns, kColumns); !checked) {
        return std::unexpected(checked.error());
    }
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto servers = view->servers();
    if (!servers) {
        return std::unexpected(servers.error());
    }
    const auto now = view->now();
    if (!now) {
        return std::unexpected(now.error());
    }
    print_servers(context, **servers, *now);
    return ExitCode::ok;
}

VerbResult run(const Context& context, const ServersAddVerb& verb) {
    ImportPlan plan;
    if (verb.foreign) {
        auto planned = import_plan(context, verb);
        if (!planned) {
            return std::unexpected(planned.error());
        }
        plan = std::move(*planned);
    }
    PublishReport report{verb.name, {}, {}, plan.refusals, context.options.dry_run};
    for (const Image& image : plan.images) {
        report.disks.push_back(image.name.str());
    }
    if (!context.options.dry_run) {
        auto view = FederationView::open(context.options, CatalogUse::write);
        if (!view) {
            return std::unexpected(view.error());
        }
        const auto summary = store(*view, verb, std::move(plan.images));
        if (!summary) {
            return std::unexpected(summary.error());
        }
        report.summary = *summary;
    }
    if (verb.foreign || context.json()) {
        print_publication(
            context, report,
            fmt::format("{}{}: ", report.dry_run ? "would import from " : "", report.server));
    } else {
        context.console.out(
            fmt::format("{}: {}{}\n", verb.name,
                        context.options.dry_run ? "would be registered at " : "registered at ",
                        verb.uri.str()));
    }
    return ExitCode::ok;
}

VerbResult run(const Context& context, const ServersRemoveVerb& verb) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto held = view->catalog().find_server(verb.name);
    if (!held) {
        return std::unexpected(catalog_failure(held.error()));
    }
    if (!*held) {
        return failure(ExitCode::no_such_disk,
                       fmt::format("no server is called {}; `signpost servers` lists them",
                                   escaped(verb.name)));
    }
    const auto disks = disks_of(*view, verb.name);
    if (!disks) {
        return std::unexpected(disks.error());
    }
    const Options& options = context.options;
    const std::string locations = counted(disks->size(), "location");
    if (!options.dry_run && !options.yes && context.console.can_ask() &&
        !context.console.ask(fmt::format("Forget server {} and its {}?", verb.name, locations))) {
        return failure(ExitCode::failed, "nothing was changed; --yes does not ask");
    }
    if (!options.dry_run) {
        if (const auto removed = view->catalog().remove_server(verb.name); !removed) {
            return std::unexpected(catalog_failure(removed.error()));
        }
    }
    context.console.out(context.json()
                            ? removal_json(verb.name, *disks, options.dry_run) + "\n"
                            : fmt::format("{}: {} {}\n", verb.name, locations,
                                          options.dry_run ? "would be forgotten" : "forgotten"));
    return ExitCode::ok;
}

}  // namespace signpost
