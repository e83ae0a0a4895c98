// SPDX-License-Identifier: BSD-3-Clause
//
// A new catalog is built in memory, written beside its place under a name of its own and moved into
// place, never over a file. So nobody ever sees half a catalog, a kill leaves none, two processes
// that start together agree on one file.

#include "catalog/sqlite_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <memory>
#include <random>

#include "catalog/disk_name.h"
#include "catalog/sqlite_queries.h"

namespace signpost {

namespace {

constexpr std::string_view kVersion1 = R"(
CREATE TABLE catalog_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    change_sequence INTEGER NOT NULL,
    disks INTEGER NOT NULL,
    locations INTEGER NOT NULL
) STRICT;
INSERT INTO catalog_state VALUES (1, 0, 0, 0);

CREATE TABLE server (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    site TEXT NOT NULL,
    kind INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    instance TEXT NOT NULL,
    last_heartbeat INTEGER NOT NULL,
    heartbeat_sequence INTEGER NOT NULL,
    last_complete INTEGER NOT NULL
) STRICT;

CREATE TABLE server_uri (
    server_id INTEGER NOT NULL REFERENCES server (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    uri TEXT NOT NULL,
    PRIMARY KEY (server_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE disk (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE location (
    disk_id INTEGER NOT NULL REFERENCES disk (id),
    server_id INTEGER NOT NULL REFERENCES server (id),
    export_name TEXT,
    size INTEGER NOT NULL,
    format INTEGER NOT NULL,
    read_only INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    digest BLOB,
    state INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    published INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    minimum_block INTEGER NOT NULL,
    PRIMARY KEY (disk_id, server_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX location_server ON location (server_id, disk_id);
)";

// Until now a generation was the number of the change in which it began.
constexpr std::string_view kVersion2 = R"(
ALTER TABLE catalog_state ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE catalog_state ADD COLUMN importing INTEGER NOT NULL DEFAULT 0;
UPDATE catalog_state SET generation = change_sequence;
ALTER TABLE server ADD COLUMN class INTEGER NOT NULL DEFAULT 2;
ALTER TABLE server ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
ALTER TABLE server ADD COLUMN sessions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE location ADD COLUMN verified INTEGER NOT NULL DEFAULT 0;

CREATE TABLE site_cost (
    site_a TEXT NOT NULL,
    site_b TEXT NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (site_a, site_b)
) STRICT, WITHOUT ROWID;

CREATE TABLE job (
    id TEXT NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL,
    disk TEXT NOT NULL,
    target TEXT NOT NULL,
    source TEXT NOT NULL,
    rate INTEGER NOT NULL,
    state INTEGER NOT NULL,
    size INTEGER NOT NULL,
    done INTEGER NOT NULL,
    message TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE writer (
    disk TEXT NOT NULL PRIMARY KEY,
    server TEXT NOT NULL,
    writer TEXT NOT NULL,
    fence INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)";

constexpr std::string_view kVersion3 = R"(
CREATE TABLE boot_profile (
    disk TEXT NOT NULL PRIMARY KEY,
    profile TEXT NOT NULL,
    learned INTEGER NOT NULL
) STRICT;
)";

// Until now a chunk's digest was the SHA-256 of all its bytes. Servers compute theirs again; what
// is damaged (3) keeps the digest that it failed, so that it stays so until it is repaired.
constexpr std::string_view kVersion4 = R"(
UPDATE location SET digest = NULL, verified = 0 WHERE digest IS NOT NULL AND state <> 3;
UPDATE catalog_state SET change_sequence = change_sequence + 1;
)";

constexpr std::array kMigrations{kVersion1, kVersion2, kVersion3, kVersion4};

struct Table {
    std::string_view name;
    int since;  // this version
};
constexpr std::array<Table, 9> kTables{{{"catalog_state", 1},
                                        {"disk", 1},
                                        {"location", 1},
                                        {"server", 1},
                                        {"server_uri", 1},
                                        {"site_cost", 2},
                                        {"job", 2},
                                        {"writer", 2},
                                        {"boot_profile", 3}}};

constexpr std::string_view kApplicationIdSql = "PRAGMA application_id";
constexpr std::string_view kUserVersionSql = "PRAGMA user_version";
constexpr std::string_view kPageCountSql = "PRAGMA page_count";
constexpr std::string_view kHasTableSql =
    "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?";

std::int64_t single_integer(Connection& connection, std::string_view sql) {
    Statement row = connection.use(sql);
    return row.step() ? row.integer(0).value_or(0) : 0;
}

std::unexpected<Error> damaged(const Connection& connection, std::string_view what) {
    return fail(Errc::corrupt,
                fmt::format("catalog {} is damaged or no Signpost catalog ({}); move it away with "
                            "its -wal and -shm files, and put a copy back or let servers fill a "
                            "new one",
                            escaped(connection.path()), escaped(what)));
}

std::string migration_script(Migrations migrations, std::size_t from, std::size_t to) {
    std::string script;
    for (std::size_t version = from; version < to; ++version)
        script += migrations[version];
    return script +
           fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};", kApplicationId, to);
}

struct CloseDatabase {
    void operator()(sqlite3* db) const { sqlite3_close(db); }
};

// The bytes of a catalog without rows. Those at 18 and 19 say that it uses a write-ahead log, which
// a database in memory cannot say of itself (sqlite.org/fileformat2.html, 1.3.3).
Result<std::string> empty_catalog() {
    sqlite3* opened = nullptr;
    const int code =
        sqlite3_open_v2(":memory:", &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY, nullptr);
    const std::unique_ptr<sqlite3, CloseDatabase> db(opened);
    const auto migrations = catalog_migrations();
    const std::string script = migration_script(migrations, 0, migrations.size());
    if (code != SQLITE_OK ||
        sqlite3_exec(opened, script.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
        return fail(Errc::io,
                    fmt::format("a new catalog cannot be built: {}", sqlite3_errmsg(opened)));
    sqlite3_int64 size = 0;
    const std::unique_ptr<unsigned char, void (*)(void*)> image(
        sqlite3_serialize(opened, "main", &size, 0), sqlite3_free);
    if (image == nullptr || size < 100)
        return fail(Errc::io, "a new catalog cannot be built: out of memory");
    std::string bytes(reinterpret_cast<const char*>(image.get()), static_cast<std::size_t>(size));
    bytes[18] = bytes[19] = 2;
    return bytes;
}

std::unexpected<Error> cannot_create(const std::string& path, int error) {
    Errc code = Errc::io;
    if (error == EACCES || error == EPERM || error == EROFS)
        code = Errc::denied;
    else if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        code = Errc::full;
    else if (error == ENOENT || error == ENOTDIR)
        code = Errc::not_found;
    return fail(code, fmt::format("catalog {} cannot be made: {}; check its directory, or name "
                                  "another file with catalog=sqlite:PATH",
                                  escaped(path), strerror(error)));
}

int write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno;
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return fsync(fd) == 0 ? 0 : errno;
}

// Gives the errno, or 0.
int write_new_file(const std::string& path, std::string_view bytes) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno;
    const int error = write_all(fd, bytes);
    close(fd);
    return error;
}

int sync_directory(const std::string& directory) {
    const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    const int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error;
}

Result<void> apply_migration(Connection& connection, Migrations migrations, std::size_t version) {
    Transaction transaction(connection);
    if (auto begun = transaction.begin_write(); !begun)
        return begun;
    // Another process may have been faster.
    if (single_integer(connection, kUserVersionSql) == static_cast<std::int64_t>(version))
        connection.run(migration_script(migrations, version, version + 1));
    return transaction.commit();
}

// The first line of a check pragma is "ok" or what is wrong.
Result<void> check_answer(Connection& connection, std::string_view sql) {
    Statement row = connection.use(sql);
    if (!row.step()) {
        auto status = connection.status();
        return status ? damaged(connection, "no answer to a check") : status;
    }
    const auto answer = row.text(0).value_or("");
    return answer == "ok" ? Result<void>() : damaged(connection, answer);
}

Result<void> check_counts(Connection& connection) {
    Statement counted = connection.use(sql::kCountAll);
    Statement state = connection.use(sql::kState);
    const bool answered = counted.step() && state.step();
    if (connection.failed())
        return connection.status();
    if (!answered || counted.integer(0) != state.integer(1) ||
        counted.integer(1) != state.integer(2))
        return damaged(connection, "its counts of disks and locations are wrong");
    return {};
}

Result<void> check_references(Connection& connection) {
    if (connection.use(sql::kForeignKeyCheck).step())
        return damaged(connection, "a row refers to a server or disk that is not there");
    if (connection.use(sql::kUnusedDisk).step())
        return damaged(connection, "a disk has no location");
    return connection.status();
}

}  // namespace

Migrations catalog_migrations() {
    return kMigrations;
}

Result<void> create_catalog_file(const std::string& path) {
    const auto bytes = empty_catalog();
    if (!bytes)
        return std::unexpected(bytes.error());
    std::random_device random;
    const std::string draft = fmt::format("{}.new-{:08x}{:08x}", path, random(), random());
    int error = write_new_file(draft, *bytes);
    if (error == 0 &&
        renameat2(AT_FDCWD, draft.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0)
        error = errno;
    if (error != 0)
        unlink(draft.c_str());
    if (error != 0 && error != EEXIST)
        return cannot_create(path, error);
    const std::string directory = std::filesystem::path(path).parent_path().string();
    if (error = sync_directory(directory); error != 0)
        return cannot_create(path, error);
    return {};
}

Result<int> check_catalog(Connection& connection, Migrations migrations) {
    const std::int64_t id = single_integer(connection, kApplicationIdSql);
    const std::int64_t version = single_integer(connection, kUserVersionSql);
    if (auto status = connection.status(); !status)
        return std::unexpected(std::move(status.error()));
    if (id == 0 && version == 0 && single_integer(connection, kPageCountSql) == 0)
        return damaged(connection, "the file is empty");
    if (id != kApplicationId)
        return damaged(connection, "it is a database of another program");
    if (version > static_cast<std::int64_t>(migrations.size()))
        return fail(Errc::too_new,
                    fmt::format("catalog {} was made by a newer release (schema {}, this one knows "
                                "up to {}); upgrade this one, or name another catalog",
                                escaped(connection.path()), version, migrations.size()));
    if (version < 1)
        return damaged(connection, "it has no schema version");
    for (const Table& table : kTables) {
        if (version < table.since)
            continue;
        Statement found = connection.use(kHasTableSql);
        if (!found.bind(table.name).step())
            return connection.failed()
                       ? std::unexpected(connection.status().error())
                       : damaged(connection, fmt::format("table {} is missing", table.name));
    }
    return static_cast<int>(version);
}

Result<void> migrate_catalog(Connection& connection, Migrations migrations) {
    const auto version = check_catalog(connection, migrations);
    if (!version)
        return std::unexpected(version.error());
    for (auto next = static_cast<std::size_t>(*version); next < migrations.size(); ++next)
        if (auto done = apply_migration(connection, migrations, next); !done)
            return done;
    return {};
}

Result<void> check_pages(Connection& connection, bool thorough) {
    Result<void> checked =
        check_answer(connection, thorough ? sql::kIntegrityCheck : sql::kQuickCheck);
    if (!checked || !thorough)
        return checked;
    Transaction moment(connection);
    if (checked = moment.begin_read(); checked)
        checked = check_references(connection);
    return checked ? check_counts(connection) : checked;
}

}  // namespace signpost
