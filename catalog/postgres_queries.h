// SPDX-License-Identifier: BSD-3-Clause
//
// Every SQL statement that the PostgreSQL store runs on its tables; SCHEMA.md says what the tables
// mean. All names are qualified and nothing is looked up in a search path.
//
// Sizes are the server's to bound: left() and LIMIT see to it that an answer fits into memory,
// whatever somebody has written into the tables. Time is the server's, unless a test gives its own.

#pragma once

#include "catalog/postgres_connection.h"

namespace signpost::pg {

#define SIGNPOST_NOW(parameter) \
    "coalesce(" parameter "::bigint, floor(extract(epoch FROM clock_timestamp()))::bigint)"

// The connection's own.

// Look-ups seek: a plan made while a table was empty would read all of it when it no longer is.
// What cannot seek counts as so costly then that PostgreSQL compiles its plan, for seconds, and
// anew for each connection, or starts processes for it; other products do not have these settings.
// A process that is stopped in the middle of a change must not hold up others for ever.
inline constexpr PostgresStatement kConfigure{
    "",
    "SELECT pg_catalog.pg_is_in_recovery()::int,"
    " pg_catalog.set_config('search_path', 'pg_catalog', false),"
    " pg_catalog.set_config('client_encoding', 'UTF8', false),"
    " pg_catalog.set_config('enable_seqscan', 'off', false),"
    " (SELECT max(pg_catalog.set_config(name, CASE name WHEN 'jit' THEN 'off' ELSE '0' END, false))"
    " FROM pg_catalog.pg_settings WHERE name IN ('jit', 'max_parallel_workers_per_gather')),"
    " pg_catalog.set_config('default_transaction_isolation', 'read committed', false),"
    " pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', false)"};
inline constexpr PostgresStatement kSetTimeout{"set_timeout",
                                               "SELECT set_config('statement_timeout', $1, false)"};
inline constexpr PostgresStatement kBegin{"", "BEGIN"};
inline constexpr PostgresStatement kCommit{"", "COMMIT"};
inline constexpr PostgresStatement kRollBack{"", "ROLLBACK"};

// Disks. The columns of store_rows.h. A foreign server has no heartbeat: what it holds was seen
// when it was published. left() lets one character more through than may be: enough to be refused.
#define SIGNPOST_HELD_COLUMNS                                                      \
    "left(l.export_name, 4097), l.size, l.format, l.read_only::int, l.generation," \
    " encode(substring(l.digest FROM 1 FOR 33), 'hex'), l.state, l.priority,"
#define SIGNPOST_LOCATION_COLUMNS                                                \
    "left(s.name, 129), " SIGNPOST_HELD_COLUMNS                                  \
    " greatest(l.published, s.last_complete, h.last), left(l.fingerprint, 129)," \
    " l.minimum_block, l.verified, left(l.disk_name, 1025)"
#define SIGNPOST_OF_SERVER                               \
    " LEFT JOIN signpost.server s ON s.id = l.server_id" \
    " LEFT JOIN signpost.heartbeat h ON h.server_id = l.server_id"

inline constexpr PostgresStatement kFindDisk{
    "find_disk", "SELECT " SIGNPOST_LOCATION_COLUMNS " FROM signpost.location l" SIGNPOST_OF_SERVER
                 " WHERE l.disk_name = $1 LIMIT 10000"};

// The names of the page first, by the index alone; then what they have. Not prepared: a pattern
// that is known when the statement is planned becomes a range of the index.
#define SIGNPOST_PAGE(like)                                                                 \
    "WITH page AS (SELECT DISTINCT l.disk_name FROM signpost.location l"                    \
    " WHERE l.disk_name > $1 AND l.disk_name " like                                         \
    " $2"                                                                                   \
    " ORDER BY l.disk_name LIMIT $3::bigint)"                                               \
    " SELECT " SIGNPOST_LOCATION_COLUMNS                                                    \
    " FROM page p JOIN signpost.location l ON l.disk_name = p.disk_name" SIGNPOST_OF_SERVER \
    " ORDER BY l.disk_name LIMIT $4::bigint"

inline constexpr PostgresStatement kListPage{"", SIGNPOST_PAGE("LIKE")};
inline constexpr PostgresStatement kSearchPage{"", SIGNPOST_PAGE("ILIKE")};

#undef SIGNPOST_PAGE
#undef SIGNPOST_OF_SERVER

// What one server holds, in the order of the names, a piece at a time; the server is known.
#define SIGNPOST_HELD                                                      \
    "SELECT 'held', " SIGNPOST_HELD_COLUMNS                                \
    " l.published, left(l.fingerprint, 129), l.minimum_block, l.verified," \
    " left(l.disk_name, 1025)"                                             \
    " FROM signpost.location l WHERE l.server_id = $1::bigint AND l.disk_name "

inline constexpr PostgresStatement kHeldAfter{
    "held_after", SIGNPOST_HELD "> $2 ORDER BY l.disk_name LIMIT $3::bigint"};
inline constexpr PostgresStatement kHeldOf{
    "held_of", SIGNPOST_HELD "= ANY ($2::text[]) ORDER BY l.disk_name LIMIT 10000"};

#undef SIGNPOST_HELD
#undef SIGNPOST_LOCATION_COLUMNS
#undef SIGNPOST_HELD_COLUMNS

// Servers.
#define SIGNPOST_SERVERS                                                                    \
    "SELECT left(s.name, 129), left(s.site, 129), s.kind, s.priority, coalesce(h.last, 0)," \
    " coalesce(h.sequence, 0), left(s.instance, 129), s.class, s.draining::int,"            \
    " coalesce(h.sessions, 0), s.id, left(u.uri, 8193)"                                     \
    " FROM signpost.server s LEFT JOIN signpost.heartbeat h ON h.server_id = s.id"          \
    " LEFT JOIN signpost.server_uri u ON u.server_id = s.id"

inline constexpr PostgresStatement kServers{
    "servers", SIGNPOST_SERVERS " ORDER BY s.name, s.id, u.position LIMIT 200000"};
inline constexpr PostgresStatement kFindServer{
    "find_server", SIGNPOST_SERVERS " WHERE s.name = $1 ORDER BY s.id, u.position LIMIT 1000"};

#undef SIGNPOST_SERVERS

inline constexpr PostgresStatement kServerId{"server_id",
                                             "SELECT id FROM signpost.server WHERE name = $1"};
// Held until the change ends. Heartbeats go to a table of their own and do not wait for it.
inline constexpr PostgresStatement kLockServer{
    "lock_server", "SELECT id FROM signpost.server WHERE name = $1 FOR NO KEY UPDATE"};
inline constexpr PostgresStatement kInsertServer{
    "insert_server",
    "INSERT INTO signpost.server (name, site, kind, priority, class, draining, instance,"
    " last_complete) VALUES ($1, '', 0, 0, 0, false, '', 0) ON CONFLICT (name) DO NOTHING "
    "RETURNING id"};
inline constexpr PostgresStatement kUpdateServer{
    "update_server",
    "UPDATE signpost.server SET site = $2, kind = $3::smallint, priority = $4::int, instance = $5,"
    " class = $6::smallint, draining = $7::int != 0 WHERE id = $1::bigint"};
inline constexpr PostgresStatement kSetDraining{
    "set_draining",
    "UPDATE signpost.server SET draining = $2::int != 0"
    " WHERE id = $1::bigint AND draining != ($2::int != 0)"};
inline constexpr PostgresStatement kDeleteServer{
    "delete_server", "DELETE FROM signpost.server WHERE id = $1::bigint"};
inline constexpr PostgresStatement kDeleteUris{
    "delete_uris", "DELETE FROM signpost.server_uri WHERE server_id = $1::bigint"};
inline constexpr PostgresStatement kInsertUris{
    "insert_uris",
    "INSERT INTO signpost.server_uri (server_id, position, uri)"
    " SELECT $1::bigint, u.position - 1, u.uri"
    " FROM unnest($2::text[]) WITH ORDINALITY AS u (uri, position)"};

inline constexpr PostgresStatement kAddHeartbeat{
    "add_heartbeat",
    "INSERT INTO signpost.heartbeat (server_id, last, sequence) VALUES ($1::bigint, 0, 0)"
    " ON CONFLICT (server_id) DO NOTHING"};
inline constexpr PostgresStatement kFirstHeartbeat{
    "first_heartbeat",
    "INSERT INTO signpost.heartbeat AS h (server_id, last, sequence)"
    " VALUES ($1::bigint, $2::bigint, 1) ON CONFLICT (server_id) DO UPDATE"
    " SET last = excluded.last, sequence = greatest(h.sequence, 0) + 1"};
inline constexpr PostgresStatement kHeartbeat{
    "heartbeat",
    "INSERT INTO signpost.heartbeat AS h (server_id, last, sequence, sessions)"
    " SELECT s.id, " SIGNPOST_NOW("$1") ", 1, $4::bigint FROM signpost.server s"
    " WHERE s.name = $2 AND s.instance = $3 ON CONFLICT (server_id) DO UPDATE"
    " SET last = excluded.last, sequence = greatest(h.sequence, 0) + 1,"
    " sessions = excluded.sessions"};

inline constexpr PostgresStatement kNow{"now", "SELECT " SIGNPOST_NOW("$1")};
inline constexpr PostgresStatement kSetLastComplete{
    "set_last_complete",
    "UPDATE signpost.server SET last_complete = " SIGNPOST_NOW("$2") " WHERE id = $1::bigint"};

// Publications: thousands of rows a statement.
inline constexpr PostgresStatement kNextGeneration{"next_generation",
                                                   "SELECT nextval('signpost.generation')"};
// Over an older content of the same image; what an operator has set (the priority) stays. A
// generation only grows, also when mark_changed took a newer one since ours was taken.
inline constexpr PostgresStatement kPutLocations{
    "put_locations",
    "INSERT INTO signpost.location AS l (disk_name, server_id, export_name, size, format,"
    " read_only, generation, digest, state, priority, published, fingerprint, minimum_block,"
    " verified)"
    " SELECT u.disk_name, $1::bigint, u.export_name, u.size, u.format, u.read_only != 0,"
    " $2::bigint, NULL, u.state, $3::int, " SIGNPOST_NOW("$4")
    ", u.fingerprint, u.minimum_block, 0 FROM unnest($5::text[], $6::text[], $7::bigint[],"
    " $8::smallint[], $9::int[], $10::text[], $11::int[], $12::smallint[]) AS u (disk_name,"
    " export_name, size, format, read_only, fingerprint, minimum_block, state)"
    " ON CONFLICT (disk_name, server_id) DO UPDATE SET export_name = excluded.export_name,"
    " size = excluded.size, format = excluded.format, read_only = excluded.read_only,"
    " generation = CASE WHEN excluded.generation > l.generation THEN excluded.generation"
    " ELSE nextval('signpost.generation') END, digest = NULL, state = excluded.state,"
    " published = excluded.published, fingerprint = excluded.fingerprint,"
    " minimum_block = excluded.minimum_block, verified = 0"};
inline constexpr PostgresStatement kUpdateAttributes{
    "update_attributes",
    "UPDATE signpost.location l SET export_name = u.export_name, read_only = u.read_only != 0,"
    " published = " SIGNPOST_NOW("$2")
    ", minimum_block = u.minimum_block,"
    // As store_rules.h's state_after.
    " state = CASE WHEN u.state = 1 OR l.state = 1 THEN u.state ELSE l.state END"
    " FROM unnest($3::text[], $4::text[], $5::int[], $6::int[], $7::smallint[])"
    " AS u (disk_name, export_name, read_only, minimum_block, state)"
    " WHERE l.server_id = $1::bigint AND l.disk_name = u.disk_name"};
inline constexpr PostgresStatement kTouchLocations{
    "touch_locations",
    "UPDATE signpost.location l SET published = " SIGNPOST_NOW(
        "$2") " WHERE l.server_id = $1::bigint AND l.disk_name = ANY ($3::text[])"};
inline constexpr PostgresStatement kDeleteLocations{
    "delete_locations",
    "DELETE FROM signpost.location l WHERE l.server_id = $1::bigint"
    " AND l.disk_name = ANY ($2::text[])"};
// Names that no disk can have, and that are not read in full.
inline constexpr PostgresStatement kDeleteLongNames{
    "delete_long_names",
    "DELETE FROM signpost.location l WHERE l.server_id = $1::bigint"
    " AND octet_length(l.disk_name) > 1024"};
inline constexpr PostgresStatement kDeleteSome{
    "delete_some",
    "DELETE FROM signpost.location l WHERE l.server_id = $1::bigint AND l.disk_name IN"
    " (SELECT k.disk_name FROM signpost.location k WHERE k.server_id = $1::bigint"
    " ORDER BY k.disk_name LIMIT $2::bigint)"};

// One location.
inline constexpr PostgresStatement kMarkChanged{
    "mark_changed",
    "UPDATE signpost.location l SET generation ="
    " greatest(nextval('signpost.generation'), l.generation + 1), digest = NULL, verified = 0"
    " FROM signpost.server s WHERE s.id = l.server_id AND l.disk_name = $1 AND s.name = $2"};
// In one order, so that two who verify copies of one disk do not wait for each other in a ring.
inline constexpr PostgresStatement kLockDisk{
    "lock_disk",
    "SELECT l.server_id FROM signpost.location l WHERE l.disk_name = $1 ORDER BY l.server_id"
    " LIMIT 10000 FOR NO KEY UPDATE"};
inline constexpr PostgresStatement kSetDigest{
    "set_digest",
    "UPDATE signpost.location SET digest = decode($3, 'hex'), verified = " SIGNPOST_NOW("$4")
    ", state = CASE state WHEN 3 THEN 0 ELSE state END"
    " WHERE disk_name = $1 AND server_id = $2::bigint"};
inline constexpr PostgresStatement kSetLocationState{
    "set_location_state",
    "UPDATE signpost.location SET state = $3::smallint"
    " WHERE disk_name = $1 AND server_id = $2::bigint"};
inline constexpr PostgresStatement kCommonGeneration{
    "common_generation",
    "UPDATE signpost.location SET generation = (SELECT max(l.generation)"
    " FROM signpost.location l WHERE l.disk_name = $1 AND l.digest = decode($2, 'hex')"
    " AND l.size = $3::bigint)"
    " WHERE disk_name = $1 AND digest = decode($2, 'hex') AND size = $3::bigint"};

// Records put back as they were.
inline constexpr PostgresStatement kLockServers{
    "lock_servers",
    "SELECT id, left(name, 129) FROM signpost.server WHERE $1 = '' OR name = $1 ORDER BY id"
    " LIMIT 200000 FOR NO KEY UPDATE"};
inline constexpr PostgresStatement kForgetComplete{
    "forget_complete", "UPDATE signpost.server SET last_complete = 0 WHERE id = $1::bigint"};
inline constexpr PostgresStatement kRestoreHeartbeat{
    "restore_heartbeat",
    "INSERT INTO signpost.heartbeat (server_id, last, sequence)"
    " VALUES ($1::bigint, $2::bigint, $3::bigint) ON CONFLICT (server_id) DO UPDATE"
    " SET last = excluded.last, sequence = excluded.sequence"};
// Of all servers, where $1 is 0.
inline constexpr PostgresStatement kDeleteNamed{
    "delete_named",
    "DELETE FROM signpost.location WHERE disk_name = ANY ($2::text[])"
    " AND ($1::bigint = 0 OR server_id = $1::bigint)"};
inline constexpr PostgresStatement kRestoreLocations{
    "restore_locations",
    "INSERT INTO signpost.location (disk_name, server_id, export_name, size, format, read_only,"
    " generation, digest, state, priority, published, fingerprint, minimum_block, verified)"
    " SELECT u.disk_name, u.server_id, u.export_name, u.size, u.format, u.read_only != 0,"
    " u.generation, decode(nullif(u.digest, ''), 'hex'), u.state, u.priority, u.published,"
    " u.fingerprint, u.minimum_block, u.verified FROM unnest($1::text[], $2::bigint[],"
    " $3::text[], $4::bigint[], $5::smallint[], $6::int[], $7::bigint[], $8::text[],"
    " $9::smallint[], $10::int[], $11::bigint[], $12::text[], $13::int[], $14::bigint[])"
    " AS u (disk_name, server_id, export_name, size, format, read_only, generation, digest,"
    " state, priority, published, fingerprint, minimum_block, verified)"};
inline constexpr PostgresStatement kGeneration{
    "generation", "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM signpost.generation"};
// Two statements, because setting the sequence could take back what others have been given
// meanwhile: so it is set only over a gap that nobody crosses in a moment, and is stepped over a
// small one.
inline constexpr PostgresStatement kStepGeneration{
    "step_generation",
    "SELECT max(nextval('signpost.generation')) FROM generate_series(1, $1::bigint)"};
inline constexpr PostgresStatement kSetGeneration{
    "set_generation", "SELECT setval('signpost.generation', $1::bigint)"};
inline constexpr PostgresStatement kLockState{
    "lock_state", "SELECT 1 FROM signpost.catalog_state WHERE id = 1 FOR NO KEY UPDATE"};

// Small tables, in the columns of small_tables.h.
#define SIGNPOST_JOBS                                                                         \
    "SELECT left(id, 33), kind, left(disk_name, 1025), left(target, 129), left(source, 129)," \
    " rate, state, size, done, left(message, 501), created, updated FROM signpost.job"

inline constexpr PostgresStatement kJob{"job", SIGNPOST_JOBS " WHERE id = $1 FOR NO KEY UPDATE"};
inline constexpr PostgresStatement kJobs{
    "jobs",
    SIGNPOST_JOBS " WHERE ($1 = '' OR target = $1) AND (state < 2 OR updated >= " SIGNPOST_NOW(
        "$2") " - $3::bigint) ORDER BY created, id LIMIT 10000"};
// Of these none but one can be, unless somebody else has written into the table.
inline constexpr PostgresStatement kRivalJobs{
    "rival_jobs",
    SIGNPOST_JOBS " WHERE disk_name = $1 AND target = $2 AND state < 2 LIMIT 10000"};
#undef SIGNPOST_JOBS
inline constexpr PostgresStatement kDeleteRivalJobs{
    "delete_rival_jobs",
    "DELETE FROM signpost.job WHERE disk_name = $1 AND target = $2 AND state < 2"};
inline constexpr PostgresStatement kPutJob{
    "put_job",
    "INSERT INTO signpost.job (id, kind, disk_name, target, source, rate, state, size, done,"
    " message, created, updated) VALUES ($1, $2::smallint, $3, $4, $5, $6::bigint, $7::smallint,"
    " $8::bigint, $9::bigint, $10, $11::bigint, $12::bigint) ON CONFLICT (id) DO UPDATE SET"
    " kind = excluded.kind, disk_name = excluded.disk_name, target = excluded.target,"
    " source = excluded.source, rate = excluded.rate, state = excluded.state,"
    " size = excluded.size, done = excluded.done, message = excluded.message,"
    " created = excluded.created, updated = excluded.updated"};
inline constexpr PostgresStatement kCountJobs{"count_jobs", "SELECT count(*) FROM signpost.job"};
inline constexpr PostgresStatement kForgetJobs{
    "forget_jobs", "DELETE FROM signpost.job WHERE state >= 2 AND updated < $1::bigint"};
inline constexpr PostgresStatement kDeleteJobsOf{"delete_jobs_of",
                                                 "DELETE FROM signpost.job WHERE target = $1"};

#define SIGNPOST_WRITER                                                                  \
    "SELECT left(disk_name, 1025), left(server, 129), left(writer, 129), fence, expires" \
    " FROM signpost.writer WHERE disk_name = $1"
inline constexpr PostgresStatement kWriter{"writer", SIGNPOST_WRITER};
inline constexpr PostgresStatement kLockWriter{"lock_writer", SIGNPOST_WRITER " FOR NO KEY UPDATE"};
#undef SIGNPOST_WRITER
// So that there is a row to lock; held by nobody.
inline constexpr PostgresStatement kAddWriter{
    "add_writer",
    "INSERT INTO signpost.writer (disk_name, server, writer, fence, expires)"
    " VALUES ($1, '', '', 0, 0) ON CONFLICT (disk_name) DO NOTHING"};
inline constexpr PostgresStatement kPutWriter{
    "put_writer",
    "UPDATE signpost.writer SET server = $2, writer = $3, fence = $4::bigint,"
    " expires = $5::bigint WHERE disk_name = $1"};

inline constexpr PostgresStatement kSiteCosts{
    "site_costs",
    "SELECT left(site_a, 129), left(site_b, 129), cost FROM signpost.site_cost"
    " ORDER BY site_a, site_b LIMIT 10000"};
inline constexpr PostgresStatement kPutSiteCost{
    "put_site_cost",
    "INSERT INTO signpost.site_cost AS c (site_a, site_b, cost) VALUES ($1, $2, $3::int)"
    " ON CONFLICT (site_a, site_b) DO UPDATE SET cost = excluded.cost"
    " WHERE c.cost != excluded.cost"};
inline constexpr PostgresStatement kDeleteSiteCost{
    "delete_site_cost", "DELETE FROM signpost.site_cost WHERE site_a = $1 AND site_b = $2"};
inline constexpr PostgresStatement kCountSiteCosts{"count_site_costs",
                                                   "SELECT count(*) FROM signpost.site_cost"};

inline constexpr PostgresStatement kBootProfile{
    "boot_profile", "SELECT left(profile, 65537) FROM signpost.boot_profile WHERE disk_name = $1"};
inline constexpr PostgresStatement kPutBootProfile{
    "put_boot_profile",
    "INSERT INTO signpost.boot_profile (disk_name, profile, learned) VALUES ($1, $2, $3::bigint)"
    " ON CONFLICT (disk_name) DO UPDATE SET profile = excluded.profile,"
    " learned = excluded.learned"};
inline constexpr PostgresStatement kTrimBootProfiles{
    "trim_boot_profiles",
    "DELETE FROM signpost.boot_profile WHERE disk_name IN"
    " (SELECT disk_name FROM signpost.boot_profile ORDER BY learned DESC OFFSET $1::bigint)"};

// Imports.
inline constexpr PostgresStatement kImporting{
    "importing", "SELECT importing::int FROM signpost.catalog_state WHERE id = 1"};
inline constexpr PostgresStatement kAnalyze{"", "ANALYZE signpost.location"};
inline constexpr PostgresStatement kSetImporting{
    "set_importing", "UPDATE signpost.catalog_state SET importing = $1::int != 0 WHERE id = 1"};
inline constexpr PostgresStatement kIsEmpty{"is_empty",
                                            "SELECT (NOT EXISTS (SELECT 1 FROM signpost.server)"
                                            " AND NOT EXISTS (SELECT 1 FROM signpost.location)"
                                            " AND NOT EXISTS (SELECT 1 FROM signpost.site_cost)"
                                            " AND NOT EXISTS (SELECT 1 FROM signpost.job))::int"};
inline constexpr PostgresStatement kClearLocations{
    "clear_locations",
    "DELETE FROM signpost.location WHERE (disk_name, server_id) IN"
    " (SELECT disk_name, server_id FROM signpost.location LIMIT $1::bigint)"};
inline constexpr PostgresStatement kClearServers{"", "DELETE FROM signpost.server"};
inline constexpr PostgresStatement kClearSiteCosts{"", "DELETE FROM signpost.site_cost"};
inline constexpr PostgresStatement kClearJobs{"", "DELETE FROM signpost.job"};
inline constexpr PostgresStatement kClearWriters{"", "DELETE FROM signpost.writer"};
inline constexpr PostgresStatement kClearBootProfiles{"", "DELETE FROM signpost.boot_profile"};

// The sequence of changes. The last statement of every change: its row is locked for no longer than
// the commit takes, and nobody sees n + 1 before n. Without its row, or with one beyond any count,
// the division fails, and with it the change: going on from a lost sequence would hide changes.
// An import that did not end holds up all changes but its own.
#define SIGNPOST_BUMP(condition, more)                                                           \
    "WITH bumped AS (UPDATE signpost.catalog_state SET change_sequence = change_sequence + 1"    \
    " WHERE id = 1 AND change_sequence >= 0 AND change_sequence < 4611686018427387904" condition \
    " RETURNING change_sequence) SELECT 1 / count(*)" more " FROM bumped"

inline constexpr PostgresStatement kBump{"bump", SIGNPOST_BUMP(" AND NOT importing", "")};
inline constexpr PostgresStatement kBumpInImport{"bump_in_import", SIGNPOST_BUMP("", "")};
inline constexpr PostgresStatement kBumpAndNotify{
    "bump_and_notify", SIGNPOST_BUMP(" AND NOT importing",
                                     ", max(pg_notify('signpost', change_sequence::text)::text)")};

#undef SIGNPOST_BUMP

inline constexpr PostgresStatement kHasNotify{
    "", "SELECT count(*) FROM pg_catalog.pg_proc WHERE proname = 'pg_notify'"};
inline constexpr PostgresStatement kListen{"", "LISTEN signpost"};
inline constexpr PostgresStatement kNothing{"", "SELECT 1"};
inline constexpr PostgresStatement kState{
    "state",
    "SELECT change_sequence, disks, locations, counted_at,"
    " " SIGNPOST_NOW("NULL") " - counted FROM signpost.catalog_state WHERE id = 1"};
inline constexpr PostgresStatement kCountAll{
    "count_all",
    "SELECT (SELECT count(*) FROM (SELECT DISTINCT disk_name FROM signpost.location) d),"
    " (SELECT count(*) FROM signpost.location)"};
inline constexpr PostgresStatement kKeepCount{
    "keep_count",
    "UPDATE signpost.catalog_state SET disks = $1::bigint, locations = $2::bigint,"
    " counted_at = $3::bigint, counted = " SIGNPOST_NOW("NULL") " WHERE id = 1"};

// For check_integrity.
inline constexpr PostgresStatement kUnownedLocation{
    "",
    "SELECT 1 FROM signpost.location l WHERE NOT EXISTS"
    " (SELECT 1 FROM signpost.server s WHERE s.id = l.server_id) LIMIT 1"};
inline constexpr PostgresStatement kGenerationAhead{
    "",
    "SELECT 1 FROM signpost.location l WHERE l.generation >"
    " (SELECT last_value FROM signpost.generation) LIMIT 1"};

// The tables, in postgres_schema.cc's hands.
inline constexpr PostgresStatement kTables{
    "",
    "SELECT c.relname, c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
    " ON n.oid = c.relnamespace WHERE n.nspname = 'signpost' AND c.relkind != 'i' LIMIT 1000"};
// Where the database's owner has made the schema for us, we need no right to make one.
inline constexpr PostgresStatement kHasSchema{
    "", "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'signpost'"};
inline constexpr PostgresStatement kCreateSchema{"", "CREATE SCHEMA signpost"};
inline constexpr PostgresStatement kVersion{
    "", "SELECT schema_version FROM signpost.catalog_state WHERE id = 1"};
inline constexpr PostgresStatement kLockVersion{
    "", "SELECT schema_version FROM signpost.catalog_state WHERE id = 1 FOR UPDATE"};
inline constexpr PostgresStatement kSetVersion{
    "", "UPDATE signpost.catalog_state SET schema_version = $1::int WHERE id = 1"};
inline constexpr PostgresStatement kRoles{
    "", "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname LIKE 'signpost\\_%' LIMIT 1000"};

#undef SIGNPOST_NOW

}  // namespace signpost::pg
