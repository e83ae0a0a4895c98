// SPDX-License-Identifier: BSD-3-Clause
//
// A publication in two steps: what differs from the rows (which only reads, and is the larger part
// when little changed), and writing just that.
//
// Threads: as Connection.

#pragma once

#include <cstdint>
#include <vector>

#include "catalog/sqlite_statement.h"
#include "catalog/store_rules.h"

namespace signpost {

// The one row of catalog_state.
struct CatalogState {
    std::int64_t change_sequence = 0;
    std::int64_t disks = 0;
    std::int64_t locations = 0;
    std::int64_t generation = 0;  // the newest that was given out
    bool importing = false;
};
CatalogState read_state(Connection& connection);

// One change more, with what it adds to the counts and the newest generation that it gave.
struct StateChange {
    std::int64_t disks = 0;
    std::int64_t locations = 0;
    std::int64_t generation = 0;
};
void add_to_state(Connection& connection, const StateChange& change);

// A disk row's id; 0: there is none.
std::int64_t find_disk_id(Connection& connection, const DiskName& name);

// Nothing when there is none, or its row breaks the rules.
std::optional<Location> read_location(Connection& connection, std::int64_t disk_id,
                                      std::int64_t server_id, const DiskName& name);

// What a publication changes, as of CHANGE_SEQUENCE. Refers to the publication's images.
struct PublishPlan {
    struct Step {
        const Image* image;
        std::int64_t disk_id;  // 0: the disk is new
        bool is_new;           // to this server
        ImageChange change;
        LocationState state;  // afterwards
    };

    std::int64_t change_sequence = 0;
    std::int64_t generation = 0;        // for what changed
    std::vector<Step> steps;            // changed only
    std::vector<std::int64_t> removed;  // disk ids
    std::vector<std::int64_t> seen;     // disk ids of what is unchanged

    bool changes_nothing() const { return steps.empty() && removed.empty(); }
};

struct PublishTarget {
    std::int64_t server_id;
    std::int64_t now;
};

PublishPlan plan_publication(Connection& connection, std::int64_t server_id,
                             const Publication& change, const std::vector<const Image*>& ordered);

// All that the server holds goes.
PublishPlan plan_withdrawal(Connection& connection, std::int64_t server_id);

// In a write transaction, the plan being of its moment.
PublishSummary apply_plan(Connection& connection, const PublishTarget& target,
                          const PublishPlan& plan);

// Says when the unchanged images were seen.
void touch_unchanged(Connection& connection, const PublishTarget& target, const PublishPlan& plan,
                     bool complete);

}  // namespace signpost
