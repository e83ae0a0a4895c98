// SPDX-License-Identifier: BSD-3-Clause
//
// OwnImages is what this server holds, as the export list shows it: the publisher's last scan when
// there is one, else a scan of its own. That one is kept for a second, or for ten times what it
// took when that is more, so that clients who list do not keep the disks busy.
//
// Lifetime: repositories and publisher outlive it. Threads: any; of several that need a scan one
// does it and the others wait for its result.

#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "catalog/restore_point.h"
#include "nbd-server/disk/publisher.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

class OwnImages {
   public:
    using Snapshot = std::shared_ptr<const std::vector<Image>>;

    // PUBLISHER may be null.
    OwnImages(const RepositorySet& repositories, const Publisher* publisher)
        : repositories_(repositories), publisher_(publisher) {}

    // Ordered by name.
    Snapshot get();

    // The restore points of DISK among them. While the first scan of a publisher goes on, only what
    // it has found.
    std::vector<NamedPoint> points_of(const std::string& disk);

   private:
    using Clock = std::chrono::steady_clock;

    Snapshot scanned();

    const RepositorySet& repositories_;
    const Publisher* publisher_;

    std::mutex mutex_;  // of all below; not held while scanning
    std::condition_variable scan_ended_;
    bool scanning_ = false;
    Snapshot last_;
    Clock::time_point good_until_{};
};

}  // namespace signpost
