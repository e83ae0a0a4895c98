// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_restore.h"

#include <algorithm>
#include <map>

#include "catalog/postgres_pieces.h"
#include "catalog/postgres_publish.h"
#include "catalog/postgres_queries.h"
#include "catalog/postgres_servers.h"
#include "catalog/postgres_small_tables.h"

namespace signpost {

namespace {

// More generations than are given out between two of our statements.
constexpr std::int64_t kSmallGap = 10'000;
constexpr std::size_t kDigestDigits = 64;

using ServerIds = std::map<std::string, std::int64_t, std::less<>>;

void put_server(PostgresConnection& connection, const Server& server) {
    const auto [id, is_new] = lock_or_insert(connection, server.name);
    const auto of_server = PostgresParameters().add(id);
    put_server_row(connection, id, server);
    connection.queue(pg::kForgetComplete, of_server);
    connection.queue(pg::kRestoreHeartbeat,
                     PostgresParameters()
                         .add(id)
                         .add(server.last_heartbeat)
                         .add(static_cast<std::int64_t>(server.heartbeat_sequence)));
    put_uris(connection, id, server.uris);
}

// The servers whose locations may be touched, locked in one order: nobody publishes meanwhile.
ServerIds lock_servers(PostgresConnection& connection, const std::string& only_of) {
    ServerIds ids;
    const auto answer = connection.run(pg::kLockServers, PostgresParameters().add(only_of));
    for (int row = 0; row < answer.rows(); ++row)
        ids.emplace(answer.text(row, 1).value_or(""), answer.integer(row, 0).value_or(0));
    return ids;
}

void remove_server(PostgresConnection& connection, std::int64_t id,
                   std::chrono::milliseconds wait) {
    withdraw_all(connection, {id, std::nullopt}, wait);
    connection.queue(pg::kDeleteServer, PostgresParameters().add(id));
}

// What is not to stay, of a restoration that is complete: all locations, because those that stay
// are put anew.
void clear(PostgresConnection& connection, const Restoration& records, ServerIds& ids,
           std::chrono::milliseconds wait) {
    std::vector<std::string> gone;
    for (const auto& [name, id] : ids) {
        const bool stays =
            !records.only_of.empty() ||
            std::ranges::find(records.servers, name, &Server::name) != records.servers.end();
        if (stays) {
            withdraw_all(connection, {id, std::nullopt}, wait);
        } else {
            remove_server(connection, id, wait);
            gone.push_back(name);
        }
    }
    for (const std::string& name : gone)
        ids.erase(name);
}

void delete_named(PostgresConnection& connection, std::int64_t server_id,
                  const std::vector<const DiskName*>& names, std::chrono::milliseconds wait) {
    in_pieces(connection, wait, names, [&](std::span<const DiskName* const> some) {
        const auto name = [](const DiskName* each) { return std::string_view(each->str()); };
        connection.queue(pg::kDeleteNamed,
                         PostgresParameters().add(server_id).add(texts_of(some, name)));
    });
}

struct Row {
    const DiskName* disk;
    std::int64_t server_id;
    const Location* location;
};

std::vector<Row> rows_of(const Restoration& records, const std::vector<const DiskRecord*>& ordered,
                         const ServerIds& ids) {
    std::vector<Row> rows;
    for (const DiskRecord* disk : ordered)
        for (const Location& location : disk->locations) {
            const auto server = ids.find(location.server);
            const bool wanted = records.only_of.empty() || location.server == records.only_of;
            if (wanted && server != ids.end())
                rows.push_back({&disk->name, server->second, &location});
        }
    return rows;
}

std::string_view hex_of(const std::string& digest) {
    return digest.empty() ? std::string_view()
                          : std::string_view(digest).substr(digest.size() - kDigestDigits);
}

void put_rows(PostgresConnection& connection, std::span<const Row> rows) {
    const auto texts = [&](auto field) { return texts_of(rows, field); };
    const auto integers = [&](auto field) {
        return integers_of(rows, [&](const Row& row) { return field(*row.location); });
    };
    connection.queue(
        pg::kRestoreLocations,
        PostgresParameters()
            .add(texts([](const Row& row) { return std::string_view(row.disk->str()); }))
            .add(integers_of(rows, [](const Row& row) { return row.server_id; }))
            .add(texts([](const Row& row) { return std::string_view(row.location->export_name); }))
            .add(integers([](const Location& each) { return each.size; }))
            .add(integers([](const Location& each) { return each.format; }))
            .add(integers([](const Location& each) { return each.read_only; }))
            .add(integers([](const Location& each) { return each.generation; }))
            .add(texts([](const Row& row) { return hex_of(row.location->digest); }))
            .add(integers([](const Location& each) { return each.state; }))
            .add(integers([](const Location& each) { return each.priority; }))
            .add(integers([](const Location& each) { return each.last_seen; }))
            .add(texts([](const Row& row) { return std::string_view(row.location->fingerprint); }))
            .add(integers([](const Location& each) { return each.minimum_block; }))
            .add(integers([](const Location& each) { return each.verified; })));
}

void raise_generation(PostgresConnection& connection, std::int64_t newest) {
    // Two who raise it at once do so one after the other.
    connection.queue(pg::kLockState);
    const std::int64_t given = connection.run(pg::kGeneration).integer(0, 0).value_or(newest);
    if (given >= newest)
        return;
    const bool small = newest - given <= kSmallGap;
    connection.queue(small ? pg::kStepGeneration : pg::kSetGeneration,
                     PostgresParameters().add(small ? newest - given : newest));
}

}  // namespace

Result<void> restore_records(PostgresConnection& connection, const Restoration& records,
                             const std::vector<const DiskRecord*>& ordered,
                             std::chrono::milliseconds wait) {
    for (const Server& server : records.servers)
        put_server(connection, server);
    ServerIds ids = lock_servers(connection, records.only_of);
    if (!records.only_of.empty() && ids.empty())
        return no_server(records.only_of);
    const std::int64_t only_id = records.only_of.empty() ? 0 : ids.begin()->second;
    if (records.complete)
        clear(connection, records, ids, wait);
    std::vector<const DiskName*> names;
    for (const DiskName& name : records.vanished)
        names.push_back(&name);
    for (const DiskRecord* disk : ordered)
        names.push_back(&disk->name);
    delete_named(connection, only_id, names, wait);
    in_pieces(connection, wait, rows_of(records, ordered, ids),
              [&](std::span<const Row> rows) { put_rows(connection, rows); });
    for (const WriterLease& lease : records.writers)
        restore_writer(connection, lease);
    raise_generation(connection, static_cast<std::int64_t>(newest_in(records)));
    return {};
}

void clear_tables(PostgresConnection& connection, std::chrono::milliseconds wait) {
    for (std::int64_t removed = 1; removed > 0 && !connection.failed();) {
        connection.set_deadline(std::chrono::steady_clock::now() + wait);
        const auto some = PostgresParameters().add(static_cast<std::int64_t>(kPiece));
        removed = connection.run(pg::kClearLocations, some).changed_rows();
    }
    connection.queue(pg::kClearServers);
    connection.queue(pg::kClearSiteCosts);
    connection.queue(pg::kClearJobs);
    connection.queue(pg::kClearWriters);
    connection.queue(pg::kClearBootProfiles);
}

}  // namespace signpost
