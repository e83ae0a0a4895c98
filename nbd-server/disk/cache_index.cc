// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/cache_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

#include "catalog/disk_name.h"
#include "catalog/sqlite_statement.h"
#include "nbd-server/disk/database_file.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kLockWait{5};
constexpr std::size_t kMaxKey = 8192;
constexpr std::size_t kSumBytes = sizeof(BlockSums);
constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 62;

constexpr std::int64_t kVersion = 1;
constexpr const char* kSetUp =
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = FULL;";
constexpr const char* kSchema = R"(
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS content (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    disk TEXT NOT NULL,
    size INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS chunk (
    content_id INTEGER NOT NULL REFERENCES content (id) ON DELETE CASCADE,
    chunk INTEGER NOT NULL,
    present BLOB NOT NULL,
    zero BLOB NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (content_id, chunk)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sums (
    content_id INTEGER NOT NULL REFERENCES content (id) ON DELETE CASCADE,
    chunk INTEGER NOT NULL,
    sums BLOB NOT NULL,
    PRIMARY KEY (content_id, chunk)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tally (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    hit INTEGER NOT NULL,
    fetched INTEGER NOT NULL
) STRICT;
PRAGMA user_version = 1;
COMMIT;
)";

constexpr std::string_view kVersionSql = "PRAGMA user_version";
constexpr std::string_view kContentsSql = "SELECT id, key, disk, size FROM content";
constexpr std::string_view kChunksSql = "SELECT content_id, chunk, present, zero, used FROM chunk";
constexpr std::string_view kFindSql = "SELECT id, key, disk, size FROM content WHERE key = ?";
constexpr std::string_view kBeginSql =
    "INSERT INTO content (key, disk, size) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET disk = excluded.disk";
constexpr std::string_view kRenameSql = "UPDATE content SET key = ? WHERE id = ?";
constexpr std::string_view kRemoveContentSql = "DELETE FROM content WHERE id = ?";
constexpr std::string_view kStoreSql =
    "INSERT INTO chunk (content_id, chunk, present, zero, used) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (content_id, chunk) DO UPDATE SET present = excluded.present,"
    " zero = excluded.zero, used = excluded.used";
constexpr std::string_view kSumsSql = "SELECT sums FROM sums WHERE content_id = ? AND chunk = ?";
constexpr std::string_view kStoreSumsSql =
    "INSERT INTO sums (content_id, chunk, sums) VALUES (?, ?, ?)"
    " ON CONFLICT (content_id, chunk) DO UPDATE SET sums = excluded.sums";
constexpr std::string_view kRemoveSql = "DELETE FROM chunk WHERE content_id = ? AND chunk = ?";
constexpr std::string_view kRemoveSumsSql = "DELETE FROM sums WHERE content_id = ? AND chunk = ?";
constexpr std::string_view kTallySql = "SELECT hit, fetched FROM tally";
constexpr std::string_view kSetTallySql =
    "INSERT INTO tally (one, hit, fetched) VALUES (1, ?, ?)"
    " ON CONFLICT (one) DO UPDATE SET hit = excluded.hit, fetched = excluded.fetched";

std::int64_t signed_of(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}

std::uint64_t unsigned_in(const Statement& row, int column) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(row.integer(column).value_or(0), 0));
}

Result<std::unique_ptr<Connection>> open_file(const std::string& path, Connection::Access access) {
    const auto until = std::chrono::steady_clock::now() + kLockWait;
    auto connection = Connection::open(path, access, until);
    if (!connection) {
        return connection;
    }
    Connection& db = **connection;
    if (access == Connection::Access::read_write) {
        db.run(kSetUp);
    }
    std::int64_t version = 0;
    {
        Statement found = db.use(kVersionSql);
        version = found.step() ? found.integer(0).value_or(0) : 0;
    }
    if (version != kVersion && (version != 0 || access != Connection::Access::read_write)) {
        return fail(Errc::corrupt, fmt::format("{} was made by another release", escaped(path)));
    }
    if (access == Connection::Access::read_write) {
        db.run(kSchema);
    }
    if (auto status = db.status(); !status) {
        return std::unexpected(status.error());
    }
    return connection;
}

