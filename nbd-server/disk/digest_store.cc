// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/digest_store.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <ctime>

#include "catalog/sqlite_statement.h"
#include "nbd-server/disk/database_file.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kLockWait{5};
constexpr std::int64_t kDay = 24 * 3600;
constexpr std::size_t kLeafBytes = std::tuple_size_v<DigestTree::ChunkDigest>;

constexpr std::int64_t kVersion = 2;
constexpr const char* kSetUp =
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = NORMAL;";
constexpr const char* kSchema = R"(
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS image (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    disk TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    size INTEGER NOT NULL,
    done INTEGER NOT NULL,
    digest TEXT NOT NULL,
    last_read INTEGER NOT NULL,
    read_again INTEGER NOT NULL,
    used INTEGER NOT NULL,
    UNIQUE (disk, fingerprint, size)
) STRICT;
CREATE TABLE IF NOT EXISTS leaves (
    image_id INTEGER NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    digests BLOB NOT NULL,
    PRIMARY KEY (image_id, first)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 2;
COMMIT;
)";

constexpr std::string_view kVersionSql = "PRAGMA user_version";
constexpr std::string_view kFindSql =
    "SELECT id, done, digest, last_read, read_again, used FROM image"
    " WHERE disk = ? AND fingerprint = ? AND size = ?";
constexpr std::string_view kUsedSql = "UPDATE image SET used = ? WHERE id = ?";
constexpr std::string_view kBeginSql =
    "INSERT INTO image (disk, fingerprint, size, done, digest, last_read, read_again, used)"
    " VALUES (?, ?, ?, 0, '', 0, 0, ?) ON CONFLICT DO NOTHING";
constexpr std::string_view kAddSql =
    "INSERT INTO leaves (image_id, first, digests) VALUES (?, ?, ?)"
    " ON CONFLICT (image_id, first) DO UPDATE SET digests = excluded.digests";
constexpr std::string_view kDoneSql = "UPDATE image SET done = ? WHERE id = ?";
constexpr std::string_view kFinishSql =
    "UPDATE image SET digest = ?, last_read = ?, read_again = 0 WHERE id = ?";
constexpr std::string_view kReadingSql =
    "UPDATE image SET read_again = ?, last_read = ? WHERE id = ?";
constexpr std::string_view kLeavesSql =
    "SELECT digests FROM leaves WHERE image_id = ? AND first = ?";
constexpr std::string_view kForgetSql = "DELETE FROM image WHERE used < ?";

std::int64_t signed_of(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}

std::uint64_t unsigned_in(const Statement& row, int column) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(row.integer(column).value_or(0), 0));
}

Result<std::unique_ptr<Connection>> open_file(const std::string& path) {
    if (auto made = make_database_file(path); !made) {
        return std::unexpected(made.error());
    }
    const auto until = std::chrono::steady_clock::now() + kLockWait;
    auto connection = Connection::open(path, Connection::Access::read_write, until);
    if (!connection) {
        return connection;
    }
    Connection& db = **connection;
    db.run(kSetUp);
    std::int64_t version = 0;
    {
        Statement found = db.use(kVersionSql);
        version = found.step() ? found.integer(0).value_or(0) : 0;
    }
    if (version != 0 && version != kVersion) {
        return fail(Errc::corrupt, fmt::format("{} was made by another release", escaped(path)));
    }
    db.run(kSchema);
    if (auto status = db.status(); !status) {
        return std::unexpected(status.error());
    }
    return connection;
}

}  // namespace

DigestStore::DigestStore(std::unique_ptr<Connection> connection)
    : connection_(std::move(connection)) {}

DigestStore::~DigestStore() = default;

Result<std::unique_ptr<DigestStore>> DigestStore::open(const std::string& path, Log& log) {
    auto connection = open_file(path);
    if (!connection && connection.error().code == Errc::corrupt) {
        log.error(fmt::format("{} is begun anew, and chunk digests are computed again: {}",
                              escaped(path), connection.error().message));
        remove_database_file(path);
        connection = open_file(path);
    }
    if (!connection) {
        return std::unexpected(connection.error());
    }
    return std::unique_ptr<DigestStore>(new DigestStore(std::move(*connection)));
}

// One bad moment (a full disk, another's lock) is not the end of the connection.
void DigestStore::start_call() {
    connection_->clear_failure();
    connection_->set_lock_deadline(std::chrono::steady_clock::now() + kLockWait);
}

Result<void> DigestStore::settled() {
    return connection_->status();
}

