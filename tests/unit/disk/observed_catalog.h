// SPDX-License-Identifier: BSD-3-Clause
//
// A MemoryCatalog whose changes can be waited for, and which fails when a test wants it to.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "catalog/memory_catalog.h"

namespace signpost::test {

class ObservedCatalog final : public MemoryCatalog {
   public:
    Result<PublishSummary> publish(std::string_view server, const Publication& change) override {
        if (const auto error = failure()) {
            return fail(*error, "the catalog is down");
        }
        auto result = MemoryCatalog::publish(server, change);
        const std::lock_guard lock(mutex_);
        if (result) {
            publications_.push_back(change);
        }
        changed_.notify_all();
        return result;
    }

    Result<void> put_server(const Server& server) override {
        auto result = MemoryCatalog::put_server(server);
        notify([&] { ++registrations_; });
        return result;
    }

    Result<void> heartbeat(std::string_view name, std::string_view instance,
                           std::uint32_t sessions) override {
        if (const auto error = failure()) {
            return fail(*error, "the catalog is down");
        }
        auto result = MemoryCatalog::heartbeat(name, instance, sessions);
        notify([&] { ++heartbeats_; });
        return result;
    }

    Result<std::optional<DiskRecord>> find(const DiskName& name) override {
        auto record = MemoryCatalog::find(name);
        if (record && *record && old_knowledge_) {
            (*record)->as_of = 1;
        }
        notify([&] { ++looks_; });
        return record;
    }

    // Look-ups are answered by what was known once, as when the catalog is away.
    void answer_from_old_knowledge(bool old) { old_knowledge_ = old; }
    int looks() {
        const std::lock_guard lock(mutex_);
        return looks_;
    }

    void break_with(std::optional<Errc> error) {
        notify([&] { error_ = error; });
    }

    std::vector<Publication> publications() {
        const std::lock_guard lock(mutex_);
        return publications_;
    }
    int heartbeats() {
        const std::lock_guard lock(mutex_);
        return heartbeats_;
    }
    int failures() {
        const std::lock_guard lock(mutex_);
        return failures_;
    }

    // False when CONDITION did not come true in time. It may call the catalog.
    bool wait_until(const std::function<bool()>& condition) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!condition()) {
            std::unique_lock lock(mutex_);
            const auto seen = events_;
            // A change between the question and the lock is seen at the next look at the latest.
            changed_.wait_for(lock, std::chrono::milliseconds(20), [&] { return events_ != seen; });
            if (std::chrono::steady_clock::now() > deadline) {
                return false;
            }
        }
        return true;
    }

    std::optional<Location> location(std::string_view disk, std::string_view server) {
        const auto found = find(DiskName::parse(disk).value());
        if (found && *found) {
            for (const Location& location : (*found)->locations) {
                if (location.server == server) {
                    return location;
                }
            }
        }
        return std::nullopt;
    }

   private:
    template <class Fn>
    void notify(Fn fn) {
        const std::lock_guard lock(mutex_);
        fn();
        ++events_;
        changed_.notify_all();
    }

    std::optional<Errc> failure() {
        const std::lock_guard lock(mutex_);
        if (error_) {
            ++failures_;
            ++events_;
            changed_.notify_all();
        }
        return error_;
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Publication> publications_;
    std::optional<Errc> error_;
    int registrations_ = 0;
    int heartbeats_ = 0;
    int failures_ = 0;
    std::atomic<bool> old_knowledge_{false};
    int looks_ = 0;
    unsigned events_ = 0;
};

}  // namespace signpost::test
