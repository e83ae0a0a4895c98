// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/export_list.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "catalog/resolver.h"
#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

constexpr std::size_t kPage = 1000;

ExportEntry own_entry(const Image& image) {
    return {image.name.str(), describe_own_disk(image.size, image.format)};
}

std::vector<Image>::const_iterator first_after(const std::vector<Image>& own,
                                               const std::string& after) {
    return std::ranges::upper_bound(
        own, after, {}, [](const Image& image) -> const std::string& { return image.name.str(); });
}

// Merges the two sorted sequences: the catalog's records are put in one by one, own images come
// from the vector.
class Merge {
   public:
    Merge(const ExportListSource& source, std::vector<Server> servers, Viewpoint view,
          std::size_t limit)
        : source_(source),
          view_(std::move(view)),
          own_(first_after(source.own, source.after)),
          limit_(limit) {
        for (auto& server : servers) {
            servers_.emplace(server.name, std::move(server));
        }
    }

    void put(const DiskRecord& record) {
        while (own_ != source_.own.end() && own_->name < record.name) {
            add(own_entry(*own_++));
        }
        if (own_ != source_.own.end() && own_->name == record.name) {
            add(own_entry(*own_++));
        } else if (auto entry = relayed_entry(record)) {
            add(std::move(*entry));
        }
    }

    bool full() const { return !listing_.complete; }
    std::size_t room() const { return limit_ - listing_.entries.size(); }

    Federation::Listing finish() {
        while (own_ != source_.own.end() && !full()) {
            add(own_entry(*own_++));
        }
        return std::move(listing_);
    }

   private:
    void add(ExportEntry entry) {
        if (listing_.entries.size() == limit_) {
            listing_.complete = false;
            return;
        }
        listing_.entries.push_back(std::move(entry));
    }

    // What a relay would open first; empty when no other server has it ready.
    std::optional<ExportEntry> relayed_entry(const DiskRecord& record) const {
        std::vector<Route> routes;
        for (const Location& location : record.locations) {
            const auto server = servers_.find(location.server);
            if (location.server != source_.own_server && location.state == LocationState::ready &&
                server != servers_.end() && !server->second.uris.empty()) {
                routes.push_back({location, server->second});
            }
        }
        if (routes.empty()) {
            return std::nullopt;
        }
        leave_out_draining(routes);
        order_routes(routes, view_);
        const Location& first = routes.front().location;
        return ExportEntry{record.name.str(),
                           describe_relayed_disk(first.size, first.format, first.server,
                                                 routes.size() - 1, record.as_of)};
    }

    const ExportListSource& source_;
    const Viewpoint view_;
    std::map<std::string, Server, std::less<>> servers_;
    std::vector<Image>::const_iterator own_;
    const std::size_t limit_;
    Federation::Listing listing_;
};

}  // namespace

Result<Federation::Listing> list_exports(const ExportListSource& source, std::size_t limit) {
    auto servers = source.catalog.servers();
    if (!servers) {
        return std::unexpected(servers.error());
    }
    auto view =
        Resolver(source.catalog, source.own_server, source.own_site, source.liveness).viewpoint();
    if (!view) {
        return std::unexpected(view.error());
    }
    Merge merge(source, std::move(*servers), std::move(*view), limit);
    std::string after = source.after;
    while (!merge.full()) {
        const std::size_t wanted = std::min(kPage, merge.room() + 1);
        auto page = source.catalog.list("", after, wanted);
        if (!page) {
            return std::unexpected(page.error());
        }
        for (const DiskRecord& record : *page) {
            merge.put(record);
        }
        if (page->size() < wanted) {
            break;
        }
        after = page->back().name.str();
    }
    return merge.finish();
}

Federation::Listing list_own_exports(const std::vector<Image>& own, std::size_t limit,
                                     const std::string& after) {
    Federation::Listing listing;
    listing.complete = false;
    for (auto image = first_after(own, after); image != own.end() && listing.entries.size() < limit;
         ++image) {
        listing.entries.push_back(own_entry(*image));
    }
    return listing;
}

}  // namespace signpost
