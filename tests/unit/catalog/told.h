// SPDX-License-Identifier: BSD-3-Clause
//
// How often a catalog tells that it has changed. Threads: the test's own, beside whoever tells.

#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "catalog/catalog.h"

namespace signpost::test {

// What CATALOG tells, while this lives.
class Told {
   public:
    explicit Told(Catalog& catalog)
        : handle_(catalog.when_changed([this] {
              const std::lock_guard lock(mutex_);
              ++times_;
              more_.notify_all();
          })) {}

    // Waits until it was told more than BEFORE times; gives how often it was.
    int more_than(int before) {
        std::unique_lock lock(mutex_);
        more_.wait_for(lock, std::chrono::seconds(20), [&] { return times_ > before; });
        EXPECT_GT(times_, before);
        return times_;
    }

   private:
    std::mutex mutex_;
    std::condition_variable more_;
    int times_ = 0;
    std::shared_ptr<void> handle_;
};

}  // namespace signpost::test
