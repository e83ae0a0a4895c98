// SPDX-License-Identifier: BSD-3-Clause
//
// A Log that keeps its lines, for tests that care what the operator is told.

#pragma once

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "nbd-server/disk/log.h"

namespace signpost::test {

class KeptLog final : public Log {
   public:
    void error(std::string_view line) override { keep(line); }
    void info(std::string_view line) override { keep(line); }
    void debug(std::string_view line) override { keep(line); }

    std::vector<std::string> lines() const {
        const std::lock_guard lock(mutex_);
        return lines_;
    }

    bool has(std::string_view part) const {
        return std::ranges::any_of(
            lines(), [&](const std::string& line) { return line.find(part) != std::string::npos; });
    }

   private:
    void keep(std::string_view line) {
        const std::lock_guard lock(mutex_);
        lines_.emplace_back(line);
    }

    mutable std::mutex mutex_;
    std::vector<std::string> lines_;
};

}  // namespace signpost::test
