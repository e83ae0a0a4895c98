// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_connection.h"

#include <errno.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "catalog/postgres_queries.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

// A queued statement with more than this is sent at once, while the next one is made.
constexpr std::size_t kSendNow = 64 << 10;
// How much earlier than ours the server's time for a statement ends.
constexpr std::chrono::milliseconds kHeadStart{50};
constexpr std::chrono::milliseconds kRollBackWait{200};

struct Diagnosis {
    std::string_view state;  // an SQLSTATE, or the beginning of some
    Errc code;
    std::string_view what;
    std::string_view remedy;
};

// https://www.postgresql.org/docs/current/errcodes-appendix.html. The first that fits counts.
constexpr std::string_view kAgain = "try again";
constexpr std::string_view kServerLog = "see the database server's log";
constexpr std::string_view kOwner =
    "let the owner of its tables grant the role signpost_server, signpost_registrar or "
    "signpost_reader, or run: signpost catalog init";
constexpr std::array kDiagnoses{
    Diagnosis{"57014", Errc::unavailable, "is busy", kAgain},
    Diagnosis{"55P03", Errc::unavailable, "is busy", kAgain},
    Diagnosis{"40", Errc::unavailable, "is busy", kAgain},
    Diagnosis{"25006", Errc::denied, "is read-only",
              "name the primary in its URI, or let the role write"},
    Diagnosis{"25P03", Errc::unavailable, "ended a change that took too long", kAgain},
    Diagnosis{"57", Errc::unavailable, "is being stopped or started", "try again in a moment"},
    Diagnosis{"08", Errc::unavailable, "is out of reach", "try again in a moment"},
    Diagnosis{"53100", Errc::full, "has no space left", "make room on the database server"},
    Diagnosis{"53", Errc::unavailable, "is short of resources", kServerLog},
    Diagnosis{"42501", Errc::denied, "does not let this role do that", kOwner},
    Diagnosis{"22012", Errc::corrupt, "has lost its change sequence",
              "put a backup of signpost.catalog_state back"},
    Diagnosis{"42", Errc::corrupt, "has not the tables of this release",
              "put a backup of the schema signpost back, or drop it and let servers fill it anew"},
    Diagnosis{"3F", Errc::corrupt, "has not the tables of this release",
              "put a backup of the schema signpost back, or drop it and let servers fill it anew"},
    Diagnosis{"XX001", Errc::corrupt, "is damaged", kServerLog},
    Diagnosis{"XX002", Errc::corrupt, "is damaged", kServerLog},
    Diagnosis{"", Errc::io, "failed", kServerLog},
};

// A standby in place of the primary, a stopped server, a plan or statement that the server does not
// know any more: a fresh connection, or the same moment later, may do better.
constexpr std::array<std::string_view, 10> kWorthAnotherTry{
    "40001", "40P01", "57P01", "57P02", "57P03", "25006", "25P03", "0A000", "26000", "23505"};
// Of these the connection is as good as before.
constexpr std::array<std::string_view, 3> kOnlyUnlucky{"40001", "40P01", "23505"};

const Diagnosis& diagnose(std::string_view state) {
    return *std::find_if(kDiagnoses.begin(), kDiagnoses.end(),
                         [&](const Diagnosis& each) { return state.starts_with(each.state); });
}

template <class List>
bool is_in(const List& list, std::string_view state) {
    return std::find(list.begin(), list.end(), state) != list.end();
}

bool has_result(ExecStatusType status) {
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
}

std::string field(const pg_result* result, int code) {
    const char* value = PQresultErrorField(result, code);
    return value == nullptr ? "" : value;
}

}  // namespace

PostgresParameters& PostgresParameters::add(std::int64_t value) {
    return add(std::string_view(std::to_string(value)));
}

PostgresParameters& PostgresParameters::add(std::string_view text) {
    values_.emplace_back(text);
    bytes_ += text.size();
    return *this;
}

