// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_publish.h"

#include <algorithm>
#include <set>
#include <span>

#include "catalog/postgres_pieces.h"
#include "catalog/postgres_queries.h"
#include "catalog/postgres_rows.h"

namespace signpost {

namespace {

using Images = std::vector<const Image*>;

std::string_view name_of(const Image* image) {
    return image->name.str();
}

std::string_view name_of(const std::string& name) {
    return name;
}

template <class Item>
std::string names_of(std::span<const Item> items) {
    return texts_of(items, [](const Item& item) { return name_of(item); });
}

void add_new(PostgresPlan& plan, const Image* image) {
    plan.contents.push_back(image);
    ++plan.summary.added;
}

void add_held(PostgresPlan& plan, const Image* image, const PostgresRow& row) {
    const auto held = location_in(row, image->name.str());
    const ImageChange change = held ? compare(*image, *held) : ImageChange::content;
    if (change == ImageChange::none) {
        plan.seen.push_back(image->name.str());
        return;
    }
    (change == ImageChange::content ? plan.contents : plan.attributes).push_back(image);
    ++plan.summary.changed;
}

void add_removed(PostgresPlan& plan, std::string_view name) {
    plan.removed.emplace_back(name);
    ++plan.summary.removed;
}

// Rows and images, both in the order of their names, side by side.
class Merge {
   public:
    Merge(PostgresPlan& plan, const Images& ordered, const Publication& change)
        : plan_(plan), images_(ordered) {
        for (const DiskName& name : change.unsettled)
            unsettled_.insert(name.str());
    }

    void row(const PostgresRow& row, std::string_view name) {
        while (next_ < images_.size() && name_of(images_[next_]) < name)
            add_new(plan_, images_[next_++]);
        if (next_ < images_.size() && name_of(images_[next_]) == name)
            add_held(plan_, images_[next_++], row);
        else if (!unsettled_.contains(name))
            add_removed(plan_, name);
    }

    void end() {
        while (next_ < images_.size())
            add_new(plan_, images_[next_++]);
    }

