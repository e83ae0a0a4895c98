// SPDX-License-Identifier: BSD-3-Clause
//
// Every SQL statement that the SQLite store runs on its tables; SCHEMA.md says what the tables
// mean. Parameters are bound in the order in which they stand.

#pragma once

#include <string_view>

namespace signpost::sql {

// The columns of store_rows.h. A foreign server has no heartbeat: what it holds was seen when it
// was published.
#define SIGNPOST_LOCATION_COLUMNS                                                    \
    "s.name, l.export_name, l.size, l.format, l.read_only, l.generation, l.digest, " \
    "l.state, l.priority, max(l.published, s.last_complete, s.last_heartbeat), "     \
    "l.fingerprint, l.minimum_block, l.verified, d.name"

inline constexpr std::string_view kFindDisk =
    "SELECT " SIGNPOST_LOCATION_COLUMNS
    " FROM disk d CROSS JOIN location l ON l.disk_id = d.id"
    " LEFT JOIN server s ON s.id = l.server_id WHERE d.name = ? ORDER BY s.name";

// Not ordered by server: the reader sorts the few locations of a disk, the store need not. Two
// statements, because of two lower bounds SQLite would seek to one only.
#define SIGNPOST_LIST(condition)                             \
    "SELECT " SIGNPOST_LOCATION_COLUMNS                      \
    " FROM disk d CROSS JOIN location l ON l.disk_id = d.id" \
    " LEFT JOIN server s ON s.id = l.server_id WHERE " condition " ORDER BY d.name"

inline constexpr std::string_view kListFrom = SIGNPOST_LIST("d.name >= ?");
inline constexpr std::string_view kListAfter = SIGNPOST_LIST("d.name > ?");
inline constexpr std::string_view kSearchAfter =
    SIGNPOST_LIST("d.name > ? AND d.name LIKE ? ESCAPE '\\'");

#undef SIGNPOST_LIST
#undef SIGNPOST_LOCATION_COLUMNS

#define SIGNPOST_SERVER_COLUMNS                                                    \
    "s.name, s.site, s.kind, s.priority, s.last_heartbeat, s.heartbeat_sequence, " \
    "s.instance, s.class, s.draining, s.sessions, s.id, u.uri"

inline constexpr std::string_view kServers =
    "SELECT " SIGNPOST_SERVER_COLUMNS
    " FROM server s LEFT JOIN server_uri u ON u.server_id = s.id ORDER BY s.name, u.position";

inline constexpr std::string_view kFindServer =
    "SELECT " SIGNPOST_SERVER_COLUMNS
    " FROM server s LEFT JOIN server_uri u ON u.server_id = s.id WHERE s.name = ?"
    " ORDER BY u.position";

#undef SIGNPOST_SERVER_COLUMNS

inline constexpr std::string_view kServerId = "SELECT id FROM server WHERE name = ?";

inline constexpr std::string_view kPutServer =
    "INSERT INTO server (name, site, kind, priority, class, draining, instance, last_heartbeat,"
    " heartbeat_sequence, last_complete) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
    " ON CONFLICT (name) DO UPDATE SET site = excluded.site, kind = excluded.kind,"
    " priority = excluded.priority, class = excluded.class, draining = excluded.draining,"
    " instance = excluded.instance,"
    " last_heartbeat = excluded.last_heartbeat,"
    " heartbeat_sequence = excluded.heartbeat_sequence";

inline constexpr std::string_view kDeleteUris = "DELETE FROM server_uri WHERE server_id = ?";
inline constexpr std::string_view kInsertUri =
    "INSERT INTO server_uri (server_id, position, uri) VALUES (?, ?, ?)";
inline constexpr std::string_view kDeleteServer = "DELETE FROM server WHERE id = ?";

inline constexpr std::string_view kSetDraining =
    "UPDATE server SET draining = ?1 WHERE name = ?2 AND draining != ?1";

inline constexpr std::string_view kHeartbeat =
    "UPDATE server SET last_heartbeat = ?, heartbeat_sequence = heartbeat_sequence + 1,"
    " sessions = ?"
    " WHERE name = ? AND instance = ?";

inline constexpr std::string_view kSetLastComplete =
    "UPDATE server SET last_complete = ? WHERE id = ?";

inline constexpr std::string_view kState =
    "SELECT change_sequence, disks, locations, generation, importing FROM catalog_state"
    " WHERE id = 1";
inline constexpr std::string_view kAddToState =
    "UPDATE catalog_state SET change_sequence = change_sequence + 1, disks = disks + ?,"
    " locations = locations + ?, generation = max(generation, ?) WHERE id = 1";
inline constexpr std::string_view kSetImporting =
    "UPDATE catalog_state SET importing = ? WHERE id = 1";

inline constexpr std::string_view kDiskId = "SELECT id FROM disk WHERE name = ?";
inline constexpr std::string_view kInsertDisk = "INSERT INTO disk (name) VALUES (?)";
inline constexpr std::string_view kDeleteDiskIfUnused =
    "DELETE FROM disk WHERE id = ?1 AND NOT EXISTS"
    " (SELECT 1 FROM location WHERE disk_id = ?1)";

// One server's location of one disk, in the columns of a LocationRow; the server is known.
inline constexpr std::string_view kHeldLocation =
    "SELECT 'held', l.export_name, l.size, l.format, l.read_only, l.generation, l.digest, l.state,"
    " l.priority, l.published, l.fingerprint, l.minimum_block, l.verified, ''"
    " FROM location l WHERE l.disk_id = ? AND l.server_id = ?";

inline constexpr std::string_view kDisksOfServer =
    "SELECT disk_id FROM location WHERE server_id = ? ORDER BY disk_id";

// Over an older content of the same image; what an operator has set (the priority) stays.
inline constexpr std::string_view kPutLocation =
    "INSERT INTO location (disk_id, server_id, export_name, size, format, read_only, generation,"
    " digest, state, priority, published, fingerprint, minimum_block, verified)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, 0)"
    " ON CONFLICT (disk_id, server_id) DO UPDATE SET export_name = excluded.export_name,"
    " size = excluded.size, format = excluded.format, read_only = excluded.read_only,"
    " generation = excluded.generation, digest = NULL, state = excluded.state,"
    " published = excluded.published, fingerprint = excluded.fingerprint,"
    " minimum_block = excluded.minimum_block, verified = 0";
inline constexpr std::string_view kUpdateAttributes =
    "UPDATE location SET export_name = ?, state = ?, read_only = ?, published = ?,"
    " minimum_block = ? WHERE disk_id = ? AND server_id = ?";
inline constexpr std::string_view kTouchLocation =
    "UPDATE location SET published = ? WHERE disk_id = ? AND server_id = ?";
inline constexpr std::string_view kDeleteLocation =
    "DELETE FROM location WHERE disk_id = ? AND server_id = ?";

inline constexpr std::string_view kMarkChanged =
    "UPDATE location SET generation = ?, digest = NULL, verified = 0"
    " WHERE disk_id = ? AND server_id = ?";
inline constexpr std::string_view kSetLocationState =
    "UPDATE location SET state = ? WHERE disk_id = ? AND server_id = ?";

inline constexpr std::string_view kSetDigest =
    "UPDATE location SET digest = ?, verified = ?, state = ? WHERE disk_id = ? AND server_id = ?";
inline constexpr std::string_view kCommonGeneration =
    "UPDATE location SET generation = (SELECT max(generation) FROM location"
    " WHERE disk_id = ?1 AND digest = ?2 AND size = ?3)"
    " WHERE disk_id = ?1 AND digest = ?2 AND size = ?3";

// Records put back as they were.
inline constexpr std::string_view kServerIds = "SELECT id, name FROM server";
inline constexpr std::string_view kAllDisks = "SELECT id FROM disk";
inline constexpr std::string_view kHolders = "SELECT server_id FROM location WHERE disk_id = ?";
inline constexpr std::string_view kRestoreLocation =
    "INSERT INTO location (disk_id, server_id, export_name, size, format, read_only, generation,"
    " digest, state, priority, published, fingerprint, minimum_block, verified)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

// Small tables, in the columns of small_tables.h.
#define SIGNPOST_JOB_COLUMNS \
    "id, kind, disk, target, source, rate, state, size, done, message, created, updated"
inline constexpr std::string_view kJob = "SELECT " SIGNPOST_JOB_COLUMNS " FROM job WHERE id = ?";
inline constexpr std::string_view kJobs =
    "SELECT " SIGNPOST_JOB_COLUMNS
    " FROM job WHERE (?1 = '' OR target = ?1) AND (state < 2 OR updated >= ?2)"
    " ORDER BY created, id LIMIT 10000";
inline constexpr std::string_view kPutJob = "INSERT OR REPLACE INTO job (" SIGNPOST_JOB_COLUMNS
                                            ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
inline constexpr std::string_view kRivalJobs =
    "SELECT " SIGNPOST_JOB_COLUMNS
    " FROM job WHERE disk = ? AND target = ? AND state < 2 LIMIT 10000";
#undef SIGNPOST_JOB_COLUMNS
inline constexpr std::string_view kDeleteRivalJobs =
    "DELETE FROM job WHERE disk = ? AND target = ? AND state < 2";
inline constexpr std::string_view kCountJobs = "SELECT count(*) FROM job";
inline constexpr std::string_view kForgetJobs = "DELETE FROM job WHERE state >= 2 AND updated < ?";
inline constexpr std::string_view kDeleteJobsOf = "DELETE FROM job WHERE target = ?";

inline constexpr std::string_view kWriter =
    "SELECT disk, server, writer, fence, expires FROM writer WHERE disk = ?";
inline constexpr std::string_view kPutWriter =
    "INSERT OR REPLACE INTO writer (disk, server, writer, fence, expires) VALUES (?, ?, ?, ?, ?)";

inline constexpr std::string_view kSiteCosts =
    "SELECT site_a, site_b, cost FROM site_cost ORDER BY site_a, site_b LIMIT 10000";
inline constexpr std::string_view kPutSiteCost =
    "INSERT INTO site_cost (site_a, site_b, cost) VALUES (?, ?, ?)"
    " ON CONFLICT (site_a, site_b) DO UPDATE SET cost = excluded.cost"
    " WHERE cost != excluded.cost";
inline constexpr std::string_view kDeleteSiteCost =
    "DELETE FROM site_cost WHERE site_a = ? AND site_b = ?";
inline constexpr std::string_view kCountSiteCosts = "SELECT count(*) FROM site_cost";

// One byte more than there may be is enough to see that there are too many.
inline constexpr std::string_view kBootProfile =
    "SELECT substr(profile, 1, 65537) FROM boot_profile WHERE disk = ?";
inline constexpr std::string_view kPutBootProfile =
    "INSERT OR REPLACE INTO boot_profile (disk, profile, learned) VALUES (?, ?, ?)";
inline constexpr std::string_view kTrimBootProfiles =
    "DELETE FROM boot_profile WHERE disk IN (SELECT disk FROM boot_profile ORDER BY learned"
    " LIMIT max(0, (SELECT count(*) FROM boot_profile) - ?))";

// An import begins with none of these.
inline constexpr std::string_view kIsEmpty =
    "SELECT NOT EXISTS (SELECT 1 FROM server) AND NOT EXISTS (SELECT 1 FROM disk)"
    " AND NOT EXISTS (SELECT 1 FROM site_cost) AND NOT EXISTS (SELECT 1 FROM job)";
inline constexpr std::string_view kClear =
    "DELETE FROM location; DELETE FROM disk; DELETE FROM server_uri; DELETE FROM server;"
    " DELETE FROM site_cost; DELETE FROM job; DELETE FROM writer; DELETE FROM boot_profile;"
    " UPDATE catalog_state SET disks = 0, locations = 0";

// For check_integrity.
inline constexpr std::string_view kQuickCheck = "PRAGMA quick_check(1)";
inline constexpr std::string_view kIntegrityCheck = "PRAGMA integrity_check(1)";
inline constexpr std::string_view kForeignKeyCheck = "PRAGMA foreign_key_check";
inline constexpr std::string_view kCountAll =
    "SELECT (SELECT count(*) FROM disk), (SELECT count(*) FROM location)";
inline constexpr std::string_view kUnusedDisk =
    "SELECT 1 FROM disk d WHERE NOT EXISTS (SELECT 1 FROM location l WHERE l.disk_id = d.id)"
    " LIMIT 1";

}  // namespace signpost::sql
