// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "catalog/postgres_dial.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;
using Connections = std::vector<std::unique_ptr<PostgresConnection>>;

constexpr std::size_t kCapacity = 6;
constexpr std::size_t kMaxChanges = 3;  // large ones must not keep look-ups out
constexpr std::chrono::seconds kIdleTime{60};

// With a dial that follows a connection which did not answer.
constexpr std::chrono::milliseconds kShortPatience{150};

constexpr std::chrono::milliseconds kFirstPause{100};
constexpr std::chrono::milliseconds kLongestPause{5000};
constexpr std::chrono::milliseconds kPauseOfWaiting{500};
// A connection that answers for so long shows that the server is well.
constexpr std::chrono::seconds kProven{2};
constexpr std::chrono::milliseconds kEndWait{500};

}  // namespace

class PostgresPool::State {
   public:
    State(std::shared_ptr<const PostgresTarget> target, std::chrono::milliseconds patience)
        : target_(std::move(target)), longest_patience_(patience), patience_(patience) {}

    Result<std::unique_ptr<PostgresConnection>> take(Need need, Time deadline, bool patient);
    void give_back(Need need, std::unique_ptr<PostgresConnection> connection);

    void run();             // the thread
    bool stop_and_await();  // false: the thread is stuck

   private:
    using Lock = std::unique_lock<std::mutex>;

    // All with the lock held.
    bool has_room(Need need) const;
    std::unique_ptr<PostgresConnection> take_idle(Need need);
    const std::optional<Error>& trouble(Need need) const;
    void lose_patience();
    bool must_dial() const;
    Connections settle(Result<Dialled> outcome);
    void pause_longer();
    void end_service();

    Error no_answer() const;
    Error busy() const;

    const std::shared_ptr<const PostgresTarget> target_;
    StopSign stop_;

    std::mutex mutex_;                 // guards what follows; never held while a server is asked
    std::condition_variable changed_;  // for whoever wants a connection
    std::condition_variable work_;     // for the thread
    Connections idle_;                 // the one used last at the end
    std::size_t lent_ = 0;
    std::size_t lent_for_changes_ = 0;
    std::size_t wanted_[2] = {0, 0};   // by need
    std::optional<Error> trouble_[2];  // by need: why there is no server for it
    bool suspect_ = false;             // a connection was lost: dial, although nobody asks
    bool dialling_ = false;
    bool ended_ = false;
    std::size_t first_host_ = 0;  // the one that answered last
    Time patience_end_{};
    Time next_round_{};
    Time dialled_{};  // the last one that answered
    const std::chrono::milliseconds longest_patience_;
    std::chrono::milliseconds patience_;  // with the next dial
    std::chrono::milliseconds pause_ = kFirstPause;
    std::minstd_rand chance_{std::random_device{}()};
};

namespace {

std::size_t index(PostgresPool::Need need) {
    return static_cast<std::size_t>(need);
}

}  // namespace

bool PostgresPool::State::has_room(Need need) const {
    return lent_ < kCapacity && (need == Need::look_up || lent_for_changes_ < kMaxChanges);
}

std::unique_ptr<PostgresConnection> PostgresPool::State::take_idle(Need need) {
    const auto take = [&](auto fits) -> std::unique_ptr<PostgresConnection> {
        const auto found = std::find_if(idle_.rbegin(), idle_.rend(), fits);
        if (found == idle_.rend())
            return nullptr;
        auto taken = std::move(*found);
        idle_.erase(std::next(found).base());
        return taken;
    };
    auto taken = take([](const auto& each) { return !each->is_standby(); });
    if (taken == nullptr && need == Need::look_up)
        taken = take([](const auto&) { return true; });
    return taken;
}

const std::optional<Error>& PostgresPool::State::trouble(Need need) const {
    return trouble_[index(need)];
}

Error PostgresPool::State::no_answer() const {
    return describe(*target_, {PostgresFailure::Kind::hung, "", "no answer in time"});
}

Error PostgresPool::State::busy() const {
    return {Errc::unavailable,
            fmt::format("catalog {} is busy with other calls of this process; try again",
                        target_->description)};
}

void PostgresPool::State::lose_patience() {
    for (auto& trouble : trouble_)
        if (!trouble)
            trouble = no_answer();
    changed_.notify_all();
}

Result<std::unique_ptr<PostgresConnection>> PostgresPool::State::take(Need need, Time deadline,
                                                                      bool patient) {
    Lock lock(mutex_);
    for (;;) {
        const bool room = has_room(need);
        if (auto connection = room ? take_idle(need) : nullptr; connection != nullptr) {
            ++lent_;
            lent_for_changes_ += need == Need::change ? 1 : 0;
            lock.unlock();
            if (connection->is_alive())
                return connection;
            connection.reset();
            lock.lock();
            --lent_;
            lent_for_changes_ -= need == Need::change ? 1 : 0;
            continue;
        }
        const auto now = Clock::now();
        if (room && dialling_ && now >= patience_end_)
            lose_patience();
        if (room && trouble(need) && !patient)
            return std::unexpected(*trouble(need));
        if (now >= deadline)
            return std::unexpected(!room ? busy() : trouble(need).value_or(no_answer()));
        const bool judges = room && dialling_ && !patient;
        wanted_[index(need)] += room ? 1 : 0;
        work_.notify_one();
        changed_.wait_until(lock, judges ? std::min(deadline, patience_end_) : deadline);
        wanted_[index(need)] -= room ? 1 : 0;
    }
}

