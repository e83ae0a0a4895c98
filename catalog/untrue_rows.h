// SPDX-License-Identifier: BSD-3-Clause
//
// UntrueRows remembers rows of the catalog that a server has shown to be wrong: its image is not of
// the size that the row says. Such a row is worth no second try for a while, and what it says of
// its content counts for nothing against other rows. One that the catalog has changed since is
// another row, and believed.
//
// Pure: time comes in as an argument. Bounded. Threads: any.

#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>

#include "catalog/records.h"

namespace signpost {

class UntrueRows {
   public:
    using Time = std::chrono::steady_clock::time_point;

    static constexpr std::chrono::seconds kRemembered{60};

    void note(const DiskName& disk, const Location& location, Time now);
    bool has(const DiskName& disk, const Location& location, Time now) const;

   private:
    mutable std::mutex mutex_;          // guards rows_
    std::map<std::string, Time> rows_;  // when each was noted
};

}  // namespace signpost
