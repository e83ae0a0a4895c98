// SPDX-License-Identifier: BSD-3-Clause
//
// What the servers of this machine remember of the catalog, for when the catalog itself does not
// answer: the stubs in their state directories, read and never changed.
//
// Lifetime: owns its handle. Threads: one.

#pragma once

#include <optional>
#include <string>

#include "cli/invocation.h"
#include "nbd-server/disk/stub_store.h"

namespace signpost {

struct HostStubs {
    std::string server;  // whose they are
    std::string path;    // of the file
    KeptStubs kept;

    // As of when they were true, by a clock that may have been put back since; 0: not known.
    std::int64_t as_of(std::int64_t now) const;
};

// Those of the server that OPTIONS name; without --server and without stubs of the default name,
// those of the only server that keeps its state here. not_found, and what reading them says.
Result<HostStubs> open_host_stubs(const Options& options);

// "stubs of server alpha, as of 2026-11-23T12:00:00Z (5 min ago)"
std::string stubs_text(const HostStubs& stubs, std::int64_t now);

}  // namespace signpost
