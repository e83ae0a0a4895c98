// SPDX-License-Identifier: BSD-3-Clause
//
// Records put back as they were, in a write transaction.
//
// Threads: as Connection.

#pragma once

#include <vector>

#include "catalog/sqlite_statement.h"
#include "catalog/store_rules.h"

namespace signpost {

// A server's row, all of it, and its URIs.
void put_server_row(Connection& connection, const Server& server);
std::int64_t find_server_id(Connection& connection, std::string_view name);
void put_uris(Connection& connection, std::int64_t server_id, const std::vector<NbdUri>& uris);

// ORDERED: the records' disks, checked.
void restore_records(Connection& connection, const Restoration& records,
                     const std::vector<const DiskRecord*>& ordered);

}  // namespace signpost
