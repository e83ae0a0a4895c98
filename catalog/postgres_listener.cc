// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_listener.h"

#include <poll.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "catalog/catalog.h"
#include "catalog/postgres_dial.h"
#include "catalog/postgres_queries.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Many changes one after the other are told as one.
constexpr milliseconds kGather{50};
// A connection that says nothing for so long is asked whether it is there.
constexpr milliseconds kSilence{30'000};
constexpr milliseconds kFirstPause{500};
constexpr milliseconds kLongestPause{60'000};
constexpr milliseconds kEndWait{500};

}  // namespace

class PostgresListener::State {
   public:
    State(std::shared_ptr<const PostgresTarget> target, std::shared_ptr<const ChangeHints> hints)
        : target_(std::move(target)), hints_(std::move(hints)) {}

    void run();  // the thread
    bool stop_and_await();

   private:
    bool listen(PostgresConnection& connection);
    void rest(milliseconds time) const;

    const std::shared_ptr<const PostgresTarget> target_;
    const std::shared_ptr<const ChangeHints> hints_;
    StopSign stop_;
    std::mutex mutex_;
    std::condition_variable end_;
    bool ended_ = false;  // guarded by mutex_
};

void PostgresListener::State::run() {
    milliseconds pause = kFirstPause;
    std::size_t first = 0;
    while (!stop_.is_raised()) {
        const auto dialled = dial(target_, first, stop_);
        if (dialled)
            first = dialled->host;
        if (dialled && listen(*dialled->connection))
            pause = kFirstPause;
        rest(pause);
        pause = std::min(pause * 2, kLongestPause);
    }
    const std::lock_guard lock(mutex_);
    ended_ = true;
    end_.notify_all();
}

// Until the connection is lost; false when there was nothing to listen to.
bool PostgresListener::State::listen(PostgresConnection& connection) {
    const auto ask = [&](const PostgresStatement& statement) {
        connection.set_call(Clock::now() + kLookupWait, kLookupWait);
        connection.run(statement);
        return !connection.failed();
    };
    if (!ask(pg::kListen))
        return false;
    hints_->tell();  // of what happened before
    for (;;) {
        switch (connection.await_notice(kSilence, stop_.descriptor())) {
            case PostgresConnection::Notice::came:
                hints_->tell();
                rest(kGather);
                break;
            case PostgresConnection::Notice::none:
                if (!ask(pg::kNothing))
                    return true;
                break;
            case PostgresConnection::Notice::over:
                return true;
        }
    }
}

void PostgresListener::State::rest(milliseconds time) const {
    pollfd watched{stop_.descriptor(), POLLIN, 0};
    poll(&watched, 1, static_cast<int>(time.count()));
}

bool PostgresListener::State::stop_and_await() {
    stop_.raise();
    std::unique_lock lock(mutex_);
    return end_.wait_for(lock, kEndWait, [&] { return ended_; });
}

PostgresListener::PostgresListener(std::shared_ptr<const PostgresTarget> target,
                                   std::shared_ptr<const ChangeHints> hints)
    : state_(std::make_shared<State>(std::move(target), std::move(hints))) {
    thread_ = std::thread([state = state_] { state->run(); });
}

PostgresListener::~PostgresListener() {
    if (state_->stop_and_await())
        thread_.join();
    else
        thread_.detach();
}

}  // namespace signpost
