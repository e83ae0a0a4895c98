// SPDX-License-Identifier: BSD-3-Clause
//
// A restore point is a disk as it was at some time, under a name that says when, in the extended or
// the basic form of ISO 8601: "web01/vda@2026-11-20T02:00", "web01/vda@20261120T020000Z",
// "web01/vda@2026-11-20". Times without a zone count as UTC.
//
// A name may also ask for a point without having its whole time: "web01/vda" means the newest point
// where there is no disk of just that name, "web01/vda@2026-11" the newest one of that month. An
// exact name always comes first; that is for the caller to see.
//
// Values; threads: any.

#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/disk_name.h"

namespace signpost {

struct RestorePoint {
    std::string disk;  // "web01/vda"
    std::string time;  // its digits, in UTC: sorts in the order of time

    // Empty: the name says no time.
    static std::optional<RestorePoint> of(const DiskName& name);

    std::int64_t seconds() const;  // since 1970

    auto operator<=>(const RestorePoint&) const = default;
};

// A point under the name that it has.
struct NamedPoint {
    RestorePoint point;
    DiskName name;

    auto operator<=>(const NamedPoint&) const = default;  // in the order of time
};

// Which points of which disk a name asks for.
struct PointWish {
    std::string disk;
    std::string time;  // the beginning of the digits; empty: any

    static PointWish of(const DiskName& name);
};

// The newest of POINTS that WISH means; null: none of them. Points of other disks are passed over.
const NamedPoint* newest_meant(const PointWish& wish, const std::vector<NamedPoint>& points);

// "its points nearest to that are A and B": for a wish that no point fulfils. Empty: it has none.
std::string nearest_points_text(const PointWish& wish, const std::vector<NamedPoint>& points);

}  // namespace signpost
