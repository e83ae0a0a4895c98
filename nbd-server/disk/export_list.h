// SPDX-License-Identifier: BSD-3-Clause
//
// The export list: this server's images and the catalog's disks, merged in byte order of their
// names. The catalog is read page by page, so memory does not grow with it.
//
// A disk is listed when it can be served: held here, or ready on another registered server. This
// server's own rows do not count: its repositories know better. Names that begin with `local:` are
// not disk names, so none is ever listed (the hop rule).
//
// Threads: any; no state.

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "catalog/liveness.h"
#include "nbd-server/disk/federation.h"

namespace signpost {

struct ExportListSource {
    Catalog& catalog;
    std::string own_server;
    std::string own_site;           // empty: as the catalog has it
    const Liveness* liveness;       // may be null
    const std::vector<Image>& own;  // ordered by name
    std::string after;              // only names behind it
};

// With the catalog's error when it cannot be read.
Result<Federation::Listing> list_exports(const ExportListSource& source, std::size_t limit);

// Without the catalog: own images only; never complete.
Federation::Listing list_own_exports(const std::vector<Image>& own, std::size_t limit,
                                     const std::string& after);

}  // namespace signpost