PostgresParameters& PostgresParameters::add(std::optional<std::int64_t> value) {
    if (value)
        return add(*value);
    values_.emplace_back(std::nullopt);
    return *this;
}

std::vector<const char*> PostgresParameters::pointers() const {
    std::vector<const char*> pointers;
    for (const auto& value : values_)
        pointers.push_back(value ? value->c_str() : nullptr);
    return pointers;
}

void PostgresArray::separate() {
    if (text_.size() > 1)
        text_ += ',';
}

void PostgresArray::add(std::int64_t value) {
    separate();
    text_ += std::to_string(value);
}

void PostgresArray::add(std::string_view text) {
    separate();
    text_ += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\')
            text_ += '\\';
        text_ += c;
    }
    text_ += '"';
}

void PostgresAnswer::Clear::operator()(pg_result* result) const {
    PQclear(result);
}

int PostgresAnswer::rows() const {
    return PQntuples(result_.get());
}

std::int64_t PostgresAnswer::changed_rows() const {
    const std::string_view text = result_ == nullptr ? "" : PQcmdTuples(result_.get());
    std::int64_t count = 0;
    std::from_chars(text.data(), text.data() + text.size(), count);
    return count;
}

std::optional<std::string_view> PostgresAnswer::text(int row, int column) const {
    if (row >= rows() || column >= PQnfields(result_.get()) ||
        PQgetisnull(result_.get(), row, column) != 0)
        return std::nullopt;
    return std::string_view(PQgetvalue(result_.get(), row, column),
                            static_cast<std::size_t>(PQgetlength(result_.get(), row, column)));
}

std::optional<std::int64_t> PostgresAnswer::integer(int row, int column) const {
    const auto digits = text(row, column);
    std::int64_t value = 0;
    if (!digits)
        return std::nullopt;
    const char* end = digits->data() + digits->size();
    const auto parsed = std::from_chars(digits->data(), end, value);
    return parsed.ec == std::errc() && parsed.ptr == end ? std::optional(value) : std::nullopt;
}

PostgresConnection::PostgresConnection(pg_conn* conn, std::shared_ptr<const PostgresTarget> target)
    : conn_(conn), target_(std::move(target)) {}

// The socket does not block, so this does not, either.
PostgresConnection::~PostgresConnection() {
    PQfinish(conn_);
}

void PostgresConnection::set_call(Time deadline, std::chrono::milliseconds work) {
    deadline_ = deadline;
    work_ = std::max(work - kHeadStart, work * 3 / 4);
}

void PostgresConnection::configure() {
    if (PQsetnonblocking(conn_, 1) != 0 || PQenterPipelineMode(conn_) != 1)
        return note_lost();
    const PostgresAnswer answer = run(pg::kConfigure);
    standby_ = answer.integer(0, 0).value_or(0) != 0;
    const char* encoding = PQparameterStatus(conn_, "server_encoding");
    encoding_ = encoding == nullptr ? "" : encoding;
}

void PostgresConnection::send_prepare(const PostgresStatement& statement) {
    if (PQsendPrepare(conn_, statement.name, statement.text, 0, nullptr) != 1)
        return note_lost();
    prepared_.insert(statement.name);
    pending_.push_back(statement.name);
}

// Travels with the statement that it is for.
void PostgresConnection::set_timeout() {
    if (work_ == server_timeout_)
        return;
    server_timeout_ = work_;
    queue(pg::kSetTimeout, PostgresParameters().add(fmt::format("{}ms", work_.count())));
}

void PostgresConnection::queue(const PostgresStatement& statement,
                               const PostgresParameters& parameters) {
    if (!failed())
        set_timeout();
    const bool named = statement.name[0] != '\0';
    if (!failed() && named && !prepared_.contains(statement.name))
        send_prepare(statement);
    if (failed())
        return;
    const auto values = parameters.pointers();
    const int count = static_cast<int>(values.size());
    const int sent = named ? PQsendQueryPrepared(conn_, statement.name, count, values.data(),
                                                 nullptr, nullptr, 0)
                           : PQsendQueryParams(conn_, statement.text, count, nullptr, values.data(),
                                               nullptr, nullptr, 0);
    if (sent != 1)
        return note_lost();
    pending_.push_back(nullptr);
    if (parameters.bytes() > kSendNow)
        flush();
}

