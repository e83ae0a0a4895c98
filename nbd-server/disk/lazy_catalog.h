// SPDX-License-Identifier: BSD-3-Clause
//
// LazyCatalog is a Catalog that need not be there yet: while it cannot be opened every call fails
// with what opening said, and opening is tried again by a call, at most once per second, so that a
// server which started without its catalog finds it later. A catalog that may only be read is used
// for reading; changes then try to open it for writing, as rarely.
//
// The log gets one line when it cannot be opened or only be read, and one when that is over.
//
// Lifetime: LOG outlives it. Threads: any; one thread opens at a time, the others do not wait for
// it.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "catalog/catalog.h"
#include "nbd-server/disk/log.h"

namespace signpost {

struct LazyCatalogSettings {
    std::string url;
    std::chrono::milliseconds retry{1000};
    std::string known_trouble;  // has been told already: not again while it lasts

    // Seam for tests; empty: open_catalog.
    std::function<Result<std::unique_ptr<Catalog>>(const std::string& url, OpenMode mode)> open;
};

// Tries to open at once. Whether that went well is seen in the calls.
std::unique_ptr<Catalog> make_lazy_catalog(LazyCatalogSettings settings, Log& log);

}  // namespace signpost
