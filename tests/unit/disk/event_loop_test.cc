// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "nbd-server/disk/relay_engine.h"
#include "nbd-server/disk/relay_services.h"
#include "tests/unit/disk/kept_log.h"

namespace signpost::test {
namespace {

using std::chrono::milliseconds;

class RunningLoop {
   public:
    RunningLoop() : thread_([this] { loop.run(); }) {}
    ~RunningLoop() { finish(); }

    void finish() {
        if (thread_.joinable()) {
            loop.stop();
            thread_.join();
        }
    }

    EventLoop loop;

   private:
    std::thread thread_;
};

// Runs the loop on this thread until WHAT has run and everything that it posted.
void run_on(EventLoop& loop, EventLoop::Task what) {
    loop.post(std::move(what));
    loop.stop();
    loop.run();
}

class Counting final : public EventLoop::Posted {
   public:
    void run_posted() override { ++runs; }

    int runs = 0;
};

// An event counter that can be read at once.
class Ready final : public EventLoop::Watcher {
   public:
    Ready() : fd(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)) {}

    void on_ready(std::uint32_t) override {
        ++calls;
        if (then) {
            then();
        }
    }

    UniqueFd fd;
    int calls = 0;
    std::function<void()> then;
};

TEST(EventLoop, RunsWhatOtherThreadsPost) {
    std::atomic<int> ran{0};
    {
        RunningLoop running;
        std::vector<std::thread> posters;
        for (int poster = 0; poster < 4; ++poster) {
            posters.emplace_back([&] {
                for (int i = 0; i < 1000; ++i) {
                    running.loop.post([&] { ++ran; });
                }
            });
        }
        for (std::thread& poster : posters) {
            poster.join();
        }
    }
    EXPECT_EQ(ran, 4000);
}

TEST(EventLoop, RunsTimersInTheirOrder) {
    std::vector<int> order;
    std::atomic<bool> done{false};
    RunningLoop running;
    running.loop.post([&] {
        const auto now = EventLoop::Clock::now();
        running.loop.call_at(now + milliseconds{3}, [&] {
            order.push_back(3);
            done = true;
            done.notify_all();
        });
        running.loop.call_at(now + milliseconds{1}, [&] { order.push_back(1); });
        auto cancelled = running.loop.call_at(now + milliseconds{2}, [&] { order.push_back(2); });
        running.loop.cancel(cancelled);
    });
    done.wait(false);
    EXPECT_EQ(order, (std::vector<int>{1, 3}));
}

TEST(EventLoop, KnowsItsOwnThread) {
    EventLoop loop;
    bool inside = false;
    EXPECT_FALSE(loop.is_here());
    run_on(loop, [&] { inside = loop.is_here(); });
    EXPECT_TRUE(inside);
    EXPECT_FALSE(loop.is_here());
}

TEST(EventLoop, RunsAPostedOnceForManyPosts) {
    EventLoop loop;
    Counting posted;
    loop.post(posted);
    loop.post(posted);
    run_on(loop, [&] {
        loop.post(posted);
        loop.post(posted);
    });
    EXPECT_EQ(posted.runs, 1);
}

TEST(EventLoop, WhatATaskPostsIsRunBeforeTheLoopEnds) {
    EventLoop loop;
    std::string order;
    run_on(loop, [&] {
        loop.post([&] {
            order += "b";
            loop.post([&] { order += "c"; });
        });
        order += "a";
    });
    EXPECT_EQ(order, "abc");
}

TEST(EventLoop, ForgetsACancelledPosted) {
    EventLoop loop;
    Counting before;
    Counting inside;
    loop.post(before);
    run_on(loop, [&] {
        loop.post(inside);
        loop.cancel(static_cast<EventLoop::Posted&>(before));
        loop.cancel(static_cast<EventLoop::Posted&>(inside));
    });
    EXPECT_EQ(before.runs + inside.runs, 0);
}

TEST(EventLoop, DoesNotCallAWatcherThatAnotherOfTheBatchUnwatched) {
    EventLoop loop;
    Ready first;
    Ready second;
    first.then = second.then = [&] {
        loop.unwatch(first.fd.get());
        loop.unwatch(second.fd.get());
        loop.stop();
    };
    ASSERT_TRUE(loop.watch(first.fd.get(), EPOLLIN, first));
    ASSERT_TRUE(loop.watch(second.fd.get(), EPOLLIN, second));
    loop.run();
    EXPECT_EQ(first.calls + second.calls, 1);
}

TEST(EventLoop, DoesNotTakeADescriptorForItsPredecessorOfTheSameNumber) {
    EventLoop loop;
    Ready first;
    Ready second;
    Ready successor;
    const auto replace = [&](Ready& other) {
        const int number = other.fd.get();
        loop.unwatch(number);
        ASSERT_EQ(::dup3(successor.fd.get(), number, O_CLOEXEC), number);
        std::uint64_t drained = 0;
        ASSERT_EQ(::read(number, &drained, sizeof drained), ssize_t{sizeof drained});
        ASSERT_TRUE(loop.watch(number, EPOLLIN, successor));
        loop.unwatch(&other == &first ? second.fd.get() : first.fd.get());
        loop.stop();
    };
    first.then = [&] { replace(second); };
    second.then = [&] { replace(first); };
    ASSERT_TRUE(loop.watch(first.fd.get(), EPOLLIN, first));
    ASSERT_TRUE(loop.watch(second.fd.get(), EPOLLIN, second));
    loop.run();
    EXPECT_EQ(first.calls + second.calls, 1);
    EXPECT_EQ(successor.calls, 0);
}

TEST(RelayEngine, AllLoopsRun) {
    KeptLog log;
    RelaySettings settings;
    settings.loops = 3;
    auto engine = std::move(*make_relay_engine(settings, log));
    ASSERT_EQ(engine->loops().size(), 3U);
    std::atomic<int> left{3};
    for (EventLoop* loop : engine->loops()) {
        loop->post([&left, loop] {
            left -= loop->is_here() ? 1 : 0;
            left.notify_all();
        });
    }
    for (int seen = left; seen > 0; seen = left) {
        left.wait(seen);
    }
}

TEST(RelayEngine, LoopsShareWhatTheyKnowOfAPeer) {
    KeptLog log;
    RelaySettings settings;
    settings.loops = 2;
    auto engine = std::move(*make_relay_engine(settings, log));
    RelayServices& one = engine->services();
    ++one.disks;
    RelayServices& other = engine->services();
    EXPECT_NE(&one, &other);
    EXPECT_EQ(&one.breaker("nbd://beta:10809"), &other.breaker("nbd://beta:10809"));
    --one.disks;
}

}  // namespace
}  // namespace signpost::test