void PostgresPool::State::give_back(Need need, std::unique_ptr<PostgresConnection> connection) {
    Connections dropped;
    const bool trouble = connection->says_trouble();
    const bool hung = trouble && connection->failure()->kind == PostgresFailure::Kind::hung;
    const bool reusable = connection->is_reusable();
    connection->clear_failure();
    connection->last_used = Clock::now();
    {
        const Lock lock(mutex_);
        --lent_;
        lent_for_changes_ -= need == Need::change ? 1 : 0;
        if (trouble) {
            // Another host first, if there is one: this one may be frozen.
            if (connection->host == first_host_)
                first_host_ = (first_host_ + 1) % target_->hosts.size();
            dropped = std::exchange(idle_, {});
            suspect_ = true;
            patience_ = std::min(longest_patience_, kShortPatience);
        }
        const bool proven = Clock::now() - dialled_ > kProven;
        if (hung && !proven)
            end_service();
        else if (!trouble && proven)
            pause_ = kFirstPause;
        (reusable ? idle_ : dropped).push_back(std::move(connection));
        if (idle_.size() > 1 && Clock::now() - idle_.front()->last_used > kIdleTime) {
            dropped.push_back(std::move(idle_.front()));
            idle_.erase(idle_.begin());
        }
        // Whoever comes now waits for what the next round says, but not long.
        patience_end_ = trouble ? Clock::now() + patience_ : patience_end_;
    }
    changed_.notify_all();
    work_.notify_one();
}

bool PostgresPool::State::must_dial() const {
    const auto& look_ups = trouble(Need::look_up);
    const auto& changes = trouble(Need::change);
    if ((look_ups || changes) && Clock::now() >= next_round_)
        return true;
    return (suspect_ && !look_ups) || (wanted_[index(Need::look_up)] > 0 && !look_ups) ||
           (wanted_[index(Need::change)] > 0 && !changes);
}

void PostgresPool::State::run() {
    Lock lock(mutex_);
    while (!stop_.is_raised()) {
        if (!must_dial()) {
            if (trouble(Need::change))
                work_.wait_until(lock, next_round_);
            else
                work_.wait(lock);
            continue;
        }
        dialling_ = true;
        suspect_ = false;
        patience_end_ = Clock::now() + patience_;
        changed_.notify_all();  // they wait for the end of our patience now
        const std::size_t first = first_host_;
        lock.unlock();
        auto outcome = dial(target_, first, stop_);
        lock.lock();
        dialling_ = false;
        Connections dropped = settle(std::move(outcome));
        changed_.notify_all();
        lock.unlock();
        dropped.clear();
        lock.lock();
    }
    ended_ = true;
    changed_.notify_all();
}

void PostgresPool::State::pause_longer() {
    // A call that lost its connection waits for the next one.
    if (wanted_[index(Need::look_up)] + wanted_[index(Need::change)] > 0)
        pause_ = std::min(pause_, kPauseOfWaiting);
    std::uniform_int_distribution<std::int64_t> part(pause_.count() / 2, pause_.count());
    next_round_ = Clock::now() + std::chrono::milliseconds(part(chance_));
    pause_ = std::min(pause_ * 2, kLongestPause);
}

// A server that takes connections and then does not answer is overloaded: to make others at once
// would be one load more.
void PostgresPool::State::end_service() {
    trouble_[0] = trouble_[1] = no_answer();
    pause_longer();
}

Connections PostgresPool::State::settle(Result<Dialled> outcome) {
    auto& look_ups = trouble_[index(Need::look_up)];
    auto& changes = trouble_[index(Need::change)];
    Connections dropped;
    if (!outcome) {
        look_ups = changes = outcome.error();
        pause_longer();
        return dropped;
    }
    first_host_ = outcome->host;
    dialled_ = Clock::now();
    patience_ = longest_patience_;
    look_ups.reset();
    outcome->connection->last_used = Clock::now();
    outcome->connection->host = outcome->host;
    if (outcome->connection->is_standby()) {
        changes = {Errc::unavailable,
                   fmt::format("catalog {} has no primary now, only a standby to read from ({}); "
                               "promote one, or start the primary",
                               target_->description, target_->hosts[outcome->host].name)};
        pause_longer();
    } else {
        changes.reset();
        // Back from a standby: what is read there may be old.
        for (auto& each : std::exchange(idle_, {}))
            (each->is_standby() ? dropped : idle_).push_back(std::move(each));
    }
    const bool enough = idle_.size() + lent_ >= kCapacity;
    (enough ? dropped : idle_).push_back(std::move(outcome->connection));
    return dropped;
}

bool PostgresPool::State::stop_and_await() {
    stop_.raise();
    Lock lock(mutex_);
    work_.notify_one();
    return changed_.wait_for(lock, kEndWait, [&] { return ended_; });
}

PostgresPool::Lease::Lease(std::shared_ptr<State> state, Need need,
                           std::unique_ptr<PostgresConnection> connection)
    : state_(std::move(state)), need_(need), connection_(std::move(connection)) {}

PostgresPool::Lease::~Lease() {
    if (connection_ != nullptr)
        state_->give_back(need_, std::move(connection_));
}

PostgresPool::PostgresPool(PostgresTarget target, std::chrono::milliseconds patience)
    : target_(std::make_shared<const PostgresTarget>(std::move(target))),
      state_(std::make_shared<State>(target_, patience)) {
    thread_ = std::thread([state = state_] { state->run(); });
}

PostgresPool::~PostgresPool() {
    if (state_->stop_and_await())
        thread_.join();
    else
        thread_.detach();
}

Result<PostgresPool::Lease> PostgresPool::lease(Need need, Time deadline, bool patient) {
    auto connection = state_->take(need, deadline, patient);
    if (!connection)
        return std::unexpected(std::move(connection.error()));
    return Lease(state_, need, std::move(*connection));
}

}  // namespace signpost