Result<std::optional<DigestStore::Entry>> DigestStore::look_up(const Image& image) {
    Entry entry;
    std::int64_t used = 0;
    {
        Statement row = connection_->use(kFindSql);
        row.bind(image.disk.str()).bind(image.fingerprint).bind(signed_of(image.size));
        if (!row.step()) {
            const auto status = settled();
            return status ? Result<std::optional<Entry>>(std::nullopt)
                          : std::unexpected(status.error());
        }
        entry.id = row.integer(0).value_or(0);
        entry.done = std::min(unsigned_in(row, 1), chunk_count(image.size));
        entry.digest = row.text(2).value_or("");
        entry.read = row.integer(3).value_or(0);
        entry.read_again = std::min(unsigned_in(row, 4), chunk_count(image.size));
        used = row.integer(5).value_or(0);
    }
    const std::int64_t now = std::time(nullptr);
    if (now - used > kDay || used - now > kDay) {
        connection_->use(kUsedSql).bind(now).bind(entry.id).run();
    }
    return entry;
}

Result<std::optional<DigestStore::Entry>> DigestStore::find(const Image& image) {
    const std::lock_guard lock(mutex_);
    start_call();
    return look_up(image);
}

Result<DigestStore::Entry> DigestStore::begin(const Image& image) {
    const std::lock_guard lock(mutex_);
    start_call();
    auto found = look_up(image);
    if (found && !*found) {
        connection_->use(kBeginSql)
            .bind(image.disk.str())
            .bind(image.fingerprint)
            .bind(signed_of(image.size))
            .bind(std::int64_t{std::time(nullptr)})
            .run();
        found = look_up(image);
    }
    if (!found) {
        return std::unexpected(found.error());
    }
    if (!*found) {
        return fail(Errc::io, "chunk digests cannot be stored: the new entry is not there");
    }
    return **found;
}

Result<void> DigestStore::add(std::int64_t id, std::uint64_t first,
                              const DigestTree::Leaves& leaves) {
    const std::string_view bytes(reinterpret_cast<const char*>(leaves.data()),
                                 leaves.size() * kLeafBytes);
    const std::lock_guard lock(mutex_);
    start_call();
    Transaction change(*connection_);
    if (auto begun = change.begin_write(); !begun) {
        return begun;
    }
    connection_->use(kAddSql).bind(id).bind(signed_of(first)).bind_blob(bytes).run();
    connection_->use(kDoneSql).bind(signed_of(first + leaves.size())).bind(id).run();
    return change.commit();
}

Result<void> DigestStore::finish(std::int64_t id, const std::string& digest) {
    const std::lock_guard lock(mutex_);
    start_call();
    const std::int64_t now = std::time(nullptr);
    connection_->use(kFinishSql).bind(digest).bind(now).bind(id).run();
    return settled();
}

Result<void> DigestStore::keep(const Image& image, const std::string& digest, const LeafOf& leaf) {
    const auto entry = begin(image);
    if (!entry || !entry->digest.empty()) {
        return entry ? Result<void>() : std::unexpected(entry.error());
    }
    const std::uint64_t chunks = chunk_count(image.size);
    for (std::uint64_t first = 0; first < chunks; first += kRun) {
        DigestTree::Leaves run;
        for (std::uint64_t chunk = first; chunk < std::min(first + kRun, chunks); ++chunk) {
            const auto known = leaf(chunk);
            if (!known) {
                return fail(Errc::invalid, fmt::format("the digest of chunk {} is missing", chunk));
            }
            run.push_back(*known);
        }
        if (auto added = add(entry->id, first, run); !added) {
            return added;
        }
    }
    return finish(entry->id, digest);
}

Result<void> DigestStore::note_reading(std::int64_t id, std::uint64_t chunks, std::int64_t read) {
    const std::lock_guard lock(mutex_);
    start_call();
    connection_->use(kReadingSql).bind(signed_of(chunks)).bind(read).bind(id).run();
    return settled();
}

Result<DigestTree::Leaves> DigestStore::leaves(std::int64_t id, std::uint64_t first) {
    const std::lock_guard lock(mutex_);
    start_call();
    Statement row = connection_->use(kLeavesSql);
    row.bind(id).bind(signed_of(first));
    const bool there = row.step();
    const std::string_view bytes = there ? row.blob(0).value_or("") : "";
    if (auto status = settled(); !status) {
        return std::unexpected(status.error());
    }
    if (bytes.empty() || bytes.size() % kLeafBytes != 0 || bytes.size() > kRun * kLeafBytes) {
        return fail(Errc::not_found, "these chunk digests are not there any more");
    }
    DigestTree::Leaves leaves(bytes.size() / kLeafBytes);
    std::memcpy(leaves.data(), bytes.data(), bytes.size());
    return leaves;
}

Result<void> DigestStore::forget(std::int64_t before) {
    const std::lock_guard lock(mutex_);
    start_call();
    connection_->use(kForgetSql).bind(before).run();
    return settled();
}

}  // namespace signpost
