// SPDX-License-Identifier: BSD-3-Clause
//
// A thin layer over SQLite's C interface: a connection, a statement in use, a transaction.
//
// The first failure of a connection sticks to it: statements then do nothing, and status() or
// commit() give the failure as an Error. So code that runs several statements reads straight on and
// cannot forget a failure, because it cannot commit over it.
//
// Never open or close the database file by other means while a connection is open in the same
// process: closing any descriptor of a file drops the POSIX locks that SQLite holds on it.
//
// Lifetime: statements and transactions end before their connection. Threads: one at a time. A
// connection is not carried across fork.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "catalog/error.h"
#include "catalog/store_rows.h"

struct sqlite3;
struct sqlite3_stmt;

namespace signpost {

// What tells one file from another that took its path.
struct FileStamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t size = 0;
    std::int64_t modified_ns = 0;

    bool same_file(const FileStamp& other) const {
        return device == other.device && inode == other.inode;
    }
    bool operator==(const FileStamp&) const = default;
};

// not_found when there is none, invalid when it is no regular file, denied, io.
Result<FileStamp> stamp_file(const std::string& path);

inline constexpr int kCacheKib = 8192;

class Statement;

class Connection {
   public:
    enum class Access {
        read_write,  // read-only when the file is
        read_only,
        immutable,  // without locks: nobody else may be able to write
    };
    using Time = std::chrono::steady_clock::time_point;

    // PATH is absolute. What can only be found by reading the file (that it is none of SQLite's) is
    // found by the first statement. Its settings read the file already, so they, too, may have to
    // wait for a process that repairs or removes the log.
    static Result<std::unique_ptr<Connection>> open(const std::string& path, Access access,
                                                    Time lock_deadline);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    // SQL must live as long as the connection (a constant): the prepared statement is kept. It is
    // ready for use again when the Statement is gone.
    Statement use(std::string_view sql);

    // How much of the file is kept in memory; at first kCacheKib.
    void set_cache_kib(int size);

    // For one-off scripts: pragmas and migrations.
    void run(const std::string& sql);

    Result<void> status() const;
    bool failed() const { return code_ != 0; }
    // The failure was another's lock or a deadline: the connection is as good as before.
    bool was_busy() const;
    // The failure says that the file cannot be used for writing, or its shared memory not be made.
    bool needs_immutable() const;
    void clear_failure() { code_ = 0; }
    // What was read cannot be right: fails the connection.
    void note_damage(std::string detail);

    // Waiting for another process's lock ends with unavailable at this time.
    void set_lock_deadline(Time deadline) { lock_deadline_ = deadline; }
    // So does work; nothing: it may take as long as it takes.
    void set_work_deadline(std::optional<Time> deadline) { work_deadline_ = deadline; }

    bool is_read_only() const;
    // False when another file has taken the path, the file is gone, or somebody writes to what was
    // opened as immutable.
    bool is_current() const;

    std::int64_t changed_rows() const;
    std::int64_t last_row_id() const;
    const std::string& path() const { return path_; }

   private:
    friend class Statement;
    friend class Transaction;

    Connection(std::string path, Access access, FileStamp stamp, Time lock_deadline)
        : path_(std::move(path)), access_(access), stamp_(stamp), lock_deadline_(lock_deadline) {}

    void note(int code);
    void roll_back();
    void configure();
    static int on_busy(void* self, int calls);
    static int on_progress(void* self);

    std::string path_;
    Access access_;
    FileStamp stamp_;
    sqlite3* db_ = nullptr;
    std::map<const char*, sqlite3_stmt*> statements_;
    Time lock_deadline_;
    std::optional<Time> work_deadline_;
    std::minstd_rand naps_{std::random_device{}()};
    int code_ = 0;  // the first failure, an extended result code
    int errno_ = 0;
    std::string detail_;
};

// A prepared statement in use. Bound text must stay where it is until the Statement is gone.
class Statement : public StoreRow {
   public:
    Statement(Connection& connection, sqlite3_stmt* statement)
        : connection_(connection), statement_(statement) {}
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;
    ~Statement() override;

    // In the order of the statement's parameters.
    Statement& bind(std::int64_t value);
    Statement& bind(std::string_view text);
    Statement& bind_blob(std::string_view bytes);
    Statement& bind_null();

    // True when there is a row; false at the end and after a failure.
    bool step();
    // For statements that give no row.
    void run() { static_cast<void>(step()); }
    // Ready to be bound and run once more.
    void reset();

    std::optional<std::int64_t> integer(int column) const override;
    std::optional<std::string_view> text(int column) const override;
    std::optional<std::string_view> blob(int column) const override;
    bool is_null(int column) const override;

   private:
    int next_parameter() { return ++bound_; }

    Connection& connection_;
    sqlite3_stmt* statement_;  // null after a failure
    int bound_ = 0;
};

// Rolled back unless committed.
class Transaction {
   public:
    explicit Transaction(Connection& connection) : connection_(connection) {}
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    ~Transaction();

    Result<void> begin_read();   // what is read is of one moment
    Result<void> begin_write();  // waits for other writers
    Result<void> commit();

   private:
    Result<void> begin(std::string_view sql);

    Connection& connection_;
    bool open_ = false;
};

}  // namespace signpost
