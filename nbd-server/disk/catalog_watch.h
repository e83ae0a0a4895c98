// SPDX-License-Identifier: BSD-3-Clause
//
// CatalogWatch looks at the catalog now and then, so that nobody who serves data has to: once a
// second at its change sequence, and every few seconds at who beats. When something has changed the
// relays are told. A catalog that tells of changes by itself is looked at at once, but no sooner
// than a second after the last change.
//
// Lifetime: catalog, liveness and engine outlive it; the destructor ends its thread, which may take
// as long as a look-up. Threads: any.

#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "catalog/catalog.h"
#include "catalog/liveness.h"
#include "nbd-server/disk/relay_engine.h"

namespace signpost {

class CatalogWatch {
   public:
    CatalogWatch(Catalog& catalog, Liveness& liveness, RelayEngine& engine);
    CatalogWatch(const CatalogWatch&) = delete;
    CatalogWatch& operator=(const CatalogWatch&) = delete;
    ~CatalogWatch();

   private:
    using Clock = std::chrono::steady_clock;

    void run();
    void look();
    void hint();

    Catalog& catalog_;
    Liveness& liveness_;
    RelayEngine& engine_;

    // The thread's own.
    std::optional<std::uint64_t> sequence_;
    Clock::time_point roll_call_{};

    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;  // these are guarded by mutex_
    bool hinted_ = false;
    Clock::time_point next_hint_{};
    std::thread thread_;
    std::shared_ptr<void> hints_;
};

}  // namespace signpost
