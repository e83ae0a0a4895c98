// SPDX-License-Identifier: BSD-3-Clause
//
// Asks servers, many at once, whether they answer and what they say of an export. A server that
// hangs costs its own deadline and nobody else's.
//
// Threads: makes its own, and ends them before it returns.

#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "catalog/records.h"
#include "cli/peer.h"

namespace signpost {

struct ProbeTarget {
    std::vector<NbdUri> uris;                // tried in their order; empty: cannot be reached
    std::optional<std::string> export_name;  // empty: whether the server answers is enough
};

struct ProbeResult {
    bool answered = false;                 // an NBD server greeted us
    std::optional<NbdUri> uri;             // at which it did
    std::chrono::microseconds latency{0};  // until it had greeted
    std::optional<ExportFacts> facts;
    std::optional<Error> error;  // what went wrong last
};

ProbeResult probe(const ProbeTarget& target, const PeerSettings& settings);

// One result for each target, in their order.
std::vector<ProbeResult> probe_all(std::span<const ProbeTarget> targets,
                                   const PeerSettings& settings);

// The export by which a server that holds the location can be asked for its own copy: the hop
// rule's name at a Signpost server, the export's own at any other.
std::string own_export(const DiskName& disk, const Location& location, ServerKind kind);

}  // namespace signpost
