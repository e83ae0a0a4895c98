// SPDX-License-Identifier: BSD-3-Clause
//
// The history of drills: `drills.jsonl` in the state directory, a line for each, the newest last;
// signpost(1) has the fields. It is bounded: beyond kMostHistory bytes the older half goes. Others
// read it (the console, metrics), so a line is written whole.
//
// Threads and processes: any; writers lock the file.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"

namespace signpost {

inline constexpr std::size_t kMostHistory = 4 << 20;

struct DrillRecord {
    std::string disk = {};   // as it was asked for
    std::string point = {};  // what was booted: that disk, or a restore point of it
    std::string server = {};
    std::int64_t when = 0;        // seconds since 1970, when it began
    double seconds = 0;           // until the sign of life, or until it was given up
    std::string sign = {};        // "agent", "serial" or "screen"; empty: none
    std::string reason = {};      // why there was none
    std::string accel = {};       // "kvm" or "tcg"
    std::string screenshot = {};  // a file; empty: none

    bool alive() const { return !sign.empty(); }
};

std::string drill_json(const DrillRecord& record);

// Nothing when LINE is no such record. Pure.
std::optional<DrillRecord> parse_drill(std::string_view line);

Result<void> append_drill(const std::string& file, const DrillRecord& record);

// The oldest first; none where there is no file. Lines that are none are passed over.
Result<std::vector<DrillRecord>> read_drills(const std::string& file);

}  // namespace signpost
