// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/boot_watch.h"

#include <utility>

namespace signpost {

BootWatch::BootWatch(std::uint64_t disk_size, Learned learned, std::chrono::milliseconds time)
    : learned_(std::move(learned)),
      end_(std::chrono::steady_clock::now() + time),
      recorder_(disk_size) {}

BootWatch::~BootWatch() {
    tell();
}

void BootWatch::note_now(std::uint64_t offset, std::uint64_t length) {
    if (std::chrono::steady_clock::now() >= end_) {
        tell();
        return;
    }
    const std::lock_guard lock(mutex_);
    recorder_.note(offset, length);
}

void BootWatch::tell() {
    if (over_.exchange(true)) {
        return;
    }
    std::optional<BootProfile> profile;
    {
        const std::lock_guard lock(mutex_);
        profile = recorder_.profile();
    }
    if (profile) {
        learned_(*profile);
    }
}

std::shared_ptr<BootWatch> BootWatches::join(const std::string& key, std::uint64_t disk_size,
                                             const BootWatch::Learned& learned) {
    const std::lock_guard lock(mutex_);
    if (const auto found = watches_.find(key); found != watches_.end()) {
        if (auto watch = found->second.lock()) {
            return watch;
        }
    }
    std::erase_if(watches_, [](const auto& entry) { return entry.second.expired(); });
    auto watch = std::make_shared<BootWatch>(disk_size, learned);
    watches_[key] = watch;
    return watch;
}

}  // namespace signpost
