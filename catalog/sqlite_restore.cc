// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_restore.h"

#include <algorithm>
#include <map>
#include <set>

#include "catalog/row_check.h"
#include "catalog/sqlite_publish.h"
#include "catalog/sqlite_queries.h"
#include "catalog/sqlite_small_tables.h"

namespace signpost {

namespace {

using ServerIds = std::map<std::string, std::int64_t, std::less<>>;

ServerIds read_server_ids(Connection& connection) {
    ServerIds ids;
    Statement row = connection.use(sql::kServerIds);
    while (row.step())
        ids.emplace(row.text(1).value_or(""), row.integer(0).value_or(0));
    return ids;
}

std::vector<std::int64_t> read_ids(Statement& row) {
    std::vector<std::int64_t> ids;
    while (row.step())
        ids.push_back(row.integer(0).value_or(0));
    return ids;
}

class Restorer {
   public:
    Restorer(Connection& connection, const Restoration& records)
        : connection_(connection), records_(records) {}

    void run(const std::vector<const DiskRecord*>& ordered) {
        for (const Server& server : records_.servers)
            put_server(server);
        ids_ = read_server_ids(connection_);
        if (is_whole())
            drop_other_servers();
        for (const DiskName& name : records_.vanished)
            withdraw(find_disk_id(connection_, name));
        std::set<std::int64_t> kept;
        for (const DiskRecord* disk : ordered)
            kept.insert(put_disk(*disk));
        if (records_.complete)
            withdraw_others(kept);
        for (const std::int64_t id : dropped_)
            connection_.use(sql::kDeleteServer).bind(id).run();
        for (const WriterLease& lease : records_.writers)
            store_writer(connection_, lease);
        change_.generation = static_cast<std::int64_t>(newest_in(records_));
        add_to_state(connection_, change_);
    }

   private:
    bool is_whole() const { return records_.complete && records_.only_of.empty(); }

    // Their rows go last, because locations refer to them until then.
    void drop_other_servers() {
        for (const auto& [name, id] : ids_)
            if (std::ranges::find(records_.servers, name, &Server::name) == records_.servers.end())
                dropped_.push_back(id);
        std::erase_if(ids_, [&](const auto& server) {
            return std::ranges::find(dropped_, server.second) != dropped_.end();
        });
    }

    void put_server(const Server& server) {
        put_server_row(connection_, server);
        const std::int64_t id = find_server_id(connection_, server.name);
        connection_.use(sql::kSetLastComplete).bind(std::int64_t{0}).bind(id).run();
        put_uris(connection_, id, server.uris);
    }

    std::int64_t only_id() const {
        const auto found = ids_.find(records_.only_of);
        return found == ids_.end() ? 0 : found->second;
    }

    void remove_location(std::int64_t disk, std::int64_t server) {
        connection_.use(sql::kDeleteLocation).bind(disk).bind(server).run();
        change_.locations -= connection_.changed_rows();
    }

    void remove_locations(std::int64_t disk) {
        if (!records_.only_of.empty())
            return remove_location(disk, only_id());
        std::vector<std::int64_t> holders;
        {
            Statement row = connection_.use(sql::kHolders);
            holders = read_ids(row.bind(disk));
        }
        for (const std::int64_t holder : holders)
            remove_location(disk, holder);
    }

    void remove_if_unused(std::int64_t disk) {
        connection_.use(sql::kDeleteDiskIfUnused).bind(disk).run();
        change_.disks -= connection_.changed_rows();
    }

    void withdraw(std::int64_t disk) {
        remove_locations(disk);
        remove_if_unused(disk);
    }

    // Gives the disk's id; 0 when nothing of it is left.
    std::int64_t put_disk(const DiskRecord& disk) {
        std::int64_t id = find_disk_id(connection_, disk.name);
        if (id == 0) {
            connection_.use(sql::kInsertDisk).bind(disk.name.str()).run();
            id = connection_.last_row_id();
            ++change_.disks;
        } else {
            remove_locations(id);
        }
        for (const Location& location : disk.locations) {
            const auto server = ids_.find(location.server);
            const bool wanted = records_.only_of.empty() || location.server == records_.only_of;
            if (wanted && server != ids_.end())
                put_location(id, server->second, disk.name, location);
        }
        remove_if_unused(id);
        return id;
    }

    void put_location(std::int64_t disk, std::int64_t server, const DiskName& name,
                      const Location& location) {
        const std::string digest = digest_bytes(location.digest).value_or("");
        Statement put = connection_.use(sql::kRestoreLocation);
        put.bind(disk).bind(server);
        // What usually is the disk's name is stored as NULL.
        location.export_name == name.str() ? put.bind_null() : put.bind(location.export_name);
        put.bind(static_cast<std::int64_t>(location.size))
            .bind(static_cast<std::int64_t>(location.format))
            .bind(std::int64_t{location.read_only})
            .bind(static_cast<std::int64_t>(location.generation));
        digest.empty() ? put.bind_null() : put.bind_blob(digest);
        put.bind(static_cast<std::int64_t>(location.state))
            .bind(std::int64_t{location.priority})
            .bind(location.last_seen)
            .bind(location.fingerprint)
            .bind(std::int64_t{location.minimum_block})
            .bind(location.verified)
            .run();
        ++change_.locations;
    }

    void withdraw_others(const std::set<std::int64_t>& kept) {
        std::vector<std::int64_t> all;
        {
            Statement row =
                connection_.use(records_.only_of.empty() ? sql::kAllDisks : sql::kDisksOfServer);
            if (!records_.only_of.empty())
                row.bind(only_id());
            all = read_ids(row);
        }
        for (const std::int64_t disk : all)
            if (kept.count(disk) == 0)
                withdraw(disk);
    }

    Connection& connection_;
    const Restoration& records_;
    ServerIds ids_;
    std::vector<std::int64_t> dropped_;
    StateChange change_;
};

}  // namespace

std::int64_t find_server_id(Connection& connection, std::string_view name) {
    Statement row = connection.use(sql::kServerId);
    return row.bind(name).step() ? row.integer(0).value_or(0) : 0;
}

void put_server_row(Connection& connection, const Server& server) {
    connection.use(sql::kPutServer)
        .bind(server.name)
        .bind(server.site)
        .bind(static_cast<std::int64_t>(server.kind))
        .bind(std::int64_t{server.priority})
        .bind(static_cast<std::int64_t>(server.priority_class))
        .bind(std::int64_t{server.draining})
        .bind(server.instance)
        .bind(server.last_heartbeat)
        .bind(static_cast<std::int64_t>(server.heartbeat_sequence))
        .run();
}

void put_uris(Connection& connection, std::int64_t server_id, const std::vector<NbdUri>& uris) {
    connection.use(sql::kDeleteUris).bind(server_id).run();
    std::int64_t position = 0;
    for (const NbdUri& uri : uris) {
        const std::string text = uri.str();
        connection.use(sql::kInsertUri).bind(server_id).bind(position++).bind(text).run();
    }
}

void restore_records(Connection& connection, const Restoration& records,
                     const std::vector<const DiskRecord*>& ordered) {
    Restorer(connection, records).run(ordered);
}

}  // namespace signpost
