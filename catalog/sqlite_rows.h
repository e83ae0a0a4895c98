// SPDX-License-Identifier: BSD-3-Clause
//
// The answers of the statements in sqlite_queries.h, as records.
//
// Threads: as the statement; the count may be shared.

#pragma once

#include <string_view>
#include <vector>

#include "catalog/sqlite_statement.h"

namespace signpost {

// The disks in ROWS, whose names begin with PREFIX; reads no further than LIMIT disks and the first
// row that does not belong to them.
std::vector<DiskRecord> read_disks(Statement& rows, std::string_view prefix, std::size_t limit,
                                   SkipCount& skipped);

// The servers in ROWS, with their URIs.
std::vector<Server> read_servers(Statement& rows, SkipCount& skipped);

}  // namespace signpost
