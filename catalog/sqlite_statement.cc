// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_statement.h"

#include <errno.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <thread>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

constexpr int kProgressSteps = 4000;     // some ten microseconds
constexpr int kMaxValueBytes = 1 << 20;  // far more than any field may have

// Between two looks at a lock that another process has. At random, so that those who wait for it
// do not look in step; short beside the time for which SqliteCatalog leaves it free.
constexpr std::chrono::microseconds kShortestNap{500};
constexpr std::chrono::microseconds kLongestNap{4000};

// A setting that every connection needs, whoever made the file: what it holds is not trusted.
constexpr const char* kConnectionPragmas =
    "PRAGMA foreign_keys = ON;"
    "PRAGMA synchronous = FULL;"
    "PRAGMA cell_size_check = ON;"
    "PRAGMA temp_store = MEMORY;"
    "PRAGMA journal_size_limit = 67108864;";

std::string file_uri(const std::string& path, bool immutable) {
    std::string uri = "file://";
    for (const char c : path) {
        if (c == '%' || c == '?' || c == '#')
            uri += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        else
            uri += c;
    }
    return immutable ? uri + "?immutable=1" : uri;
}

bool is_full(int error) {
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

bool is_denied(int error) {
    return error == EACCES || error == EPERM || error == EROFS;
}

struct Diagnosis {
    Errc code;
    std::string_view what;
    std::string_view remedy;
};

constexpr Diagnosis kBusy{Errc::unavailable, "is busy or too slow", "try again"};
constexpr Diagnosis kFull{Errc::full, "cannot grow, no space is left",
                          "free some space; nothing was changed"};
constexpr Diagnosis kDenied{Errc::denied, "cannot be written",
                            "give this user write permission on the file and its directory"};
constexpr Diagnosis kCorrupt{
    Errc::corrupt, "is damaged or no Signpost catalog",
    "move it away with its -wal and -shm files, and put a copy back or let servers fill a new one"};
constexpr Diagnosis kGone{Errc::not_found, "is not there", "check its path"};
constexpr Diagnosis kIo{Errc::io, "cannot be read or written", "see the kernel's log"};

Diagnosis diagnose(int code, int error) {
    switch (code & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
        case SQLITE_PROTOCOL:
        case SQLITE_INTERRUPT:
            return kBusy;
        case SQLITE_FULL:
            return kFull;
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_AUTH:
            return kDenied;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
        case SQLITE_ERROR:
        case SQLITE_CONSTRAINT:
        case SQLITE_MISMATCH:
        case SQLITE_SCHEMA:
        case SQLITE_TOOBIG:
            return kCorrupt;
        default:
            break;
    }
    if (is_full(error))
        return kFull;
    if (is_denied(error))
        return kDenied;
    return code == SQLITE_CANTOPEN && error == ENOENT ? kGone : kIo;
}

Error describe(const std::string& path, int code, int error, std::string_view detail) {
    const Diagnosis found = diagnose(code, error);
    std::string cause = escaped(detail);
    if (error != 0 && found.code != Errc::unavailable && found.code != Errc::corrupt)
        cause += fmt::format(", {}", strerror(error));
    return {found.code,
            fmt::format("catalog {} {} ({}); {}", escaped(path), found.what, cause, found.remedy)};
}

std::int64_t nanoseconds(const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

int open_flags(Connection::Access access) {
    const int common = SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    return common | (access == Connection::Access::read_write ? SQLITE_OPEN_READWRITE
                                                              : SQLITE_OPEN_READONLY);
}

}  // namespace

Result<FileStamp> stamp_file(const std::string& path) {
    struct stat status;
    if (stat(path.c_str(), &status) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return fail(Errc::not_found, fmt::format("catalog {} is not there; check its path, or "
                                                     "start a server, which makes it",
                                                     escaped(path)));
        return fail(is_denied(errno) ? Errc::denied : Errc::io,
                    fmt::format("catalog {} cannot be reached: {}; check the permissions of its "
                                "directories",
                                escaped(path), strerror(errno)));
    }
    if (!S_ISREG(status.st_mode))
        return fail(Errc::invalid,
                    fmt::format("catalog {} is not a regular file; name a file", escaped(path)));
    return FileStamp{status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim)};
}

Result<std::unique_ptr<Connection>> Connection::open(const std::string& path, Access access,
                                                     Time lock_deadline) {
    const auto stamp = stamp_file(path);
    if (!stamp)
        return std::unexpected(stamp.error());
    std::unique_ptr<Connection> made(new Connection(path, access, *stamp, lock_deadline));
    const std::string uri = file_uri(path, access == Access::immutable);
    const int code = sqlite3_open_v2(uri.c_str(), &made->db_, open_flags(access), nullptr);
    if (code != SQLITE_OK) {
        made->note(code);
        return std::unexpected(made->status().error());
    }
    made->configure();
    return made;
}

void Connection::configure() {
    sqlite3_busy_handler(db_, on_busy, this);
    sqlite3_progress_handler(db_, kProgressSteps, on_progress, this);
    sqlite3_limit(db_, SQLITE_LIMIT_LENGTH, kMaxValueBytes);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    run(kConnectionPragmas);
    set_cache_kib(kCacheKib);
}

void Connection::set_cache_kib(int size) {
    run(fmt::format("PRAGMA cache_size = -{}", size));
}

Connection::~Connection() {
    for (const auto& [sql, statement] : statements_)
        sqlite3_finalize(statement);
    sqlite3_close(db_);
}

int Connection::on_progress(void* self) {
    const auto& deadline = static_cast<Connection*>(self)->work_deadline_;
    return deadline && std::chrono::steady_clock::now() > *deadline ? 1 : 0;
}

