// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/event_loop.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

namespace signpost {

namespace {

// What is posted while posted things run is run before the loop looks at descriptors again, so that
// a reply which sets off a request costs no further round; but not for ever.
constexpr int kRounds = 4;

// Looking for an answer before sleeping. A look in vain costs as much as four that find something
// save; after some of those the loop looks only now and then whether things have changed. What is
// found at the first glance was on its way already: then sleep would have cost nothing, and more of
// it would have come together.
constexpr std::chrono::microseconds kLook{40};
// Resting so that more comes together: what a client that keeps many small reads under way takes to
// ask for some ten of them.
constexpr timespec kRest{0, 50'000};
constexpr int kMostLuck = 64;
constexpr int kBadLuck = 4;
constexpr unsigned kLookAgain = 256;

epoll_event make_event(std::uint32_t events, int fd, std::uint32_t generation) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(fd);
    return event;
}

}  // namespace

EventLoop::EventLoop()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_up_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      luck_(std::thread::hardware_concurrency() > 1 ? kMostLuck / 4 : 0) {
    // Edge-triggered: every write wakes the loop, and nobody has to read the counter back. It has
    // no watcher: waking up is all.
    epoll_event event = make_event(EPOLLIN | EPOLLET, wake_up_.get(), 0);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_up_.get(), &event);
}

EventLoop::~EventLoop() = default;

void EventLoop::run() {
    running_on_.store(::pthread_self(), std::memory_order_relaxed);
    ::prctl(PR_SET_TIMERSLACK, 1);  // else a rest takes three times as long
    now_ = Clock::now();
    std::array<epoll_event, 128> events;
    while (true) {
        for (int round = 0; round < kRounds && !nothing_posted(); ++round) {
            run_posted_tasks();
        }
        if (stopping_.load() && nothing_posted()) {
            break;
        }
        const int count = wait(events);
        now_ = Clock::now();
        may_rest_ = count > 0;
        for (int i = 0; i < count; ++i) {
            gathers_ = false;
            dispatch(events[i].data.u64, events[i].events);
            may_rest_ = may_rest_ && gathers_;
        }
        run_due_timers();
    }
    timers_.clear();  // what they hold on to may need what is still there now
    running_on_.store({}, std::memory_order_relaxed);
}

int EventLoop::wait(std::span<epoll_event> events) {
    const bool expects = std::exchange(expects_, false);
    if (may_rest_ && nothing_posted() && !stopping_.load()) {
        ::clock_nanosleep(CLOCK_MONOTONIC, 0, &kRest, nullptr);
    } else if (expects && worth_looking()) {
        if (const int count = look(events); count != 0) {
            return count;
        }
    }
    // Whoever posts after this store sees it and writes the wake-up; whoever posted before is seen
    // by nothing_posted().
    sleeping_.store(true);
    const int timeout = nothing_posted() && !stopping_.load() ? timeout_ms() : 0;
    const int count =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout);
    sleeping_.store(false, std::memory_order_relaxed);
    return count;
}

bool EventLoop::worth_looking() {
    if (luck_ <= 0 && ++skips_ < kLookAgain) {
        return false;
    }
    skips_ = 0;
    return true;
}

void EventLoop::count_luck(bool good) {
    luck_ = good ? std::min(std::max(luck_, 0) + 1, kMostLuck) : std::max(luck_ - kBadLuck, 0);
}

// Lets others run meanwhile: whom it waits for may need this processor.
int EventLoop::look(std::span<epoll_event> events) {
    const Time end = Clock::now() + kLook;
    bool first = true;
    do {
        const int count =
            ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
        if (count != 0) {
            count_luck(!first);
            return count;
        }
        first = false;
        ::sched_yield();
    } while (nothing_posted() && Clock::now() < end);
    count_luck(false);
    return 0;
}

