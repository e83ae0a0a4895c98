// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_publish.h"

#include <algorithm>

#include "catalog/sqlite_queries.h"
#include "catalog/store_rows.h"

namespace signpost {

namespace {

// More changes than there will be; beyond, adding one could overflow.
constexpr std::int64_t kMaxSequence = std::int64_t{1} << 62;

struct Held {
    bool exists = false;
    std::optional<Location> location;  // empty when the row breaks the rules
};

Held read_held(Connection& connection, std::int64_t disk_id, std::int64_t server_id,
               const DiskName& name) {
    Statement row = connection.use(sql::kHeldLocation);
    if (disk_id == 0 || !row.bind(disk_id).bind(server_id).step())
        return {};
    return {true, location_in(row, name.str())};
}

PublishPlan::Step plan_image(Connection& connection, std::int64_t server_id, const Image& image) {
    const std::int64_t disk_id = find_disk_id(connection, image.name);
    const Held held = read_held(connection, disk_id, server_id, image.name);
    const ImageChange change =
        held.location ? compare(image, *held.location) : ImageChange::content;
    const LocationState state =
        change == ImageChange::content ? image.state : state_after(image, held.location->state);
    return {&image, disk_id, !held.exists, change, state};
}

std::vector<std::int64_t> disks_of(Connection& connection, std::int64_t server_id) {
    std::vector<std::int64_t> ids;
    Statement row = connection.use(sql::kDisksOfServer);
    row.bind(server_id);
    while (row.step())
        ids.push_back(row.integer(0).value_or(0));
    return ids;
}

void plan_vanished(Connection& connection, std::int64_t server_id, const Publication& change,
                   const std::vector<const Image*>& ordered, PublishPlan& plan) {
    for (const DiskName& name : change.vanished) {
        const std::int64_t id = find_disk_id(connection, name);
        if (!has_image(ordered, name) && read_held(connection, id, server_id, name).exists)
            plan.removed.push_back(id);
    }
    std::sort(plan.removed.begin(), plan.removed.end());
    plan.removed.erase(std::unique(plan.removed.begin(), plan.removed.end()), plan.removed.end());
}

// What the server holds and the publication does not.
void plan_absent(Connection& connection, std::int64_t server_id, const Publication& change,
                 PublishPlan& plan) {
    std::vector<std::int64_t> kept = plan.seen;
    for (const DiskName& name : change.unsettled)
        kept.push_back(find_disk_id(connection, name));
    for (const PublishPlan::Step& step : plan.steps)
        kept.push_back(step.disk_id);
    std::sort(kept.begin(), kept.end());
    for (const std::int64_t id : disks_of(connection, server_id))
        if (!std::binary_search(kept.begin(), kept.end(), id))
            plan.removed.push_back(id);
}

// What usually is the disk's name is stored as NULL.
void bind_export(Statement& statement, const Image& image) {
    if (image.export_name == image.name.str())
        statement.bind_null();
    else
        statement.bind(image.export_name);
}

void put_location(Connection& connection, const PublishTarget& target,
                  const PublishPlan::Step& step, std::int64_t disk_id, std::int64_t generation) {
    const Image& image = *step.image;
    Statement put = connection.use(sql::kPutLocation);
    put.bind(disk_id).bind(target.server_id);
    bind_export(put, image);
    put.bind(static_cast<std::int64_t>(image.size))
        .bind(static_cast<std::int64_t>(image.format))
        .bind(std::int64_t{image.read_only})
        .bind(generation)
        .bind(static_cast<std::int64_t>(step.state))
        .bind(std::int64_t{kDefaultPriority})
        .bind(target.now)
        .bind(image.fingerprint)
        .bind(std::int64_t{image.minimum_block})
        .run();
}

void update_attributes(Connection& connection, const PublishTarget& target,
                       const PublishPlan::Step& step) {
    const Image& image = *step.image;
    Statement update = connection.use(sql::kUpdateAttributes);
    bind_export(update, image);
    update.bind(static_cast<std::int64_t>(step.state))
        .bind(std::int64_t{image.read_only})
        .bind(target.now)
        .bind(std::int64_t{image.minimum_block})
        .bind(step.disk_id)
        .bind(target.server_id)
        .run();
}

std::int64_t insert_disk(Connection& connection, const DiskName& name) {
    connection.use(sql::kInsertDisk).bind(name.str()).run();
    return connection.last_row_id();
}

void remove_locations(Connection& connection, std::int64_t server_id,
                      const std::vector<std::int64_t>& disks, StateChange& deltas) {
    Statement location = connection.use(sql::kDeleteLocation);
    Statement disk = connection.use(sql::kDeleteDiskIfUnused);
    for (const std::int64_t id : disks) {
        location.bind(id).bind(server_id).run();
        location.reset();
        disk.bind(id).run();
        deltas.disks -= connection.changed_rows();
        disk.reset();
        --deltas.locations;
    }
}

void apply_step(Connection& connection, const PublishTarget& target, const PublishPlan::Step& step,
                std::int64_t generation, StateChange& deltas) {
    if (step.change == ImageChange::attributes)
        return update_attributes(connection, target, step);
    std::int64_t disk_id = step.disk_id;
    if (disk_id == 0) {
        disk_id = insert_disk(connection, step.image->name);
        ++deltas.disks;
    }
    put_location(connection, target, step, disk_id, generation);
    deltas.locations += step.is_new ? 1 : 0;
}

}  // namespace

CatalogState read_state(Connection& connection) {
    Statement row = connection.use(sql::kState);
    const bool found = row.step();
    const auto field = [&](int column) { return row.integer(column).value_or(-1); };
    const CatalogState state =
        found ? CatalogState{field(0), field(1), field(2), field(3), field(4) != 0}
              : CatalogState{-1, -1, -1};
    // Going on from a lost sequence would give a generation twice.
    if (state.change_sequence < 0 || state.change_sequence > kMaxSequence || state.disks < 0 ||
        state.locations < 0 || state.generation < 0 || state.generation > kMaxSequence)
        connection.note_damage("its change sequence or its counts are lost");
    return connection.failed() ? CatalogState() : state;
}

void add_to_state(Connection& connection, const StateChange& change) {
    connection.use(sql::kAddToState)
        .bind(change.disks)
        .bind(change.locations)
        .bind(change.generation)
        .run();
}

std::int64_t find_disk_id(Connection& connection, const DiskName& name) {
    Statement row = connection.use(sql::kDiskId);
    return row.bind(name.str()).step() ? row.integer(0).value_or(0) : 0;
}

std::optional<Location> read_location(Connection& connection, std::int64_t disk_id,
                                      std::int64_t server_id, const DiskName& name) {
    return read_held(connection, disk_id, server_id, name).location;
}

namespace {

PublishPlan new_plan(Connection& connection) {
    const CatalogState state = read_state(connection);
    PublishPlan plan;
    plan.change_sequence = state.change_sequence;
    plan.generation = state.generation + 1;
    return plan;
}

}  // namespace

PublishPlan plan_publication(Connection& connection, std::int64_t server_id,
                             const Publication& change, const std::vector<const Image*>& ordered) {
    PublishPlan plan = new_plan(connection);
    for (const Image* image : ordered) {
        const PublishPlan::Step step = plan_image(connection, server_id, *image);
        if (step.change == ImageChange::none)
            plan.seen.push_back(step.disk_id);
        else
            plan.steps.push_back(step);
    }
    if (change.complete)
        plan_absent(connection, server_id, change, plan);
    else
        plan_vanished(connection, server_id, change, ordered, plan);
    return plan;
}

PublishPlan plan_withdrawal(Connection& connection, std::int64_t server_id) {
    PublishPlan plan = new_plan(connection);
    plan.removed = disks_of(connection, server_id);
    return plan;
}

PublishSummary apply_plan(Connection& connection, const PublishTarget& target,
                          const PublishPlan& plan) {
    PublishSummary summary;
    StateChange deltas;
    remove_locations(connection, target.server_id, plan.removed, deltas);
    summary.removed = plan.removed.size();
    for (const PublishPlan::Step& step : plan.steps) {
        apply_step(connection, target, step, plan.generation, deltas);
        deltas.generation = plan.generation;
        ++(step.is_new ? summary.added : summary.changed);
    }
    add_to_state(connection, deltas);
    return summary;
}

void touch_unchanged(Connection& connection, const PublishTarget& target, const PublishPlan& plan,
                     bool complete) {
    if (complete) {
        connection.use(sql::kSetLastComplete).bind(target.now).bind(target.server_id).run();
        return;
    }
    Statement touch = connection.use(sql::kTouchLocation);
    for (const std::int64_t id : plan.seen) {
        touch.bind(target.now).bind(id).bind(target.server_id).run();
        touch.reset();
    }
}

}  // namespace signpost
