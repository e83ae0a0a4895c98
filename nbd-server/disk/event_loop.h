// SPDX-License-Identifier: BSD-3-Clause
//
// EventLoop waits for sockets and timers on one thread and runs what other threads post to it. All
// relay state lives on that thread, so none of it needs a lock.
//
// Posting is cheap under load: a wake-up is written only when the loop is about to sleep, and what
// the loop's own thread posts takes no lock. It runs when all descriptors that are ready have been
// looked at, so what a whole batch of them asks for can leave together.
//
// Lifetime: outlives watchers and timers. Threads: post(), stop() and is_here() from any; all else
// on the loop's own thread, or before run().

#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "nbd-server/disk/unique_fd.h"

struct epoll_event;

namespace signpost {

class EventLoop {
   public:
    using Clock = std::chrono::steady_clock;
    using Time = Clock::time_point;
    using Task = std::move_only_function<void()>;

    // Called when a watched descriptor is ready; EVENTS as epoll gives them.
    class Watcher {
       public:
        virtual ~Watcher() = default;
        virtual void on_ready(std::uint32_t events) = 0;
    };

    // Something cheap to post again and again: an intrusive task. run_posted() is called once for
    // any number of posts that came before it.
    class Posted {
       public:
        virtual ~Posted() = default;
        virtual void run_posted() = 0;

       private:
        friend class EventLoop;
        bool queued_here_ = false;  // by the loop's own thread
        bool queued_ = false;       // by another; guarded by EventLoop::mutex_
    };

    struct Timer {
        std::uint64_t id = 0;  // 0: none
        Time due{};
    };

    EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;
    ~EventLoop();

    // Runs until stop(); what was posted before stop() is still run.
    void run();
    void stop();

    // On the loop's own thread while it runs.
    bool is_here() const { return running_on_.load(std::memory_order_relaxed) == ::pthread_self(); }

    void post(Task task);
    void post(Posted& posted);

    // Forgets a Posted that is about to die. On the loop's thread.
    void cancel(Posted& posted);

    // False (errno set) when the kernel refuses the descriptor.
    bool watch(int fd, std::uint32_t events, Watcher& watcher);
    void rewatch(int fd, std::uint32_t events, Watcher& watcher);
    void unwatch(int fd);

    Timer call_at(Time due, Task task);
    void cancel(Timer& timer);
    void postpone(Timer& timer, Clock::duration by);  // nothing when it is not set

    // What was just sent will be answered in less time than going to sleep and waking up take: the
    // loop looks for the answer for a moment before it sleeps. Good for one wait. Where answers do
    // not come so soon, or there is one processor only, it soon stops to look.
    void expect_soon() { expects_ = true; }

    // For a watcher that has just served many small things together, and knows of more on their
    // way. Where all that were ready say so, the loop rests for some microseconds before it waits,
    // so that these come together too.
    void let_gather() { gathers_ = true; }

    // The time at which the loop woke up: one clock read serves a whole batch.
    Time now() const { return now_; }

   private:
    // The generation tells an event of a descriptor that was unwatched in this batch from one of
    // its successor of the same number.
    struct Watched {
        Watcher* watcher = nullptr;
        std::uint32_t generation = 0;
    };

    void wake();
    int wait(std::span<epoll_event> events);
    bool worth_looking();
    int look(std::span<epoll_event> events);
    void count_luck(bool good);
    void dispatch(std::uint64_t key, std::uint32_t events);
    void take_posted();
    void run_posted_tasks();
    void run_due_timers();
    int timeout_ms() const;
    bool nothing_posted() const;

    UniqueFd epoll_;
    UniqueFd wake_up_;
    std::vector<Watched> watched_;  // by descriptor
    std::map<std::pair<Time, std::uint64_t>, Task> timers_;
    std::uint64_t next_timer_ = 1;
    Time now_ = Clock::now();
    std::atomic<pthread_t> running_on_{};

    bool gathers_ = false;   // says the watcher that runs
    bool may_rest_ = false;  // all watchers said so since the last wait
    bool expects_ = false;
    int luck_;            // how well looking has done of late
    unsigned skips_ = 0;  // waits without looking, since the last look

    // Of the loop's own thread.
    std::vector<Task> tasks_here_;
    std::vector<Posted*> posted_here_;
    std::vector<Task> running_tasks_;  // the batch that run_posted_tasks() works on
    std::vector<Posted*> running_;

    std::mutex mutex_;
    std::vector<Task> tasks_;              // guarded by mutex_
    std::vector<Posted*> posted_;          // guarded by mutex_
    std::atomic<bool> has_posted_{false};  // whether these two hold anything
    std::atomic<bool> sleeping_{false};
    std::atomic<bool> stopping_{false};
};

}  // namespace signpost
