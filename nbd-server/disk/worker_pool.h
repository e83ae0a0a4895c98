// SPDX-License-Identifier: BSD-3-Clause
//
// WorkerPool runs calls that may block (name resolution, catalog look-ups, starting a helper) off
// the event loop, on a few threads made when they are first needed.
//
// Lifetime: the destructor drops what has not begun, and joins what has. Threads: any.

#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

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
    void work();

    const unsigned maximum_;
    std::mutex mutex_;  // guards all below
    std::condition_variable changed_;
    std::deque<Task> tasks_;
    std::vector<std::thread> threads_;
    unsigned idle_ = 0;
    bool stopping_ = false;
};

}  // namespace signpost
