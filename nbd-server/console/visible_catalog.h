// SPDX-License-Identifier: BSD-3-Clause
//
// VisibleCatalog is a catalog as one person may see it: only with the disks that the access rules
// allow, and for looking only.
//
// Lifetime: what is behind it outlives it. Threads: any.

#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "catalog/catalog.h"

namespace signpost {

// MAY_SEE empty: all. STOPPED: calls fail from then on, so that what walks the catalog ends soon.
std::unique_ptr<Catalog> make_visible_catalog(Catalog& behind,
                                              std::function<bool(std::string_view disk)> may_see,
                                              std::function<bool()> stopped = {});

}  // namespace signpost
