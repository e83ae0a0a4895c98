// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace signpost {

namespace {

epoll_event make_event(std::uint32_t events, int fd) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return event;
}

}  // namespace

EventLoop::EventLoop()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_up_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    // Edge-triggered: every write wakes the loop, and nobody has to read the counter back.
    epoll_event event = make_event(EPOLLIN | EPOLLET, wake_up_.get());
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_up_.get(), &event);
}

EventLoop::~EventLoop() = default;

void EventLoop::run() {
    std::array<epoll_event, 128> events;
    while (true) {
        run_posted_tasks();
        if (stopping_.load() && nothing_posted()) {
            return;
        }
        // Whoever posts after this store sees it and writes the wake-up; whoever posted before is
        // seen by nothing_posted().
        sleeping_.store(true);
        const int timeout = nothing_posted() && !stopping_.load() ? timeout_ms() : 0;
        const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), timeout);
        sleeping_.store(false);
        now_ = Clock::now();
        for (int i = 0; i < count; ++i) {
            const int fd = events[i].data.fd;
            // A watcher of this batch may have unwatched another; the wake-up has no watcher.
            if (const auto found = watchers_.find(fd); found != watchers_.end()) {
                found->second->on_ready(events[i].events);
            }
        }
        run_due_timers();
    }
}

void EventLoop::stop() {
    stopping_.store(true);
    wake();
}

void EventLoop::wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_up_.get(), &one, sizeof one);
}

void EventLoop::post(Task task) {
    {
        const std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
    }
    if (sleeping_.exchange(false)) {
        wake();
    }
}

void EventLoop::post(Posted& posted) {
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(posted.queued_, true)) {
            return;
        }
        posted_.push_back(&posted);
    }
    if (sleeping_.exchange(false)) {
        wake();
    }
}

void EventLoop::cancel(Posted& posted) {
    const std::lock_guard lock(mutex_);
    posted.queued_ = false;
    std::erase(posted_, &posted);
    std::replace(running_.begin(), running_.end(), &posted, static_cast<Posted*>(nullptr));
}

bool EventLoop::nothing_posted() {
    const std::lock_guard lock(mutex_);
    return tasks_.empty() && posted_.empty();
}

void EventLoop::run_posted_tasks() {
    std::vector<Task> tasks;
    {
        const std::lock_guard lock(mutex_);
        tasks.swap(tasks_);
        running_.swap(posted_);
        for (Posted* posted : running_) {
            posted->queued_ = false;
        }
    }
    for (Task& task : tasks) {
        task();
    }
    for (std::size_t i = 0; i < running_.size(); ++i) {
        if (running_[i] != nullptr) {
            running_[i]->run_posted();
        }
    }
    running_.clear();
}

bool EventLoop::watch(int fd, std::uint32_t events, Watcher& watcher) {
    epoll_event event = make_event(events, fd);
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        return false;
    }
    watchers_[fd] = &watcher;
    return true;
}

void EventLoop::rewatch(int fd, std::uint32_t events, Watcher& watcher) {
    epoll_event event = make_event(events, fd);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
    watchers_[fd] = &watcher;
}

void EventLoop::unwatch(int fd) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    watchers_.erase(fd);
}

EventLoop::Timer EventLoop::call_at(Time due, Task task) {
    const Timer timer{next_timer_++, due};
    timers_.emplace(std::pair(due, timer.id), std::move(task));
    return timer;
}

void EventLoop::cancel(Timer& timer) {
    if (timer.id != 0) {
        timers_.erase({timer.due, timer.id});
        timer.id = 0;
    }
}

void EventLoop::run_due_timers() {
    while (!timers_.empty() && timers_.begin()->first.first <= now_) {
        Task task = std::move(timers_.begin()->second);
        timers_.erase(timers_.begin());
        task();
    }
}

int EventLoop::timeout_ms() const {
    if (timers_.empty()) {
        return -1;
    }
    const auto wait = timers_.begin()->first.first - Clock::now();
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
    return static_cast<int>(std::clamp<long long>(ms, 0, 60'000));
}

}  // namespace signpost
