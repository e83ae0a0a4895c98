// SPDX-License-Identifier: BSD-3-Clause
//
// The server that a disk is asked from: --server's, else this server, which can serve any disk,
// else the best of those that hold a copy.
//
// Values; threads: one.

#pragma once

#include <string>

#include "cli/federation_view.h"

namespace signpost {

struct Door {
    std::string server;
    NbdUri uri;
};

Outcome<Door> disk_door(FederationView& view, const DiskRecord& disk);

}  // namespace signpost
