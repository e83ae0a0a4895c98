// SPDX-License-Identifier: BSD-3-Clause
//
// Rows of the statements in sqlite_queries.h, as records. A row that breaks a rule is skipped and
// counted.
//
// Threads: as the statement; the count may be shared.

#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "catalog/records.h"
#include "catalog/sqlite_statement.h"

namespace signpost {

using SkipCount = std::atomic<std::uint64_t>;

// What the current row of a location statement holds. An export name of NULL is the disk's name.
std::optional<Location> location_in(const Statement& row, std::string_view disk);

// The disks in ROWS, whose names begin with PREFIX; reads no further than LIMIT disks and the first
// row that does not belong to them.
std::vector<DiskRecord> read_disks(Statement& rows, std::string_view prefix, std::size_t limit,
                                   SkipCount& skipped);

// The servers in ROWS, with their URIs.
std::vector<Server> read_servers(Statement& rows, SkipCount& skipped);

}  // namespace signpost