PostgresAnswer PostgresConnection::run(const PostgresStatement& statement,
                                       const PostgresParameters& parameters) {
    queue(statement, parameters);
    return failed() ? PostgresAnswer() : finish();
}

// The extended protocol takes one statement at a time.
void PostgresConnection::run_script(std::string_view script) {
    while (!failed() && !script.empty()) {
        const auto end = script.find(";\n");
        const std::string statement(script.substr(0, end));
        queue({"", statement.c_str()});
        script.remove_prefix(end == std::string_view::npos ? script.size() : end + 2);
    }
    if (!failed())
        finish();
}

void PostgresConnection::roll_back() {
    const bool broken = failure_ && failure_->kind != PostgresFailure::Kind::refused;
    if (broken || PQtransactionStatus(conn_) == PQTRANS_IDLE)
        return;
    const auto first = std::exchange(failure_, std::nullopt);
    server_timeout_ = work_;  // not worth a statement now, but unknown afterwards
    set_deadline(std::max(deadline_, Clock::now() + kRollBackWait));
    run(pg::kRollBack);
    server_timeout_ = {};
    if (first && (!failure_ || failure_->kind == PostgresFailure::Kind::refused))
        failure_ = first;
}

// Everything that is queued, until the server says that it has seen it all.
PostgresAnswer PostgresConnection::finish() {
    PostgresAnswer last;
    if (PQpipelineSync(conn_) != 1)
        note_lost();
    if (failed() || !flush())
        return last;
    for (int gaps = 0; gaps < 3;) {
        if (!wait_for_result())
            return {};
        pg_result* const result = PQgetResult(conn_);
        gaps = result == nullptr ? gaps + 1 : 0;  // one after each command
        if (result != nullptr && take_result(result, last))
            return failed() ? PostgresAnswer() : std::move(last);
        if (failed() && failure_->kind != PostgresFailure::Kind::refused)
            return {};
    }
    note_lost();
    return {};
}

// True when that was the end.
bool PostgresConnection::take_result(pg_result* result, PostgresAnswer& last) {
    PostgresAnswer owned(result);
    const ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_PIPELINE_SYNC)
        return true;
    const char* const name = pending_.empty() ? nullptr : pending_.front();
    if (!pending_.empty())
        pending_.pop_front();
    if (has_result(status)) {
        last = std::move(owned);
        return false;
    }
    if (name != nullptr)
        prepared_.erase(name);
    if (PQstatus(conn_) == CONNECTION_BAD)
        note_lost();
    else if (status != PGRES_PIPELINE_ABORTED)
        note_refused(result);
    return false;
}

// What is queued goes out; meanwhile what comes in is taken, or both sides would wait.
bool PostgresConnection::flush() {
    for (;;) {
        const int left = PQflush(conn_);
        if (left == 0)
            return true;
        if (left < 0) {
            note_lost();
            return false;
        }
        if (!wait(POLLIN | POLLOUT))
            return false;
    }
}

bool PostgresConnection::wait_for_result() {
    while (PQisBusy(conn_) != 0)
        if (!wait(POLLIN))
            return false;
    if (PQstatus(conn_) == CONNECTION_BAD)
        note_lost();
    return true;
}

bool PostgresConnection::wait(short events) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now());
    if (left.count() <= 0) {
        note({PostgresFailure::Kind::hung, "", "no answer in time"});
        return false;
    }
    pollfd watched{PQsocket(conn_), events, 0};
    const int ready =
        poll(&watched, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
    if (ready < 0 && errno != EINTR) {
        note({PostgresFailure::Kind::lost, "", strerror(errno)});
        return false;
    }
    const bool readable = ready > 0 && (watched.revents & (POLLIN | POLLERR | POLLHUP)) != 0;
    if (readable && PQconsumeInput(conn_) != 1) {
        note_lost();
        return false;
    }
    return true;
}

