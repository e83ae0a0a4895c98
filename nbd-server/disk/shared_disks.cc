// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/shared_disks.h"

#include <utility>

namespace signpost {

std::shared_ptr<Disk> SharedDisks::find(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = disks_.find(key);
    return found == disks_.end() ? nullptr : found->second.lock();
}

std::shared_ptr<Disk> SharedDisks::add(const std::string& key, std::shared_ptr<Disk> disk) {
    std::shared_ptr<Disk> loser;  // ends after the lock: a disk's destructor may take its time
    const std::lock_guard lock(mutex_);
    std::erase_if(disks_, [](const auto& entry) { return entry.second.expired(); });
    auto& slot = disks_[key];
    if (auto there = slot.lock()) {
        loser = std::exchange(disk, std::move(there));
    } else {
        slot = disk;
    }
    return disk;
}

std::size_t SharedDisks::size() const {
    const std::lock_guard lock(mutex_);
    return disks_.size();
}

}  // namespace signpost
