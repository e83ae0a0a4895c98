// SPDX-License-Identifier: BSD-3-Clause
//
// EventLoop waits for sockets and timers on one thread and runs what other threads post to it. All
// relay state lives on that thread, so none of it needs a lock.
//
// Posting is cheap under load: a wake-up is written only when the loop is about to sleep.
//
// Lifetime: outlives watchers and timers. Threads: post() and stop() from any; all else on the
// loop's own thread, or before run().

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "nbd-server/disk/unique_fd.h"

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
        bool queued_ = false;  // guarded by EventLoop::mutex_
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

    // The time at which the loop woke up: one clock read serves a whole batch.
    Time now() const { return now_; }

   private:
    void wake();
    void run_posted_tasks();
    void run_due_timers();
    int timeout_ms() const;
    bool nothing_posted();

    UniqueFd epoll_;
    UniqueFd wake_up_;
    std::unordered_map<int, Watcher*> watchers_;
    std::map<std::pair<Time, std::uint64_t>, Task> timers_;
    std::uint64_t next_timer_ = 1;
    Time now_ = Clock::now();

    std::mutex mutex_;
    std::vector<Task> tasks_;       // guarded by mutex_
    std::vector<Posted*> posted_;   // guarded by mutex_
    std::vector<Posted*> running_;  // the batch that run_posted_tasks() works on
    std::atomic<bool> sleeping_{false};
    std::atomic<bool> stopping_{false};
};

}  // namespace signpost
