// SPDX-License-Identifier: BSD-3-Clause
//
// The calls on small_tables.h's tables, in a write transaction each unless they only read.
//
// Threads: as Connection.

#pragma once

#include "catalog/small_tables.h"
#include "catalog/sqlite_statement.h"

namespace signpost {

// A query for one number; 0 when it gives none.
std::int64_t ask_number(Connection& connection, std::string_view sql);

Result<void> put_job(Connection& connection, const Job& job, std::int64_t now);
Result<std::vector<Job>> read_jobs(Connection& connection, std::string_view target,
                                   std::int64_t now, SkipCount& skipped);
Result<void> report_job(Connection& connection, const Job& job, std::int64_t now);

Result<WriterLease> take_writer(Connection& connection, const DiskName& disk,
                                std::string_view server, std::string_view writer, std::int64_t now);
Result<void> release_writer(Connection& connection, const WriterLease& lease);
void store_writer(Connection& connection, const WriterLease& lease);
std::optional<WriterLease> read_writer(Connection& connection, const DiskName& disk);

Result<std::vector<SiteCost>> read_site_costs(Connection& connection, SkipCount& skipped);
Result<void> put_site_cost(Connection& connection, const SiteCost& cost);

std::optional<std::string> read_boot_profile(Connection& connection, const DiskName& disk,
                                             SkipCount& skipped);
void put_boot_profile(Connection& connection, const DiskName& disk, std::string_view profile,
                      std::int64_t now);

}  // namespace signpost
