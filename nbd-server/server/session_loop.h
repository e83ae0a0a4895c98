// SPDX-License-Identifier: BSD-3-Clause
//
// SessionLoop is what the sessions of one event loop share: the loop, room to receive into and to
// put batches of replies together in, and the way back for what other threads have finished.
//
// Lifetime: outlives its sessions, which it owns. Threads: the loop's, but for finish_later().

#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "nbd-server/disk/event_loop.h"
#include "nbd-server/server/request_counts.h"

namespace signpost {

class Session;
struct Operation;

class SessionLoop final : private EventLoop::Posted {
   public:
    static constexpr std::size_t kInput = 128 * 1024;
    static constexpr std::size_t kBatch = 512 * 1024;

    explicit SessionLoop(EventLoop& loop);
    ~SessionLoop() override;

    EventLoop& loop() { return loop_; }

    RequestCounts& counts() { return counts_; }

    std::span<std::byte> input() { return {input_.get(), kInput}; }
    std::span<std::byte> batch() { return {batch_.get(), kBatch}; }

    // From any thread: the operation has ended, with its `error` set.
    void finish_later(Operation& operation);

    void add(std::shared_ptr<Session> session);
    // The session ends after whatever is running now has returned.
    void remove(Session& session);
    // Gives the session up, for another loop.
    std::shared_ptr<Session> release(Session& session);

    std::size_t size() const { return sessions_.size(); }
    template <class Fn>
    void for_each(Fn fn) {
        std::vector<std::shared_ptr<Session>> all;
        all.reserve(sessions_.size());
        for (const auto& [key, session] : sessions_) {
            all.push_back(session);
        }
        for (const auto& session : all) {
            fn(*session);
        }
    }

   private:
    void run_posted() override;

    EventLoop& loop_;
    RequestCounts counts_;
    std::unique_ptr<std::byte[]> input_;
    std::unique_ptr<std::byte[]> batch_;
    std::unordered_map<Session*, std::shared_ptr<Session>> sessions_;
    std::mutex mutex_;
    std::vector<Operation*> finished_;  // guarded by mutex_
    std::vector<Operation*> finishing_;
};

}  // namespace signpost