// Asked by SQLite, which cannot wait on another process's lock, whether to try once more.
int Connection::on_busy(void* self, int /*calls*/) {
    auto& connection = *static_cast<Connection*>(self);
    const auto left = connection.lock_deadline_ - std::chrono::steady_clock::now();
    if (left <= left.zero())
        return 0;
    std::uniform_int_distribution nap(kShortestNap.count(), kLongestNap.count());
    const std::chrono::microseconds pause(nap(connection.naps_));
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(pause, left));
    return 1;
}

void Connection::note(int code) {
    if (code_ != 0)
        return;
    const int last_error = errno;
    code_ = code;
    const int primary = code & 0xff;
    const bool from_system = primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN;
    errno_ = from_system && db_ != nullptr ? sqlite3_system_errno(db_) : 0;
    // SQLite does not keep the cause of a failed commit, and calls only ENOSPC a full disk.
    if (from_system && errno_ == 0 && is_full(last_error))
        errno_ = last_error;
    detail_ = db_ != nullptr ? sqlite3_errmsg(db_) : sqlite3_errstr(code);
}

void Connection::note_damage(std::string detail) {
    if (code_ != 0)
        return;
    code_ = SQLITE_CORRUPT;
    errno_ = 0;
    detail_ = std::move(detail);
}

Result<void> Connection::status() const {
    if (code_ == 0)
        return {};
    return std::unexpected(describe(path_, code_, errno_, detail_));
}

bool Connection::was_busy() const {
    return code_ != 0 && diagnose(code_, errno_).code == Errc::unavailable;
}

bool Connection::needs_immutable() const {
    const int primary = code_ & 0xff;
    return primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY || primary == SQLITE_FULL ||
           (primary == SQLITE_IOERR && (is_full(errno_) || is_denied(errno_)));
}

bool Connection::is_read_only() const {
    return access_ != Access::read_write || sqlite3_db_readonly(db_, "main") != 0;
}

bool Connection::is_current() const {
    const auto now = stamp_file(path_);
    if (!now || !now->same_file(stamp_))
        return false;
    if (access_ != Access::immutable)
        return true;
    const auto log = stamp_file(path_ + "-wal");
    return *now == stamp_ && (!log || log->size == 0);
}

std::int64_t Connection::changed_rows() const {
    return sqlite3_changes64(db_);
}

std::int64_t Connection::last_row_id() const {
    return sqlite3_last_insert_rowid(db_);
}

void Connection::run(const std::string& sql) {
    if (code_ != 0)
        return;
    if (const int code = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
        code != SQLITE_OK)
        note(code);
}

// Also after a failure, which stays noted; SQLite may then have rolled back by itself.
void Connection::roll_back() {
    if (sqlite3_get_autocommit(db_) != 0)
        return;
    work_deadline_.reset();
    if (const int code = sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
        code != SQLITE_OK)
        note(code);
}

Statement Connection::use(std::string_view sql) {
    if (code_ != 0)
        return Statement(*this, nullptr);
    sqlite3_stmt*& statement = statements_[sql.data()];
    if (statement == nullptr) {
        const int code = sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                                            SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
        if (code != SQLITE_OK)
            note(code);
    }
    return Statement(*this, statement);
}

Statement::~Statement() {
    reset();
}

void Statement::reset() {
    if (statement_ == nullptr)
        return;
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
    bound_ = 0;
}

Statement& Statement::bind(std::int64_t value) {
    if (statement_ != nullptr)
        sqlite3_bind_int64(statement_, next_parameter(), value);
    return *this;
}

Statement& Statement::bind(std::string_view text) {
    // A null pointer would bind NULL.
    const char* data = text.data() == nullptr ? "" : text.data();
    if (statement_ != nullptr)
        sqlite3_bind_text64(statement_, next_parameter(), data, text.size(), SQLITE_STATIC,
                            SQLITE_UTF8);
    return *this;
}

Statement& Statement::bind_blob(std::string_view bytes) {
    const char* data = bytes.data() == nullptr ? "" : bytes.data();
    if (statement_ != nullptr)
        sqlite3_bind_blob64(statement_, next_parameter(), data, bytes.size(), SQLITE_STATIC);
    return *this;
}

Statement& Statement::bind_null() {
    if (statement_ != nullptr)
        sqlite3_bind_null(statement_, next_parameter());
    return *this;
}

bool Statement::step() {
    if (statement_ == nullptr || connection_.failed())
        return false;
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        connection_.note(code);
    return code == SQLITE_ROW;
}

std::optional<std::int64_t> Statement::integer(int column) const {
    if (sqlite3_column_type(statement_, column) != SQLITE_INTEGER)
        return std::nullopt;
    return sqlite3_column_int64(statement_, column);
}

std::optional<std::string_view> Statement::text(int column) const {
    if (sqlite3_column_type(statement_, column) != SQLITE_TEXT)
        return std::nullopt;
    const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    if (data == nullptr)
        return std::nullopt;
    return std::string_view(data,
                            static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

std::optional<std::string_view> Statement::blob(int column) const {
    if (sqlite3_column_type(statement_, column) != SQLITE_BLOB)
        return std::nullopt;
    const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
    return data == nullptr ? std::string_view("") : std::string_view(data, size);
}

bool Statement::is_null(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Transaction::~Transaction() {
    if (open_)
        connection_.roll_back();
}

Result<void> Transaction::begin_read() {
    return begin("BEGIN");
}

Result<void> Transaction::begin_write() {
    return begin("BEGIN IMMEDIATE");
}

Result<void> Transaction::begin(std::string_view sql) {
    connection_.run(std::string(sql));
    open_ = !connection_.failed();
    return connection_.status();
}

Result<void> Transaction::commit() {
    connection_.run("COMMIT");
    open_ = connection_.failed();
    return connection_.status();
}

}  // namespace signpost
