// SPDX-License-Identifier: BSD-3-Clause
//
// The tables of the PostgreSQL store and how they come to be: SCHEMA.md in short, migrations in
// full. They are in a schema of their own, `signpost`; catalog_state says which migration they have
// reached. Making and migrating are one transaction each: all of it, or nothing.
//
// Threads: as PostgresConnection.

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/postgres_connection.h"

namespace signpost {

// Migration N (from 1) takes the tables from version N - 1 to N. Statements end with ";\n".
using PostgresMigrations = std::span<const std::string_view>;
PostgresMigrations postgres_migrations();

// The version of the tables, not newer than MIGRATIONS; 0 when there are none. invalid (no UTF-8),
// corrupt, too_new, or the connection's failure.
Result<int> check_postgres_schema(PostgresConnection& connection,
                                  PostgresMigrations migrations = postgres_migrations());

// Makes the tables, or does nothing when somebody was faster; runs what migrations are missing.
// denied, with the remedy, when the role may not.
Result<void> make_postgres_schema(PostgresConnection& connection,
                                  PostgresMigrations migrations = postgres_migrations());

// The roles signpost_server, signpost_registrar and signpost_reader, and what each may do. Gives a
// line for each that is not there and cannot be made: the catalog works without.
std::vector<std::string> grant_postgres_roles(PostgresConnection& connection);

// All rows: corrupt when they contradict each other.
Result<void> check_postgres_rows(PostgresConnection& connection);

}  // namespace signpost
