// SPDX-License-Identifier: BSD-3-Clause
//
// A thin layer over libpq: a connection to one PostgreSQL server, its statements, their answers.
//
// Only libpq's non-blocking half is used, in its pipeline mode: statements are queued, and what is
// queued travels together with the next one that is run. Every wait ends at the deadline; the
// connection is then of no use any more, because nobody knows what it would say next. (PQcancel
// blocks, so it is not used: the server ends the statement itself, see set_call.)
//
// The first failure sticks: queue and run then do nothing, and status() tells what it was. So code
// that runs several statements reads straight on and cannot commit over a failure.
//
// Lifetime: answers may outlive their connection. Threads: one at a time. Not carried across fork.

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/postgres_uri.h"
#include "catalog/store_rows.h"

struct pg_conn;
struct pg_result;

namespace signpost {

// A statement's constant text. With a name it is prepared once per connection; without one it is
// planned for the values that it gets, each time.
struct PostgresStatement {
    const char* name;
    const char* text;
};

// Values for $1, $2 and so on, as text, which is what libpq sends anyway. No NUL bytes.
class PostgresParameters {
   public:
    PostgresParameters& add(std::int64_t value);
    PostgresParameters& add(std::string_view text);
    PostgresParameters& add(std::optional<std::int64_t> value);

    std::vector<const char*> pointers() const;
    std::size_t bytes() const { return bytes_; }

   private:
    std::vector<std::optional<std::string>> values_;
    std::size_t bytes_ = 0;
};

// An array, as a parameter's text: one statement for thousands of rows.
class PostgresArray {
   public:
    void add(std::int64_t value);
    void add(std::string_view text);
    std::string text() const { return text_ + "}"; }

   private:
    void separate();

    std::string text_ = "{";
};

// What a statement answered: its rows, all in memory. Empty after a failure.
class PostgresAnswer {
   public:
    PostgresAnswer() = default;
    explicit PostgresAnswer(pg_result* result) : result_(result) {}

    int rows() const;
    std::int64_t changed_rows() const;
    // Nothing for NULL, and for an integer when it is none of 64 bits.
    std::optional<std::string_view> text(int row, int column) const;
    std::optional<std::int64_t> integer(int row, int column) const;

   private:
    struct Clear {
        void operator()(pg_result* result) const;
    };
    std::unique_ptr<pg_result, Clear> result_;
};

// What went wrong. HUNG and LOST end the connection.
struct PostgresFailure {
    enum class Kind { refused, lost, hung };
    Kind kind = Kind::refused;
    std::string state;  // SQLSTATE; empty when libpq itself speaks
    std::string text;   // not safe to show as it is
};

class PostgresConnection {
   public:
    using Time = std::chrono::steady_clock::time_point;

    // Takes CONN, which is connected.
    PostgresConnection(pg_conn* conn, std::shared_ptr<const PostgresTarget> target);
    PostgresConnection(const PostgresConnection&) = delete;
    PostgresConnection& operator=(const PostgresConnection&) = delete;
    ~PostgresConnection();

    // For what follows: our deadline, and how long the server may work on one statement. The server
    // gives up a little earlier, so that one that is merely busy says so, and is told from one that
    // hangs.
    void set_call(Time deadline, std::chrono::milliseconds work);
    void set_deadline(Time deadline) { deadline_ = deadline; }

    // Settings of ours, and whether it is a standby: once, when it is new.
    void configure();
    bool is_standby() const { return standby_; }
    const std::string& server_encoding() const { return encoding_; }

    // Sent with the next run; its answer is not kept, its failure is. PARAMETERS may go.
    void queue(const PostgresStatement& statement, const PostgresParameters& parameters = {});
    PostgresAnswer run(const PostgresStatement& statement,
                       const PostgresParameters& parameters = {});
    // Several statements in one text, without parameters: migrations.
    void run_script(std::string_view script);

    // Ends the transaction, if there is one, also after a failure, which stays noted.
    void roll_back();

    bool failed() const { return failure_.has_value(); }
    const std::optional<PostgresFailure>& failure() const { return failure_; }
    Result<void> status() const;
    // Says that what was read cannot be right: fails the connection as corrupt.
    void note_damage(std::string what);
    void clear_failure() { failure_.reset(); }
    void note_again(PostgresFailure failure) { note(std::move(failure)); }

    // The connection may serve again once its failure is cleared.
    bool is_reusable() const;
    // The same call on a fresh connection may succeed.
    bool is_worth_another_try() const;
    // The server answers no more, or closed the connection: others to it may be as bad.
    bool says_trouble() const;
    // Without waiting: nothing has come that nobody asked for, such as the end.
    bool is_alive();

    // Waits for another session's NOTIFY, at most for LIMIT. OVER: the connection is lost, or STOP,
    // a descriptor, can be read.
    enum class Notice { came, none, over };
    Notice await_notice(std::chrono::milliseconds limit, int stop);

    // Whoever lends it: what has been looked at since it was new, and when it was used last.
    bool schema_checked = false;
    Time last_used{};
    std::size_t host = 0;  // its number in the target

    const PostgresTarget& target() const { return *target_; }

   private:
    void send_prepare(const PostgresStatement& statement);
    void set_timeout();
    PostgresAnswer finish();
    bool take_result(pg_result* result, PostgresAnswer& last);
    bool flush();
    bool wait(short events);
    bool wait_for_result();
    void note_lost();
    void note_refused(const pg_result* result);
    void note(PostgresFailure failure);

    pg_conn* const conn_;
    const std::shared_ptr<const PostgresTarget> target_;
    Time deadline_{};
    std::chrono::milliseconds work_{0};
    std::chrono::milliseconds server_timeout_{0};  // what the server was told; 0: unknown
    bool standby_ = false;
    std::string encoding_;
    std::set<const char*> prepared_;
    std::deque<const char*> pending_;  // each queued command: the name it prepares, or null
    std::optional<PostgresFailure> failure_;
    bool damaged_ = false;
};

// How a failure reads: "catalog URL WHAT (CAUSE); REMEDY".
Error describe(const PostgresTarget& target, const PostgresFailure& failure);

}  // namespace signpost
