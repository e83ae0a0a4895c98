// SPDX-License-Identifier: BSD-3-Clause

#include "cli/federation_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/point_search.h"
#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

// A file that may be read but not written is good enough for looking.
Result<std::unique_ptr<Catalog>> open_to_read(const std::string& url) {
    auto catalog = open_catalog(url, OpenMode::existing, CatalogUser::person);
    if (!catalog && catalog.error().code == Errc::denied) {
        return open_catalog(url, OpenMode::read_only, CatalogUser::person);
    }
    return catalog;
}

Failure unknown_disk(const DiskName& name) {
    const std::string_view last = std::string_view(name.str()).substr(name.str().rfind('/') + 1);
    return {ExitCode::no_such_disk,
            fmt::format("no server has disk {}; look for it with: signpost find {}",
                        escaped(name.str()), escaped(last))};
}

}  // namespace

Outcome<FederationView> FederationView::open(const Options& options, CatalogUse use) {
    if (options.open_catalog) {
        return FederationView(options, options.open_catalog());
    }
    auto catalog = use == CatalogUse::read
                       ? open_to_read(options.catalog)
                       : open_catalog(options.catalog, OpenMode::create, CatalogUser::person);
    if (catalog) {
        return FederationView(options, std::move(*catalog));
    }
    const Error& error = catalog.error();
    if (error.code == Errc::not_found) {
        return failure(ExitCode::catalog_unreachable,
                       fmt::format("{}; or make it with: signpost catalog init", error.message));
    }
    return std::unexpected(catalog_failure(error));
}

Outcome<DiskRecord> FederationView::disk(const DiskName& name) const {
    auto found = catalog_->find(name);
    if (!found) {
        return std::unexpected(catalog_failure(found.error()));
    }
    if (!*found) {
        return std::unexpected(unknown_disk(name));
    }
    return std::move(**found);
}

Outcome<DiskRecord> meant_disk(const FederationView& view, Console& console, const DiskName& name) {
    auto exact = view.disk(name);
    if (exact || exact.error().code != ExitCode::no_such_disk) {
        return exact;
    }
    const PointWish wish = PointWish::of(name);
    const auto points = points_of(view.catalog(), wish.disk);
    if (!points) {
        return std::unexpected(catalog_failure(points.error()));
    }
    const NamedPoint* const newest = newest_meant(wish, *points);
    if (newest == nullptr) {
        const auto text = no_such_point(name, wish, *points, {Errc::not_found, ""}).message;
        return text.empty() ? exact : failure(ExitCode::no_such_disk, text);
    }
    console.note(fmt::format("signpost: {}: its newest point, {}", shown_name(console, name.str()),
                             shown_name(console, newest->name.str())));
    return view.disk(newest->name);
}

Outcome<const std::vector<Server>*> FederationView::servers() {
    if (!servers_known_) {
        auto servers = catalog_->servers();
        if (!servers) {
            return std::unexpected(catalog_failure(servers.error()));
        }
        servers_ = std::move(*servers);
        servers_known_ = true;
    }
    return &servers_;
}

Outcome<std::int64_t> FederationView::now() const {
    const auto now = catalog_->now();
    if (!now) {
        return std::unexpected(catalog_failure(now.error()));
    }
    return *now;
}

const Server* FederationView::server(std::string_view name) const {
    const auto server = std::ranges::find(servers_, name, &Server::name);
    return server == servers_.end() ? nullptr : &*server;
}

Outcome<void> FederationView::each_disk(std::string_view prefix,
                                        const std::function<bool(const DiskRecord&)>& see) const {
    std::string after;
    for (;;) {
        const auto page = catalog_->list(prefix, after, kPage);
        if (!page) {
            return std::unexpected(catalog_failure(page.error()));
        }
        for (const DiskRecord& disk : *page) {
            if (!see(disk)) {
                return {};
            }
        }
        if (page->size() < kPage) {
            return {};
        }
        after = page->back().name.str();
    }
}

std::vector<std::vector<std::string>> same_content(const DiskRecord& disk) {
    std::vector<std::vector<std::string>> groups;
    std::vector<const Location*> firsts;
    for (const Location& location : disk.locations) {
        const auto first = std::ranges::find_if(
            firsts, [&](const Location* known) { return interchangeable(*known, location); });
        if (first == firsts.end()) {
            firsts.push_back(&location);
            groups.push_back({location.server});
        } else {
            groups[static_cast<std::size_t>(first - firsts.begin())].push_back(location.server);
        }
    }
    return groups;
}

std::optional<NbdUri> location_uri(const Server* server, const Location& location) {
    if (server == nullptr || server->uris.empty()) {
        return std::nullopt;
    }
    return server->uris.front().with_export(location.export_name);
}

std::string shown_name(const Console& console, std::string_view name) {
    return console.output_is_terminal() ? escaped(name, 4 * DiskName::kMaxBytes)
                                        : std::string(name);
}

std::string shown_size(const Options& options, std::uint64_t bytes) {
    return options.bytes ? std::to_string(bytes) : size_for_people(bytes);
}

}  // namespace signpost
