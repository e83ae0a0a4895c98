// SPDX-License-Identifier: BSD-3-Clause
//
// `add`, `scan` and `rm`: what a server holds, said by hand instead of by the running server. The
// images are found by the same rules by which the servers find them.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "catalog/store_rules.h"
#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "nbd-server/disk/repository.h"
#include "terminal/text.h"

namespace signpost {

namespace {

Failure repository_failure(const Error& error) {
    switch (error.code) {
        case Errc::denied:
            return {ExitCode::denied, error.message};
        case Errc::conflict:
            return {ExitCode::conflict, error.message};
        case Errc::not_found:
        case Errc::invalid:
            return {ExitCode::usage, error.message};
        default:
            return {ExitCode::failed, error.message};
    }
}

Outcome<RepositorySet> open_repositories(const std::vector<std::string>& directories,
                                         const PointPatterns& points) {
    std::vector<Repository> repositories;
    for (const std::string& directory : directories) {
        auto repository = Repository::open(directory, {.points = points});
        if (!repository) {
            return std::unexpected(repository_failure(repository.error()));
        }
        repositories.push_back(std::move(*repository));
    }
    return RepositorySet(std::move(repositories));
}

// The server that the images belong to: registered, and at --uri if that was given. A running
// server of that name keeps its registration.
Outcome<void> ensure_server(const FederationView& view) {
    const Options& options = view.options();
    if (const auto named = check_server_name(options.own_server); !named) {
        return failure(ExitCode::usage, fmt::format("{} (the host name); give another: --server "
                                                    "NAME",
                                                    named.error().message));
    }
    const auto held = view.catalog().find_server(options.own_server);
    if (!held) {
        return std::unexpected(catalog_failure(held.error()));
    }
    if (!*held && !options.uri) {
        return failure(ExitCode::usage,
                       fmt::format("server {} is not in the catalog; say how clients reach it: "
                                   "--uri nbd://HOST, or name a registered one: --server NAME",
                                   options.own_server));
    }
    if (*held && (*held)->kind == ServerKind::foreign) {
        return failure(ExitCode::conflict,
                       fmt::format("{} is a foreign server; refresh it with: signpost servers add "
                                   "{} URI --foreign",
                                   options.own_server, options.own_server));
    }
    const bool same = *held && (!options.uri || (*held)->uris == std::vector{*options.uri});
    if (same || options.dry_run) {
        return {};
    }
    Server server = *held ? **held : Server{};
    server.name = options.own_server;
    server.uris = {*options.uri};
    server.instance.clear();
    if (const auto put = view.catalog().put_server(server); !put) {
        return std::unexpected(catalog_failure(put.error()));
    }
    return {};
}

// What publish() would do, without doing it.
Outcome<PublishSummary> rehearse(const FederationView& view, const Publication& change) {
    const std::string& server = view.options().own_server;
    PublishSummary summary;
    std::set<DiskName> present;
    for (const Image& image : change.images) {
        present.insert(image.name);
        const auto found = view.catalog().find(image.name);
        if (!found) {
            return std::unexpected(catalog_failure(found.error()));
        }
        const auto held = *found ? std::ranges::find((*found)->locations, server, &Location::server)
                                 : std::vector<Location>::iterator{};
        if (!*found || held == (*found)->locations.end()) {
            ++summary.added;
        } else if (compare(image, *held) != ImageChange::none) {
            ++summary.changed;
        }
    }
    if (!change.complete) {
        return summary;
    }
    const auto seen = view.each_disk("", [&](const DiskRecord& disk) {
        const bool held = std::ranges::count(disk.locations, server, &Location::server) > 0;
        summary.removed += held && !present.contains(disk.name) ? 1 : 0;
        return true;
    });
    if (!seen) {
        return std::unexpected(seen.error());
    }
    return summary;
}

VerbResult publish(const Context& context, Publication change, std::vector<std::string> refusals) {
    // A rehearsal makes no catalog, and neither does a publication that must be refused there:
    // without
    // --uri the server has to be in it already.
    const bool creates = !context.options.dry_run && context.options.uri;
    auto view =
        FederationView::open(context.options, creates ? CatalogUse::write : CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    if (const auto server = ensure_server(*view); !server) {
        return std::unexpected(server.error());
    }
    PublishReport report{
        context.options.own_server, {}, {}, std::move(refusals), context.options.dry_run};
    for (const Image& image : change.images) {
        report.disks.push_back(image.name.str());
    }
    if (context.options.dry_run) {
        const auto summary = rehearse(*view, change);
        if (!summary) {
            return std::unexpected(summary.error());
        }
        report.summary = *summary;
    } else {
        const auto summary = view->catalog().publish(context.options.own_server, change);
        if (!summary) {
            return std::unexpected(catalog_failure(summary.error()));
        }
        report.summary = *summary;
    }
    print_publication(
        context, report,
        fmt::format("{}: {} ", report.server, report.dry_run ? "would publish" : "published"));
    return ExitCode::ok;
}

// The disk that the file at PATH gives in REPOSITORY.
Outcome<DiskName> disk_of_file(const std::string& path, const RepositorySet& repositories) {
    const Repository& repository = repositories.repositories().front();
    std::error_code error;
    const auto absolute = std::filesystem::absolute(path, error).lexically_normal();
    const auto relative = repository.relative(absolute.string());
    if (error || !relative) {
        return failure(ExitCode::usage,
                       fmt::format("{} is not under {}; name the directory that it is under: "
                                   "--repository DIR",
                                   escaped(path, 400), escaped(repository.directory(), 400)));
    }
    auto name = repositories.name_of({.repository = 0, .path = *relative});
    if (!name) {
        return failure(ExitCode::usage,
                       fmt::format("{} has no image's extension; rename it to end in .raw, .img, "
                                   ".qcow2, .vmdk, .vhdx, .vdi, .vpc or .iso",
                                   escaped(path, 400)));
    }
    if (!*name) {
        return failure(ExitCode::usage, name->error().message);
    }
    return std::move(**name);
}

// The servers whose copy of the disk is to be forgotten.
Outcome<std::vector<std::string>> holders(const FederationView& view, const DiskName& name) {
    const auto disk = view.disk(name);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    std::vector<std::string> servers;
    for (const Location& location : disk->locations) {
        if (!view.options().server_given || location.server == view.options().own_server) {
            servers.push_back(location.server);
        }
    }
    if (servers.empty()) {
        return failure(ExitCode::no_such_disk,
                       fmt::format("server {} does not hold disk {}; see: signpost where {}",
                                   escaped(view.options().own_server), escaped(name.str()),
                                   escaped(name.str())));
    }
    return servers;
}

}  // namespace

void print_publication(const Context& context, const PublishReport& report, std::string_view what) {
    for (const std::string& line : report.refusals) {
        context.console.note(fmt::format("signpost: {}", line));
    }
    if (context.json()) {
        context.console.out(publish_json(report) + "\n");
        return;
    }
    context.console.out(fmt::format("{}{} ({} new, {} changed, {} gone)\n", what,
                                    counted(report.disks.size(), "disk"), report.summary.added,
                                    report.summary.changed, report.summary.removed));
}

VerbResult run(const Context& context, const AddVerb& verb) {
    const std::string parent = std::filesystem::path(verb.path).parent_path().string();
    const std::string directory =
        !verb.repository.empty() ? verb.repository : (parent.empty() ? "." : parent);
    const auto repositories = open_repositories({directory}, verb.points);
    if (!repositories) {
        return std::unexpected(repositories.error());
    }
    const auto name = disk_of_file(verb.path, *repositories);
    if (!name) {
        return std::unexpected(name.error());
    }
    auto found = repositories->inspect(*name, std::chrono::milliseconds{0});
    if (!found && found.error().code == Errc::not_found) {
        // A layer of a chain, which is called after the chain.
        if (const auto layer = repositories->open_by_path(*name)) {
            found = repositories->inspect(layer->name, std::chrono::milliseconds{0});
        }
    }
    if (!found) {
        return std::unexpected(repository_failure(found.error()));
    }
    if (found->unsettled) {
        return failure(ExitCode::conflict,
                       fmt::format("{} is still being written; try again when it is complete",
                                   escaped(verb.path, 400)));
    }
    Publication change;
    change.images.push_back(std::move(found->image));
    return publish(context, std::move(change), {});
}

VerbResult run(const Context& context, const ScanVerb& verb) {
    const std::vector<std::string> directories =
        verb.directories.empty() ? std::vector<std::string>{"."} : verb.directories;
    const auto repositories = open_repositories(directories, verb.points);
    if (!repositories) {
        return std::unexpected(repositories.error());
    }
    auto scan = repositories->scan();
    for (const std::string& line : scan.notes) {
        context.console.note(fmt::format("signpost: {}", line));
    }
    Publication change;
    change.images = std::move(scan.images);
    // A file that is being written is not gone: then nothing is.
    change.complete = verb.prune && !scan.unsettled;
    if (scan.unsettled) {
        scan.refusals.emplace_back(
            "some files are still being written; scan again when they are complete");
    }
    return publish(context, std::move(change), std::move(scan.refusals));
}

VerbResult run(const Context& context, const RemoveVerb& verb) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto servers = holders(*view, verb.disk);
    if (!servers) {
        return std::unexpected(servers.error());
    }
    const Options& options = context.options;
    const std::string name = shown_name(context.console, verb.disk.str());
    if (!options.dry_run && !options.yes && context.console.can_ask() &&
        !context.console.ask(
            fmt::format("Forget {} on {}? The images stay.", name, fmt::join(*servers, ", ")))) {
        return failure(ExitCode::failed, "nothing was changed; --yes does not ask");
    }
    for (const std::string& server : *servers) {
        if (options.dry_run) {
            continue;
        }
        const auto removed = view->catalog().publish(
            server, {.images = {}, .vanished = {verb.disk}, .complete = false});
        if (!removed) {
            return std::unexpected(catalog_failure(removed.error()));
        }
    }
    context.console.out(context.json()
                            ? removal_json(verb.disk.str(), *servers, options.dry_run) + "\n"
                            : fmt::format("{}: {} on {}\n", name,
                                          options.dry_run ? "would be forgotten" : "forgotten",
                                          fmt::join(*servers, ", ")));
    return ExitCode::ok;
}

}  // namespace signpost
