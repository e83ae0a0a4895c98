// SPDX-License-Identifier: BSD-3-Clause

#include "catalog/point_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace signpost {

namespace {

constexpr std::size_t kPage = 1000;

}  // namespace

Result<std::vector<NamedPoint>> points_of(Catalog& catalog, std::string_view disk,
                                          const std::function<bool(const DiskRecord&)>& keep) {
    std::vector<NamedPoint> points;
    const std::string prefix = std::string(disk) + '@';
    std::string after;
    for (std::size_t seen = 0; seen < kMostPoints; seen += kPage) {
        const auto page = catalog.list(prefix, after, kPage);
        if (!page) {
            return std::unexpected(page.error());
        }
        for (const DiskRecord& record : *page) {
            auto point = RestorePoint::of(record.name);
            if (point && point->disk == disk && (!keep || keep(record))) {
                points.push_back({std::move(*point), record.name});
            }
        }
        if (page->size() < kPage) {
            std::ranges::sort(points);
            return points;
        }
        after = page->back().name.str();
    }
    return fail(Errc::full, fmt::format("disk {}: more than {} names begin with it and @; ask for "
                                        "a point by its whole name",
                                        escaped(disk), kMostPoints));
}

Error no_such_point(const DiskName& name, const PointWish& wish,
                    const std::vector<NamedPoint>& points, Error fallback) {
    const std::string nearest = nearest_points_text(wish, points);
    if (nearest.empty()) {
        return fallback;
    }
    return {Errc::not_found,
            fmt::format("no server has disk {}; {}", escaped(name.str()), nearest)};
}

Result<DiskName> meant_disk(Catalog& catalog, const DiskName& name) {
    const auto record = catalog.find(name);
    if (!record) {
        return std::unexpected(record.error());
    }
    if (*record) {
        return name;
    }
    const PointWish wish = PointWish::of(name);
    const auto points = points_of(catalog, wish.disk);
    if (!points) {
        return std::unexpected(points.error());
    }
    if (const NamedPoint* newest = newest_meant(wish, *points)) {
        return newest->name;
    }
    return std::unexpected(no_such_point(
        name, wish, *points,
        {Errc::not_found, fmt::format("no server has disk {}", escaped(name.str()))}));
}

}  // namespace signpost