void EventLoop::dispatch(std::uint64_t key, std::uint32_t events) {
    const auto fd = static_cast<std::uint32_t>(key);
    if (fd >= watched_.size()) {
        return;
    }
    const Watched& watched = watched_[fd];
    if (watched.watcher != nullptr && watched.generation == key >> 32) {
        watched.watcher->on_ready(events);
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
    if (is_here()) {
        tasks_here_.push_back(std::move(task));
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
        has_posted_.store(true);
    }
    if (sleeping_.exchange(false)) {
        wake();
    }
}

void EventLoop::post(Posted& posted) {
    if (is_here()) {
        if (!std::exchange(posted.queued_here_, true)) {
            posted_here_.push_back(&posted);
        }
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(posted.queued_, true)) {
            return;
        }
        posted_.push_back(&posted);
        has_posted_.store(true);
    }
    if (sleeping_.exchange(false)) {
        wake();
    }
}

void EventLoop::cancel(Posted& posted) {
    posted.queued_here_ = false;
    std::erase(posted_here_, &posted);
    std::replace(running_.begin(), running_.end(), &posted, static_cast<Posted*>(nullptr));
    const std::lock_guard lock(mutex_);
    posted.queued_ = false;
    std::erase(posted_, &posted);
}

bool EventLoop::nothing_posted() const {
    return posted_here_.empty() && tasks_here_.empty() && !has_posted_.load();
}

// What others have posted joins what was posted here.
void EventLoop::take_posted() {
    const std::lock_guard lock(mutex_);
    has_posted_.store(false);
    for (Task& task : tasks_) {
        tasks_here_.push_back(std::move(task));
    }
    tasks_.clear();
    for (Posted* posted : posted_) {
        posted->queued_ = false;
        if (!std::exchange(posted->queued_here_, true)) {
            posted_here_.push_back(posted);
        }
    }
    posted_.clear();
}

void EventLoop::run_posted_tasks() {
    if (has_posted_.load()) {
        take_posted();
    }
    running_tasks_.swap(tasks_here_);
    running_.swap(posted_here_);
    for (Task& task : running_tasks_) {
        task();
    }
    running_tasks_.clear();
    for (std::size_t i = 0; i < running_.size(); ++i) {
        if (Posted* posted = running_[i]; posted != nullptr) {
            posted->queued_here_ = false;
            posted->run_posted();
        }
    }
    running_.clear();
}

bool EventLoop::watch(int fd, std::uint32_t events, Watcher& watcher) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= watched_.size()) {
        watched_.resize(index + 1);
    }
    Watched& watched = watched_[index];
    epoll_event event = make_event(events, fd, watched.generation + 1);
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        return false;
    }
    ++watched.generation;
    watched.watcher = &watcher;
    return true;
}

void EventLoop::rewatch(int fd, std::uint32_t events, Watcher& watcher) {
    Watched& watched = watched_[static_cast<std::size_t>(fd)];
    epoll_event event = make_event(events, fd, watched.generation);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
    watched.watcher = &watcher;
}

void EventLoop::unwatch(int fd) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    watched_[static_cast<std::size_t>(fd)].watcher = nullptr;
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

void EventLoop::postpone(Timer& timer, Clock::duration by) {
    auto entry = timers_.extract({timer.due, timer.id});
    if (!entry.empty()) {
        timer.due += by;
        entry.key().first = timer.due;
        timers_.insert(std::move(entry));
    }
}

void EventLoop::run_due_timers() {
    while (!timers_.empty() && timers_.begin()->first.first <= now_) {
        Task task = std::move(timers_.begin()->second);
        timers_.erase(timers_.begin());
        task();
    }
}

// By the time of the wake-up, so that it costs no look at the clock: a timer is late by what the
// batch took, at most.
int EventLoop::timeout_ms() const {
    if (timers_.empty()) {
        return -1;
    }
    const auto wait = timers_.begin()->first.first - now_;
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
    return static_cast<int>(std::clamp<long long>(ms, 0, 60'000));
}

}  // namespace signpost
