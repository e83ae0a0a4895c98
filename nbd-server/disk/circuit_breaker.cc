// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/circuit_breaker.h"

#include <algorithm>
#include <array>

namespace signpost {

namespace {

using std::chrono::milliseconds;

// The first retry comes quickly, because most servers that fail have just been restarted.
constexpr std::array<milliseconds, 4> kBackOff{milliseconds{50}, milliseconds{500},
                                               milliseconds{600}, milliseconds{700}};

}  // namespace

bool CircuitBreaker::lets_through(Time now) const {
    return failures_ == 0 || (!probing_ && now >= not_before_);
}

bool CircuitBreaker::would_dial(Time now) const {
    const std::lock_guard lock(mutex_);
    return lets_through(now);
}

bool CircuitBreaker::open() const {
    const std::lock_guard lock(mutex_);
    return failures_ > 0;
}

std::chrono::steady_clock::duration CircuitBreaker::open_for(Time now) const {
    const std::lock_guard lock(mutex_);
    return failures_ > 0 ? now - opened_ : std::chrono::steady_clock::duration::zero();
}

bool CircuitBreaker::may_dial(Time now) {
    const std::lock_guard lock(mutex_);
    if (!lets_through(now)) {
        return false;
    }
    probing_ = failures_ > 0;
    return true;
}

void CircuitBreaker::succeeded() {
    const std::lock_guard lock(mutex_);
    failures_ = 0;
    probing_ = false;
}

void CircuitBreaker::failed(Time now) {
    const std::lock_guard lock(mutex_);
    const auto step = std::min<std::size_t>(failures_, kBackOff.size() - 1);
    random_ = random_ * 1664525U + 1013904223U;
    const auto base = kBackOff[step];
    const auto jitter = milliseconds{(random_ >> 8) % (base.count() * 2 / 5 + 1)};
    not_before_ = now + base + jitter;
    opened_ = failures_ == 0 ? now : opened_;
    failures_ = std::min(failures_ + 1, 1000U);
    probing_ = false;
}

void CircuitBreaker::hasten(Time now) {
    const std::lock_guard lock(mutex_);
    not_before_ = std::min(not_before_, now);
}

void CircuitBreaker::withdrawn() {
    const std::lock_guard lock(mutex_);
    probing_ = false;
}

}  // namespace signpost
