// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_servers.h"

#include "catalog/postgres_queries.h"

namespace signpost {

namespace {

constexpr int kTries = 4;

PostgresParameters with(std::int64_t id) {
    return PostgresParameters().add(id);
}

}  // namespace

std::int64_t find_server_id(PostgresConnection& connection, const PostgresStatement& statement,
                            std::string_view name) {
    const auto answer = connection.run(statement, PostgresParameters().add(name));
    return answer.integer(0, 0).value_or(0);
}

LockedServer lock_or_insert(PostgresConnection& connection, std::string_view name) {
    for (int tries = 0; tries < kTries && !connection.failed(); ++tries) {
        if (const auto id = find_server_id(connection, pg::kLockServer, name); id != 0)
            return {id, false};
        if (const auto id = find_server_id(connection, pg::kInsertServer, name); id != 0)
            return {id, true};
    }
    return {};
}

void put_server_row(PostgresConnection& connection, std::int64_t id, const Server& server) {
    connection.queue(pg::kUpdateServer, with(id)
                                            .add(server.site)
                                            .add(static_cast<std::int64_t>(server.kind))
                                            .add(std::int64_t{server.priority})
                                            .add(server.instance)
                                            .add(static_cast<std::int64_t>(server.priority_class))
                                            .add(std::int64_t{server.draining}));
}

void put_uris(PostgresConnection& connection, std::int64_t id, const std::vector<NbdUri>& uris) {
    connection.queue(pg::kDeleteUris, with(id));
    PostgresArray texts;
    for (const NbdUri& uri : uris)
        texts.add(uri.str());
    connection.queue(pg::kInsertUris, with(id).add(texts.text()));
}

}  // namespace signpost
