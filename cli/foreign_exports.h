// SPDX-License-Identifier: BSD-3-Clause
//
// What a foreign NBD server has to offer: its exports, looked at one by one, and the disks that
// they become in the catalog.
//
// Threads: one. Time: each step has a deadline; see PeerSettings.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "catalog/records.h"
#include "cli/peer.h"
#include "terminal/outcome.h"

namespace signpost {

struct ForeignExport {
    std::string name;
    ExportFacts facts;
};

struct ForeignExports {
    std::vector<ForeignExport> exports;
    std::vector<std::string> refusals;  // one line for each export that could not be looked at
};

// The exports that the server lists; or the one that URI names; or, of a server that does not list,
// the default one. SEEN is told how many were looked at, and of how many.
Outcome<ForeignExports> look_at_exports(
    const NbdUri& uri, const PeerSettings& settings,
    const std::function<void(std::size_t seen, std::size_t all)>& seen);

struct ImportPlan {
    std::vector<Image> images;
    std::vector<std::string> refusals;  // one line for each export that becomes no disk
};

// Pure. A disk is named as its export, without an image's extension; the default export ("") as the
// server. Two exports that give one name are both refused.
ImportPlan plan_import(const std::string& server, const std::vector<ForeignExport>& exports);

}  // namespace signpost
