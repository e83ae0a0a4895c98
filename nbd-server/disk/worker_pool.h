// SPDX-License-Identifier: BSD-3-Clause
//
// WorkerPool runs calls that may block (name resolution, catalog look-ups, starting a helper) off
// the event loop, on a few threads made when they are needed. One that has had nothing to do for a
// while ends.
//
// Lifetime: the destructor drops what has not begun, and joins what has. Threads: any.

#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace signpost {

class WorkerPool {
   public:
    using Task = std::move_only_function<void()>;

    explicit WorkerPool(unsigned maximum) : maximum_(maximum) {}
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;
    ~WorkerPool();

    void run(Task task);

   private:
    void work(std::list<std::thread>::iterator self);

    const unsigned maximum_;
    std::mutex mutex_;  // guards all below
    std::condition_variable changed_;
    std::deque<Task> tasks_;
    std::list<std::thread> threads_;
    std::list<std::thread> ended_;  // to be joined
    unsigned idle_ = 0;
    bool stopping_ = false;
};

}  // namespace signpost
