// SPDX-License-Identifier: BSD-3-Clause
//
// A catalog that was made anew, or put back from an older copy, has lost what this server once told
// it and what it once answered: which generation each image is, and its digest. The server's stubs
// still have that. Before it publishes everything again, it gives its own locations back as they
// were, where the image is still the same; so no digest has to be computed again, and no copy
// ceases to be one.
//
// Threads: any; no state.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "catalog/catalog.h"

namespace signpost {

// How many of SERVER's locations were given back to LIVE: those of IMAGES whose content STUBS know,
// and which LIVE has not, or has at an older generation. With neither's error when it fails.
Result<std::uint64_t> give_back(Catalog& live, Catalog& stubs, const std::string& server,
                                const std::vector<Image>& images);

}  // namespace signpost