std::optional<CacheIndex::Content> content_in(const Statement& row) {
    CacheIndex::Content content;
    content.id = row.integer(0).value_or(0);
    content.key = row.text(1).value_or("");
    content.disk = row.text(2).value_or("");
    content.size = unsigned_in(row, 3);
    const bool good = content.id > 0 && !content.key.empty() && content.key.size() <= kMaxKey &&
                      content.size > 0 && content.size <= kMaxSize;
    return good ? std::optional(std::move(content)) : std::nullopt;
}

}  // namespace

CacheIndex::CacheIndex(std::unique_ptr<Connection> connection)
    : connection_(std::move(connection)) {}

CacheIndex::~CacheIndex() = default;

Result<std::unique_ptr<CacheIndex>> CacheIndex::open(const std::string& path, Log& log) {
    const auto attempt = [&]() -> Result<std::unique_ptr<Connection>> {
        if (auto made = make_database_file(path); !made) {
            return std::unexpected(made.error());
        }
        return open_file(path, Connection::Access::read_write);
    };
    auto connection = attempt();
    if (!connection && connection.error().code == Errc::corrupt) {
        log.error(fmt::format("{} is begun anew, and the cache is filled again: {}", escaped(path),
                              connection.error().message));
        remove_database_file(path);
        connection = attempt();
    }
    if (!connection) {
        return std::unexpected(connection.error());
    }
    return std::unique_ptr<CacheIndex>(new CacheIndex(std::move(*connection)));
}

Result<std::unique_ptr<CacheIndex>> CacheIndex::open_to_read(const std::string& path) {
    auto connection = open_file(path, Connection::Access::read_only);
    if (!connection) {
        return std::unexpected(connection.error());
    }
    return std::unique_ptr<CacheIndex>(new CacheIndex(std::move(*connection)));
}

// One bad moment (a full disk, another's lock) is not the end of the connection.
void CacheIndex::start_call() {
    connection_->clear_failure();
    connection_->set_lock_deadline(std::chrono::steady_clock::now() + kLockWait);
}

Result<std::vector<CacheIndex::Content>> CacheIndex::contents() {
    const std::lock_guard lock(mutex_);
    start_call();
    std::vector<Content> found;
    Statement row = connection_->use(kContentsSql);
    while (row.step()) {
        if (auto content = content_in(row)) {
            found.push_back(std::move(*content));
        }
    }
    auto status = connection_->status();
    return status ? Result<std::vector<Content>>(std::move(found))
                  : std::unexpected(status.error());
}

Result<void> CacheIndex::each_chunk(const std::function<void(const Chunk&)>& take) {
    const std::lock_guard lock(mutex_);
    start_call();
    Statement row = connection_->use(kChunksSql);
    while (row.step()) {
        const auto present = BlockBits::from(row.blob(2).value_or(""));
        const auto zero = BlockBits::from(row.blob(3).value_or(""));
        if (present && zero) {
            take({.content = row.integer(0).value_or(0),
                  .index = unsigned_in(row, 1),
                  .present = *present,
                  .zero = *zero & *present,
                  .used = unsigned_in(row, 4)});
        }
    }
    return connection_->status();
}

Result<CacheIndex::Content> CacheIndex::begin(const Content& wanted) {
    if (wanted.key.empty() || wanted.key.size() > kMaxKey || wanted.size == 0 ||
        wanted.size > kMaxSize) {
        return fail(Errc::invalid, "this content cannot be kept in a cache");
    }
    const std::lock_guard lock(mutex_);
    start_call();
    connection_->use(kBeginSql)
        .bind(wanted.key)
        .bind(wanted.disk)
        .bind(signed_of(wanted.size))
        .run();
    std::optional<Content> found;
    {
        Statement row = connection_->use(kFindSql);
        row.bind(wanted.key);
        found = row.step() ? content_in(row) : std::nullopt;
    }
    if (auto status = connection_->status(); !status) {
        return std::unexpected(status.error());
    }
    if (!found || found->size != wanted.size) {
        return fail(Errc::corrupt, "the cache has another size for this content");
    }
    return *found;
}

