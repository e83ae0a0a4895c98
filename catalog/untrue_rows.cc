// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/untrue_rows.h"

#include <fmt/format.h>

namespace signpost {

namespace {

constexpr std::size_t kMostRows = 1000;

// The digest is left out, because a relay does without that of an image that may be written to.
std::string key_of(const DiskName& disk, const Location& location) {
    return fmt::format("{}\n{}\n{}\n{}\n{}", disk.str(), location.server, location.size,
                       location.generation, location.fingerprint);
}

}  // namespace

void UntrueRows::note(const DiskName& disk, const Location& location, Time now) {
    const std::lock_guard lock(mutex_);
    std::erase_if(rows_, [&](const auto& row) { return now - row.second > kRemembered; });
    if (rows_.size() < kMostRows)
        rows_[key_of(disk, location)] = now;
}

bool UntrueRows::has(const DiskName& disk, const Location& location, Time now) const {
    const std::lock_guard lock(mutex_);
    if (rows_.empty())
        return false;
    const auto found = rows_.find(key_of(disk, location));
    return found != rows_.end() && now - found->second <= kRemembered;
}

}  // namespace signpost
