// SPDX-License-Identifier: BSD-3-Clause
//
// SharedDisks remembers which disks are open, so that sessions of the same content share one: its
// descriptors, its helper process, its connections to peers. It keeps no disk alive.
//
// Threads: any. A disk is made without the lock held; when two threads make the same one at once,
// the first to finish wins and the other's is dropped.

#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "nbd-server/disk/disk.h"

namespace signpost {

class SharedDisks {
   public:
    // Null when no session has it open.
    std::shared_ptr<Disk> find(const std::string& key);

    // The disk that all shall use under KEY: DISK, or one that was there already.
    std::shared_ptr<Disk> add(const std::string& key, std::shared_ptr<Disk> disk);

    std::size_t size() const;

   private:
    mutable std::mutex mutex_;
    std::unordered_map<std::string, std::weak_ptr<Disk>> disks_;
};

}  // namespace signpost