Result<void> CacheIndex::rename(std::int64_t id, const std::string& key) {
    const std::lock_guard lock(mutex_);
    start_call();
    connection_->use(kRenameSql).bind(key).bind(id).run();
    return connection_->status();
}

Result<void> CacheIndex::remove(std::int64_t id) {
    const std::lock_guard lock(mutex_);
    start_call();
    connection_->use(kRemoveContentSql).bind(id).run();
    return connection_->status();
}

Result<void> CacheIndex::store(std::span<const Change> changes) {
    const std::lock_guard lock(mutex_);
    start_call();
    Transaction transaction(*connection_);
    if (auto begun = transaction.begin_write(); !begun) {
        return begun;
    }
    for (const Change& change : changes) {
        store_one(change);
    }
    return transaction.commit();
}

void CacheIndex::store_one(const Change& change) {
    const Chunk& chunk = change.chunk;
    connection_->use(kStoreSql)
        .bind(chunk.content)
        .bind(signed_of(chunk.index))
        .bind_blob(chunk.present.bytes())
        .bind_blob(chunk.zero.bytes())
        .bind(signed_of(chunk.used))
        .run();
    if (change.sums.empty()) {
        return;
    }
    BlockSums sums{};
    {
        Statement row = connection_->use(kSumsSql);
        row.bind(chunk.content).bind(signed_of(chunk.index));
        const auto known = row.step() ? row.blob(0).value_or("") : "";
        if (known.size() == kSumBytes) {
            std::memcpy(sums.data(), known.data(), kSumBytes);
        }
    }
    for (const auto& [block, sum] : change.sums) {
        sums[block] = sum;
    }
    connection_->use(kStoreSumsSql)
        .bind(chunk.content)
        .bind(signed_of(chunk.index))
        .bind_blob({reinterpret_cast<const char*>(sums.data()), kSumBytes})
        .run();
}

Result<void> CacheIndex::remove(std::span<const std::pair<std::int64_t, std::uint64_t>> chunks) {
    const std::lock_guard lock(mutex_);
    start_call();
    Transaction transaction(*connection_);
    if (auto begun = transaction.begin_write(); !begun) {
        return begun;
    }
    for (const auto& [content, chunk] : chunks) {
        connection_->use(kRemoveSql).bind(content).bind(signed_of(chunk)).run();
        connection_->use(kRemoveSumsSql).bind(content).bind(signed_of(chunk)).run();
    }
    return transaction.commit();
}

Result<BlockSums> CacheIndex::sums(std::int64_t content, std::uint64_t chunk) {
    const std::lock_guard lock(mutex_);
    start_call();
    Statement row = connection_->use(kSumsSql);
    row.bind(content).bind(signed_of(chunk));
    const auto known = row.step() ? row.blob(0).value_or("") : "";
    if (auto status = connection_->status(); !status) {
        return std::unexpected(status.error());
    }
    if (known.size() != kSumBytes) {
        return fail(Errc::not_found, "there are no checksums of this chunk");
    }
    BlockSums sums{};
    std::memcpy(sums.data(), known.data(), kSumBytes);
    return sums;
}

Result<CacheIndex::Tally> CacheIndex::tally() {
    const std::lock_guard lock(mutex_);
    start_call();
    Tally tally;
    {
        Statement row = connection_->use(kTallySql);
        if (row.step()) {
            tally = {unsigned_in(row, 0), unsigned_in(row, 1)};
        }
    }
    auto status = connection_->status();
    return status ? Result<Tally>(tally) : std::unexpected(status.error());
}

Result<void> CacheIndex::set_tally(const Tally& tally) {
    const std::lock_guard lock(mutex_);
    start_call();
    connection_->use(kSetTallySql).bind(signed_of(tally.hit)).bind(signed_of(tally.fetched)).run();
    return connection_->status();
}

}  // namespace signpost
