// SPDX-License-Identifier: BSD-3-Clause
//
// The calls on small_tables.h's tables, in a change each unless they only read. Those that give a
// bool say whether it is one that the change sequence counts.
//
// Threads: as PostgresConnection.

#pragma once

#include "catalog/postgres_connection.h"
#include "catalog/small_tables.h"

namespace signpost {

Result<bool> put_job(PostgresConnection& connection, const Job& job, std::int64_t now);
std::vector<Job> read_jobs(PostgresConnection& connection, std::string_view target,
                           std::optional<std::int64_t> now, SkipCount& skipped);
Result<bool> report_job(PostgresConnection& connection, const Job& job, std::int64_t now);

Result<WriterLease> take_writer(PostgresConnection& connection, const DiskName& disk,
                                std::string_view server, std::string_view writer, std::int64_t now);
void release_writer(PostgresConnection& connection, const WriterLease& lease);
void restore_writer(PostgresConnection& connection, const WriterLease& lease);
std::optional<WriterLease> read_writer(PostgresConnection& connection, const DiskName& disk);

std::vector<SiteCost> read_site_costs(PostgresConnection& connection, SkipCount& skipped);
Result<bool> put_site_cost(PostgresConnection& connection, const SiteCost& cost);

std::optional<std::string> read_boot_profile(PostgresConnection& connection, const DiskName& disk,
                                             SkipCount& skipped);
void put_boot_profile(PostgresConnection& connection, const DiskName& disk,
                      std::string_view profile, std::int64_t now);

}  // namespace signpost
