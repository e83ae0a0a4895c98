// SPDX-License-Identifier: BSD-3-Clause
//
// A publication in two steps, as SQLite's: what differs from the rows, read a piece at a time in
// the order of the names, and writing just that, thousands of rows a statement.
//
// Both in one transaction, which holds the server's row: so nobody else changes what this server
// holds, and no two publications ever touch the same row.
//
// Threads: as PostgresConnection.

#pragma once

#include <string>
#include <vector>

#include "catalog/postgres_connection.h"
#include "catalog/store_rules.h"

namespace signpost {

// What a publication changes. Refers to the publication's images.
struct PostgresPlan {
    std::vector<const Image*> contents;    // new, or with another content
    std::vector<const Image*> attributes;  // the same content
    std::vector<std::string> seen;         // unchanged
    std::vector<std::string> removed;
    PublishSummary summary;
};

struct PostgresHolder {
    std::int64_t server_id;
    std::optional<std::int64_t> now;  // empty: the server's clock
};

// Each statement gets WAIT anew: a large publication is work, not waiting.
PostgresPlan plan_publication(PostgresConnection& connection, const PostgresHolder& holder,
                              const Publication& change, const std::vector<const Image*>& ordered,
                              std::chrono::milliseconds wait);

void apply_plan(PostgresConnection& connection, const PostgresHolder& holder,
                const PostgresPlan& plan, bool complete, std::chrono::milliseconds wait);

// All that the server holds.
void withdraw_all(PostgresConnection& connection, const PostgresHolder& holder,
                  std::chrono::milliseconds wait);

// What the server holds under that name; nothing when there is no row, or it breaks the rules.
std::optional<Location> held_location(PostgresConnection& connection, std::int64_t server_id,
                                      const DiskName& disk);

}  // namespace signpost
