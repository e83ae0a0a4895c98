// SPDX-License-Identifier: BSD-3-Clause
//
// Records put back as they were, and imports: in a change each.
//
// Threads: as PostgresConnection.

#pragma once

#include <vector>

#include "catalog/postgres_connection.h"
#include "catalog/store_rules.h"

namespace signpost {

// ORDERED: the records' disks, checked. Each statement gets WAIT anew.
Result<void> restore_records(PostgresConnection& connection, const Restoration& records,
                             const std::vector<const DiskRecord*>& ordered,
                             std::chrono::milliseconds wait);

// Removes everything.
void clear_tables(PostgresConnection& connection, std::chrono::milliseconds wait);

}  // namespace signpost
