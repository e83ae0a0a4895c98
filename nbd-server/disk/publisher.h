// SPDX-License-Identifier: BSD-3-Clause
//
// Publisher keeps the catalog's rows of this server equal to its repositories: a scan at start (in
// the background: serving does not wait), then inotify for what comes, changes and goes, a slow
// rescan for what inotify missed, and a heartbeat. A catalog that is down is tried again with
// back-off; one line says so, and one when it is back.
//
// Lifetime: one thread, stopped and joined by the destructor; repositories, catalog and log outlive
// it. Threads: any.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

struct PublisherSettings {
    Server server;                           // as registered: name, URIs, site, instance
    bool registered = true;                  // false: the catalog was away; do it first
    std::chrono::milliseconds settle{1000};  // a file younger than this is looked at twice
    std::chrono::seconds rescan{300};
    std::chrono::seconds heartbeat = kHeartbeatInterval;
    std::shared_ptr<const std::atomic<unsigned>> sessions = {};  // told with each heartbeat
};

class Publisher {
   public:
    Publisher() = default;
    Publisher(const Publisher&) = delete;
    Publisher& operator=(const Publisher&) = delete;
    virtual ~Publisher() = default;

    // Names that the last scan found, for the export list; empty before the first scan has ended.
    virtual std::vector<Image> images() const = 0;

    // Those of them that begin with PREFIX.
    virtual std::vector<DiskName> names_beginning(std::string_view prefix) const = 0;

    // When the repositories were last looked through to the end, in seconds since 1970; 0: not yet.
    virtual std::int64_t last_scan() const { return 0; }

    // Grows whenever the catalog has been told something.
    virtual std::uint64_t publications() const = 0;
};

std::unique_ptr<Publisher> start_publisher(PublisherSettings settings,
                                           const RepositorySet& repositories, Catalog& catalog,
                                           Log& log);

}  // namespace signpost
