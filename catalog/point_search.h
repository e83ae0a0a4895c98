// SPDX-License-Identifier: BSD-3-Clause
//
// Which restore points of a disk the catalog has, and which disk a name means there. The names of a
// disk's points begin alike, so this reads their rows, a page at a time, and no others.
//
// Lifetime: the catalog outlives the calls. Threads: any.

#pragma once

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/restore_point.h"

namespace signpost {

inline constexpr std::size_t kMostPoints = 100'000;  // of one disk; any more is an error (full)

// The points of DISK for which KEEP is true (empty: all), in the order of time.
Result<std::vector<NamedPoint>> points_of(Catalog& catalog, std::string_view disk,
                                          const std::function<bool(const DiskRecord&)>& keep = {});

// The disk that NAME means: the one of that name, else the newest of its points that it asks for.
// not_found: there is neither; the message lists the points that are nearest.
Result<DiskName> meant_disk(Catalog& catalog, const DiskName& name);

// The refusal of a name that means none of POINTS; FALLBACK when there are none at all.
Error no_such_point(const DiskName& name, const PointWish& wish,
                    const std::vector<NamedPoint>& points, Error fallback);

}  // namespace signpost
