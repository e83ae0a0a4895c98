// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_dial.h"

#include <errno.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRoundTime{3000};
constexpr std::chrono::milliseconds kNextHost{150};
constexpr std::chrono::milliseconds kConfigureTime{2000};
// How long a standby waits for the primary to answer, too.
constexpr std::chrono::milliseconds kStandbyGrace{100};

struct Finish {
    void operator()(PGconn* conn) const { PQfinish(conn); }
};

// A host that has been dialled and has not answered yet.
struct Attempt {
    std::size_t host;
    std::unique_ptr<PGconn, Finish> conn;
    PostgresPollingStatusType wants = PGRES_POLLING_WRITING;
};

class Round {
   public:
    Round(const std::shared_ptr<const PostgresTarget>& target, std::size_t first,
          const StopSign& stop)
        : target_(target), first_(first), stop_(stop) {}

    Result<Dialled> run();

   private:
    bool is_over() const;
    void start_next();
    Clock::time_point next_event() const;
    void wait();
    void advance(Attempt& attempt);
    void adopt(Attempt& attempt);
    void settle(std::string fault);
    Result<Dialled> outcome();

    const std::shared_ptr<const PostgresTarget>& target_;
    const std::size_t first_;
    const StopSign& stop_;
    const Clock::time_point end_ = Clock::now() + kRoundTime;
    std::size_t started_ = 0;
    Clock::time_point next_start_{};
    std::vector<Attempt> open_;
    std::vector<std::string> faults_;
    std::optional<Dialled> primary_;
    std::optional<Dialled> standby_;
    Clock::time_point standby_until_{};
};

Result<Dialled> Round::run() {
    while (!is_over()) {
        if (started_ < target_->hosts.size() && (open_.empty() || Clock::now() >= next_start_))
            start_next();
        else
            wait();
    }
    return outcome();
}

bool Round::is_over() const {
    const bool all_started = started_ == target_->hosts.size();
    if (primary_ || stop_.is_raised() || Clock::now() >= end_ || (all_started && open_.empty()))
        return true;
    return standby_ && all_started && Clock::now() >= standby_until_;
}

void Round::start_next() {
    const std::size_t host = (first_ + started_) % target_->hosts.size();
    ++started_;
    next_start_ = Clock::now() + kNextHost;
    standby_until_ = Clock::now() + kStandbyGrace;
    std::vector<const char*> keywords;
    std::vector<const char*> values;
    for (const auto& [keyword, value] : target_->hosts[host].options) {
        keywords.push_back(keyword.c_str());
        values.push_back(value.c_str());
    }
    keywords.push_back("fallback_application_name");
    values.push_back("signpost");
    keywords.push_back(nullptr);
    values.push_back(nullptr);
    Attempt attempt{host, {}};
    attempt.conn.reset(PQconnectStartParams(keywords.data(), values.data(), 0));
    if (attempt.conn == nullptr)
        return settle("out of memory");
    // What the server says unasked goes nowhere: a library does not write to stderr.
    PQsetNoticeProcessor(
        attempt.conn.get(), [](void*, const char*) {}, nullptr);
    if (PQstatus(attempt.conn.get()) == CONNECTION_BAD)
        return settle(PQerrorMessage(attempt.conn.get()));
    open_.push_back(std::move(attempt));
}

Clock::time_point Round::next_event() const {
    auto next = end_;
    if (started_ < target_->hosts.size())
        next = std::min(next, next_start_);
    else if (standby_)
        next = std::min(next, standby_until_);
    return next;
}

void Round::wait() {
    std::vector<pollfd> watched{{stop_.descriptor(), POLLIN, 0}};
    for (const Attempt& attempt : open_)
        watched.push_back(
            {PQsocket(attempt.conn.get()),
             static_cast<short>(attempt.wants == PGRES_POLLING_READING ? POLLIN : POLLOUT), 0});
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_event() - Clock::now());
    if (poll(watched.data(), watched.size(),
             static_cast<int>(std::max<std::int64_t>(left.count(), 0))) <= 0)
        return;
    for (std::size_t i = 0; i < open_.size() && !primary_; ++i)
        if (watched[i + 1].revents != 0)
            advance(open_[i]);
    std::erase_if(open_, [](const Attempt& attempt) { return attempt.conn == nullptr; });
}

void Round::advance(Attempt& attempt) {
    attempt.wants = PQconnectPoll(attempt.conn.get());
    if (attempt.wants == PGRES_POLLING_OK)
        return adopt(attempt);
    if (attempt.wants != PGRES_POLLING_FAILED)
        return;
    settle(PQerrorMessage(attempt.conn.get()));
    attempt.conn.reset();
}

// Connected: our settings, and what kind of server it is.
void Round::adopt(Attempt& attempt) {
    auto connection = std::make_unique<PostgresConnection>(attempt.conn.release(), target_);
    connection->set_deadline(Clock::now() + kConfigureTime);
    connection->configure();
    if (const auto& failure = connection->failure())
        return settle(failure->text);
    Dialled made{std::move(connection), attempt.host};
    if (!made.connection->is_standby()) {
        primary_ = std::move(made);
        return;
    }
    if (!standby_)
        standby_ = std::move(made);
    standby_until_ = Clock::now() + kStandbyGrace;
    next_start_ = {};
}

void Round::settle(std::string fault) {
    faults_.push_back(target_->safe(fault));
    next_start_ = {};
}

Result<Dialled> Round::outcome() {
    if (primary_)
        return std::move(*primary_);
    if (standby_)
        return std::move(*standby_);
    for (const Attempt& attempt : open_)
        faults_.push_back(target_->hosts[attempt.host].name + ": no answer in time");
    const PostgresFailure failure{PostgresFailure::Kind::lost, "",
                                  fmt::format("{}", fmt::join(faults_, "; "))};
    return std::unexpected(describe(*target_, failure));
}

}  // namespace

StopSign::StopSign() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

StopSign::~StopSign() {
    if (descriptor_ >= 0)
        close(descriptor_);
}

void StopSign::raise() {
    raised_ = true;
    static_cast<void>(eventfd_write(descriptor_, 1));
}

Result<Dialled> dial(const std::shared_ptr<const PostgresTarget>& target, std::size_t first,
                     const StopSign& stop) {
    return Round(target, first, stop).run();
}

}  // namespace signpost
