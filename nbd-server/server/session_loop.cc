// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/server/session_loop.h"

#include <utility>

#include "nbd-server/server/operation.h"
#include "nbd-server/server/session.h"

namespace signpost {

SessionLoop::SessionLoop(EventLoop& loop)
    : loop_(loop),
      input_(std::make_unique_for_overwrite<std::byte[]>(kInput)),
      batch_(std::make_unique_for_overwrite<std::byte[]>(kBatch)) {}

SessionLoop::~SessionLoop() = default;

void SessionLoop::finish_later(Operation& operation) {
    {
        const std::lock_guard lock(mutex_);
        finished_.push_back(&operation);
    }
    loop_.post(*this);
}

void SessionLoop::run_posted() {
    {
        const std::lock_guard lock(mutex_);
        finishing_.swap(finished_);
    }
    for (Operation* operation : finishing_) {
        operation->session->ended(*operation);
    }
    finishing_.clear();
}

void SessionLoop::add(std::shared_ptr<Session> session) {
    Session* const key = session.get();
    sessions_.emplace(key, std::move(session));
}

void SessionLoop::remove(Session& session) {
    loop_.post([held = release(session)] {});
}

std::shared_ptr<Session> SessionLoop::release(Session& session) {
    const auto found = sessions_.find(&session);
    if (found == sessions_.end()) {
        return nullptr;
    }
    auto held = std::move(found->second);
    sessions_.erase(found);
    return held;
}

}  // namespace signpost
