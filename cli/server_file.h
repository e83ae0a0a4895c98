// SPDX-License-Identifier: BSD-3-Clause
//
// ServerFile is what a configuration file of signpostd says that concerns this machine: where its
// images, its state and its certificates lie. signpostd alone says whether a file is right; what
// does not fit here is as if it were not there.
//
// Values; reads the file and nothing else. Threads: any.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/wished_copies.h"

namespace signpost {

struct ServerFile {
    std::vector<std::string> repositories;
    std::string state;  // directory; empty, and so the others: not said
    std::string cache;
    std::string server;
    std::string uri;
    std::string certificates;
    std::string peer_certificates;
    std::vector<WishedCopies> copies;

    // not_found, denied, io; invalid: it is no TOML.
    static Result<ServerFile> read(const std::string& path);
};

// Where signpostd's unit looks for it.
inline constexpr const char* kUsualServerFile = "/etc/signpost/signpost.toml";

}  // namespace signpost
