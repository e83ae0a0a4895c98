// SPDX-License-Identifier: BSD-3-Clause
//
// Small texts that the verbs have in common: times, ages, durations, counts, and the patterns of
// `ls`.
//
// Pure. Threads: any.

#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "nbd-server/disk/disk_description.h"  // rfc3339

namespace signpost {

// How long ago: "3 s", "5 min", "2 h", "9 d"; "never" for 0. A time ahead of NOW is "0 s" ago.
std::string age(std::int64_t seconds, std::int64_t now);

// "1 disk", "2 disks"
std::string counted(std::uint64_t count, std::string_view noun);

// "0.4 ms", "12 ms", "1.2 s"
std::string duration_text(std::chrono::microseconds duration);

// True when TEXT has a character that makes it a pattern: `*` or `?`.
bool is_pattern(std::string_view text);

// What every name that matches PATTERN begins with.
std::string_view fixed_prefix(std::string_view pattern);

// `*` stands for any bytes, `/` included; `?` for one character. In linear time for one `*`, and
// never worse than length times length: a pattern cannot make the command hang.
bool matches_pattern(std::string_view pattern, std::string_view text);

}  // namespace signpost
