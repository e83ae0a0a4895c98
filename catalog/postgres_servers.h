// SPDX-License-Identifier: BSD-3-Clause
//
// A server's rows, in a change.
//
// Threads: as PostgresConnection.

#pragma once

#include <vector>

#include "catalog/postgres_connection.h"

namespace signpost {

// 0: there is none. STATEMENT asks by name.
std::int64_t find_server_id(PostgresConnection& connection, const PostgresStatement& statement,
                            std::string_view name);

struct LockedServer {
    std::int64_t id = 0;
    bool is_new = false;
};

// The row, locked. Where two register a new name at once, one waits for the other here.
LockedServer lock_or_insert(PostgresConnection& connection, std::string_view name);

// All but name and heartbeat.
void put_server_row(PostgresConnection& connection, std::int64_t id, const Server& server);
void put_uris(PostgresConnection& connection, std::int64_t id, const std::vector<NbdUri>& uris);

}  // namespace signpost
