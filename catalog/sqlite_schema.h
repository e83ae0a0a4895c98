// SPDX-License-Identifier: BSD-3-Clause
//
// The tables of the SQLite store and how they come to be: SCHEMA.md in short, migrations in full.
// The file's application_id says that it is ours, its user_version which migration it has reached.
//
// Threads: as Connection.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "catalog/sqlite_statement.h"

namespace signpost {

inline constexpr std::int32_t kApplicationId = 0x53504354;  // "SPCT"

// Migration N (from 1) takes the tables from version N - 1 to N.
using Migrations = std::span<const std::string_view>;
Migrations catalog_migrations();

// Makes PATH with the newest tables, or does nothing when it is there by now. The file appears
// whole or not at all. full, denied, not_found (its directory), io.
Result<void> create_catalog_file(const std::string& path);

// The file is a catalog, and not newer than MIGRATIONS: gives its version. corrupt, too_new, or the
// connection's failure.
Result<int> check_catalog(Connection& connection, Migrations migrations = catalog_migrations());

// Runs the migrations that are missing, each in one transaction.
Result<void> migrate_catalog(Connection& connection, Migrations migrations = catalog_migrations());

// Every page and every row's types; THOROUGH looks at the indices, the references and the counts
// too.
Result<void> check_pages(Connection& connection, bool thorough);

}  // namespace signpost
