// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/catalog_watch.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kLook{1};
constexpr std::chrono::seconds kRollCall = kHeartbeatInterval;

}  // namespace

CatalogWatch::CatalogWatch(Catalog& catalog, Liveness& liveness, RelayEngine& engine)
    : catalog_(catalog),
      liveness_(liveness),
      engine_(engine),
      thread_([this] { run(); }),
      hints_(catalog.when_changed([this] { hint(); })) {}

CatalogWatch::~CatalogWatch() {
    hints_.reset();
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void CatalogWatch::run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        lock.unlock();
        look();
        lock.lock();
        changed_.wait_for(lock, kLook, [this] { return stopping_ || hinted_; });
        hinted_ = false;
    }
}

void CatalogWatch::hint() {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (now >= next_hint_) {
        next_hint_ = now + kLook;
        hinted_ = true;
        changed_.notify_all();
    }
}

// A catalog that does not answer has no news.
void CatalogWatch::look() {
    const auto sequence = catalog_.change_sequence();
    if (!sequence) {
        return;
    }
    if (sequence_ && *sequence_ != *sequence) {
        engine_.catalog_changed();
    }
    sequence_ = *sequence;
    if (Clock::now() < roll_call_) {
        return;
    }
    if (const auto servers = catalog_.servers()) {
        liveness_.note(*servers, Clock::now());
        roll_call_ = Clock::now() + kRollCall;
    }
}

}  // namespace signpost