void PostgresConnection::note_lost() {
    note({PostgresFailure::Kind::lost, "", PQerrorMessage(conn_)});
}

void PostgresConnection::note_refused(const pg_result* result) {
    note({PostgresFailure::Kind::refused, field(result, PG_DIAG_SQLSTATE),
          field(result, PG_DIAG_MESSAGE_PRIMARY)});
    // A setting made in what failed has been undone.
    server_timeout_ = {};
}

// A server that goes down says so first, and then closes: what it said is the cause.
void PostgresConnection::note(PostgresFailure failure) {
    if (!failure_) {
        failure_ = std::move(failure);
        return;
    }
    if (failure_->kind == PostgresFailure::Kind::refused)
        failure_->kind = failure.kind;
}

void PostgresConnection::note_damage(std::string what) {
    damaged_ = true;
    note({PostgresFailure::Kind::refused, "XX001", std::move(what)});
}

Result<void> PostgresConnection::status() const {
    if (!failure_)
        return {};
    return std::unexpected(describe(*target_, *failure_));
}

bool PostgresConnection::is_reusable() const {
    if (damaged_ || PQstatus(conn_) != CONNECTION_OK ||
        PQtransactionStatus(conn_) != PQTRANS_IDLE || !pending_.empty())
        return false;
    if (!failure_)
        return true;
    return failure_->kind == PostgresFailure::Kind::refused &&
           (is_in(kOnlyUnlucky, failure_->state) || !is_in(kWorthAnotherTry, failure_->state));
}

bool PostgresConnection::is_worth_another_try() const {
    return failure_ && (failure_->kind == PostgresFailure::Kind::lost ||
                        is_in(kWorthAnotherTry, failure_->state));
}

bool PostgresConnection::says_trouble() const {
    return failure_ && (failure_->kind != PostgresFailure::Kind::refused ||
                        failure_->state.starts_with("57P0") || failure_->state == "25006");
}

bool PostgresConnection::is_alive() {
    pollfd watched{PQsocket(conn_), POLLIN, 0};
    if (poll(&watched, 1, 0) == 0)
        return true;
    // A notice may have come; the end of the connection shows itself as one more thing to read.
    if (PQconsumeInput(conn_) != 1 || PQstatus(conn_) != CONNECTION_OK)
        return false;
    watched.revents = 0;
    return poll(&watched, 1, 0) == 0;
}

PostgresConnection::Notice PostgresConnection::await_notice(std::chrono::milliseconds limit,
                                                            int stop) {
    const auto until = Clock::now() + limit;
    for (;;) {
        bool came = false;
        while (pgNotify* const notice = PQnotifies(conn_)) {
            PQfreemem(notice);
            came = true;
        }
        if (came)
            return Notice::came;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
        if (left.count() <= 0)
            return Notice::none;
        std::array<pollfd, 2> watched{{{PQsocket(conn_), POLLIN, 0}, {stop, POLLIN, 0}}};
        if (poll(watched.data(), watched.size(), static_cast<int>(left.count())) < 0 &&
            errno != EINTR)
            return Notice::over;
        if (watched[1].revents != 0)
            return Notice::over;
        if (watched[0].revents != 0 &&
            (PQconsumeInput(conn_) != 1 || PQstatus(conn_) != CONNECTION_OK))
            return Notice::over;
    }
}

Error describe(const PostgresTarget& target, const PostgresFailure& failure) {
    const std::string cause = target.safe(failure.text);
    if (failure.kind != PostgresFailure::Kind::refused)
        return {Errc::unavailable,
                fmt::format("catalog {} does not answer ({}); see whether the database server runs "
                            "and can be reached",
                            target.description, cause)};
    const Diagnosis& found = diagnose(failure.state);
    return {found.code, fmt::format("catalog {} {} ({}); {}", target.description, found.what, cause,
                                    found.remedy)};
}

}  // namespace signpost
