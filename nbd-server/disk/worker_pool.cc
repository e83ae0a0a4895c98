// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/worker_pool.h"

#include <chrono>
#include <utility>

namespace signpost {

namespace {

constexpr std::chrono::seconds kIdleTime{5};

void join(std::list<std::thread>& threads) {
    for (std::thread& thread : threads) {
        thread.join();
    }
}

}  // namespace

WorkerPool::~WorkerPool() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        tasks_.clear();
    }
    changed_.notify_all();
    join(threads_);
    join(ended_);
}

void WorkerPool::run(Task task) {
    std::list<std::thread> ended;
    {
        const std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
        if (idle_ < tasks_.size() && threads_.size() < maximum_) {
            const auto self = threads_.emplace(threads_.end());
            *self = std::thread([this, self] { work(self); });
        }
        ended.swap(ended_);
    }
    changed_.notify_one();
    join(ended);
}

void WorkerPool::work(std::list<std::thread>::iterator self) {
    std::unique_lock lock(mutex_);
    while (true) {
        ++idle_;
        const bool called =
            changed_.wait_for(lock, kIdleTime, [this] { return stopping_ || !tasks_.empty(); });
        --idle_;
        if (stopping_) {
            return;
        }
        if (!called) {
            ended_.splice(ended_.end(), threads_, self);
            return;
        }
        Task task = std::move(tasks_.front());
        tasks_.pop_front();
        lock.unlock();
        task();
        task = nullptr;  // its captures may hold locks' owners: let go before locking again
        lock.lock();
    }
}

}  // namespace signpost