   private:
    PostgresPlan& plan_;
    const Images& images_;
    std::set<std::string_view> unsettled_;
    std::size_t next_ = 0;
};

std::string_view disk_in(const PostgresAnswer& answer, int row) {
    return answer.text(row, LocationColumn::disk).value_or("");
}

// Removed here and now: what was read of such a name would not find it again.
void remove_long_names(PostgresConnection& connection, const PostgresHolder& holder,
                       PostgresPlan& plan) {
    const auto removed =
        connection.run(pg::kDeleteLongNames, PostgresParameters().add(holder.server_id));
    plan.summary.removed += static_cast<std::uint64_t>(removed.changed_rows());
}

void plan_complete(PostgresConnection& connection, const PostgresHolder& holder,
                   const Publication& change, const Images& ordered, std::chrono::milliseconds wait,
                   PostgresPlan& plan) {
    Merge merge(plan, ordered, change);
    std::string after;
    for (bool more = true; more && !connection.failed();) {
        connection.set_deadline(std::chrono::steady_clock::now() + wait);
        const auto answer =
            connection.run(pg::kHeldAfter, PostgresParameters()
                                               .add(holder.server_id)
                                               .add(after)
                                               .add(static_cast<std::int64_t>(kPiece)));
        bool long_name = false;
        for (int row = 0; row < answer.rows() && !long_name; ++row) {
            const std::string_view name = disk_in(answer, row);
            long_name = name.size() > DiskName::kMaxBytes;
            if (!long_name) {
                merge.row(PostgresRow(answer, row), name);
                after = name;
            }
        }
        more = long_name || static_cast<std::size_t>(answer.rows()) == kPiece;
        if (long_name)
            remove_long_names(connection, holder, plan);
    }
    merge.end();
}

// What a publication that is not complete speaks of: an image, or none when the disk vanished.
struct Spoken {
    std::string_view name;
    const Image* image;
};

std::string_view name_of(const Spoken& spoken) {
    return spoken.name;
}

std::vector<Spoken> spoken_of(const Publication& change, const Images& ordered) {
    std::vector<Spoken> all;
    for (const Image* image : ordered)
        all.push_back({image->name.str(), image});
    for (const DiskName& name : change.vanished)
        if (!has_image(ordered, name))
            all.push_back({name.str(), nullptr});
    const auto by_name = [](const Spoken& a, const Spoken& b) { return a.name < b.name; };
    std::sort(all.begin(), all.end(), by_name);
    const auto same = [](const Spoken& a, const Spoken& b) { return a.name == b.name; };
    all.erase(std::unique(all.begin(), all.end(), same), all.end());
    return all;
}

void plan_some(PostgresConnection& connection, const PostgresHolder& holder,
               std::span<const Spoken> some, PostgresPlan& plan) {
    const auto answer =
        connection.run(pg::kHeldOf, PostgresParameters().add(holder.server_id).add(names_of(some)));
    int row = 0;
    for (const Spoken& each : some) {
        const bool held = row < answer.rows() && disk_in(answer, row) == each.name;
        if (held && each.image != nullptr)
            add_held(plan, each.image, PostgresRow(answer, row));
        else if (held)
            add_removed(plan, each.name);
        else if (each.image != nullptr)
            add_new(plan, each.image);
        row += held ? 1 : 0;
    }
}

void put_locations(PostgresConnection& connection, const PostgresHolder& holder,
                   std::int64_t generation, std::span<const Image* const> images) {
    connection.queue(
        pg::kPutLocations,
        PostgresParameters()
            .add(holder.server_id)
            .add(generation)
            .add(std::int64_t{kDefaultPriority})
            .add(holder.now)
            .add(names_of(images))
            .add(texts_of(images,
                          [](const Image* image) { return std::string_view(image->export_name); }))
            .add(integers_of(images, [](const Image* image) { return image->size; }))
            .add(integers_of(images, [](const Image* image) { return image->format; }))
            .add(integers_of(images, [](const Image* image) { return image->read_only; }))
            .add(texts_of(images,
                          [](const Image* image) { return std::string_view(image->fingerprint); }))
            .add(integers_of(images, [](const Image* image) { return image->minimum_block; }))
            .add(integers_of(images, [](const Image* image) { return image->state; })));
}

void update_attributes(PostgresConnection& connection, const PostgresHolder& holder,
                       std::span<const Image* const> images) {
    connection.queue(
        pg::kUpdateAttributes,
        PostgresParameters()
            .add(holder.server_id)
            .add(holder.now)
            .add(names_of(images))
            .add(texts_of(images,
                          [](const Image* image) { return std::string_view(image->export_name); }))
            .add(integers_of(images, [](const Image* image) { return image->read_only; }))
            .add(integers_of(images, [](const Image* image) { return image->minimum_block; }))
            .add(integers_of(images, [](const Image* image) { return image->state; })));
}

}  // namespace

PostgresPlan plan_publication(PostgresConnection& connection, const PostgresHolder& holder,
                              const Publication& change, const Images& ordered,
                              std::chrono::milliseconds wait) {
    PostgresPlan plan;
    if (change.complete) {
        plan_complete(connection, holder, change, ordered, wait, plan);
        return plan;
    }
    in_pieces(connection, wait, spoken_of(change, ordered),
              [&](std::span<const Spoken> some) { plan_some(connection, holder, some, plan); });
    return plan;
}

void apply_plan(PostgresConnection& connection, const PostgresHolder& holder,
                const PostgresPlan& plan, bool complete, std::chrono::milliseconds wait) {
    in_pieces(connection, wait, plan.removed, [&](std::span<const std::string> names) {
        connection.queue(pg::kDeleteLocations,
                         PostgresParameters().add(holder.server_id).add(names_of(names)));
    });
    if (!plan.contents.empty()) {
        const auto next = connection.run(pg::kNextGeneration);
        const std::int64_t generation = next.integer(0, 0).value_or(0);
        if (generation < 1)
            connection.note_damage("its sequence of generations is lost");
        in_pieces(connection, wait, plan.contents, [&](std::span<const Image* const> images) {
            put_locations(connection, holder, generation, images);
        });
    }
    in_pieces(connection, wait, plan.attributes, [&](std::span<const Image* const> images) {
        update_attributes(connection, holder, images);
    });
    if (complete) {
        connection.queue(pg::kSetLastComplete,
                         PostgresParameters().add(holder.server_id).add(holder.now));
        return;
    }
    in_pieces(connection, wait, plan.seen, [&](std::span<const std::string> names) {
        connection.queue(
            pg::kTouchLocations,
            PostgresParameters().add(holder.server_id).add(holder.now).add(names_of(names)));
    });
}

void withdraw_all(PostgresConnection& connection, const PostgresHolder& holder,
                  std::chrono::milliseconds wait) {
    for (std::int64_t removed = 1; removed > 0 && !connection.failed();) {
        connection.set_deadline(std::chrono::steady_clock::now() + wait);
        removed = connection
                      .run(pg::kDeleteSome, PostgresParameters()
                                                .add(holder.server_id)
                                                .add(static_cast<std::int64_t>(kPiece)))
                      .changed_rows();
    }
}

std::optional<Location> held_location(PostgresConnection& connection, std::int64_t server_id,
                                      const DiskName& disk) {
    PostgresArray one;
    one.add(disk.str());
    const auto answer =
        connection.run(pg::kHeldOf, PostgresParameters().add(server_id).add(one.text()));
    return answer.rows() == 0 ? std::nullopt : location_in(PostgresRow(answer, 0), disk.str());
}

}  // namespace signpost
