// SPDX-License-Identifier: BSD-3-Clause
//
// CatalogFeed tells the catalog what HeldImages has for it, and that this server is alive. A
// catalog that does not answer is tried again with back-off: one line says so, one when it works
// again. A catalog that has lost this server (it was made anew), or has the process that ran before
// it (it was put back), is told everything again. A server whose name now belongs to another
// process says so once, and then stays silent; one that has not had its name yet, because another
// has it, tries again.
//
// Lifetime: catalog and log outlive it. Threads: one at a time.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "catalog/catalog.h"
#include "nbd-server/disk/held_images.h"
#include "nbd-server/disk/log.h"

namespace signpost {

class CatalogFeed {
   public:
    using Clock = std::chrono::steady_clock;

    // SESSIONS may be null.
    CatalogFeed(Catalog& catalog, Server server, std::chrono::milliseconds heartbeat,
                std::shared_ptr<const std::atomic<unsigned>> sessions, Log& log)
        : catalog_(catalog),
          server_(std::move(server)),
          interval_(heartbeat),
          sessions_(std::move(sessions)),
          log_(log) {}
    CatalogFeed(const CatalogFeed&) = delete;
    CatalogFeed& operator=(const CatalogFeed&) = delete;

    // The server has not been registered yet, because the catalog was away when it started: the
    // catalog may know it as it ran before.
    void register_first() { registered_ = false; }

    // Each does what is due by now, and waits for the catalog no longer than one call may take.
    void publish(HeldImages& held);
    void beat(HeldImages& held);

    // When the next of them has something to do.
    Clock::time_point next_publish(const HeldImages& held) const;
    Clock::time_point next_beat() const;

    // How often the catalog has been told of images; from any thread.
    std::uint64_t publications() const { return publications_; }

   private:
    void register_again(HeldImages& held);
    bool registers(HeldImages& held);
    void failed(const Error& error);
    void works();
    void take_name_again(HeldImages& held, const Error& error);
    void lose_name(const Error& error);

    Catalog& catalog_;
    const Server server_;
    const std::chrono::milliseconds interval_;
    const std::shared_ptr<const std::atomic<unsigned>> sessions_;
    Log& log_;

    Clock::time_point beat_at_{};
    Clock::time_point retry_at_{};
    Clock::time_point may_take_again_{};
    Clock::duration delay_{};
    std::optional<Errc> trouble_;  // that was told last, while it lasts
    bool name_lost_ = false;
    bool beat_failed_ = false;
    bool registered_ = true;
    std::atomic<std::uint64_t> publications_{0};
};

}  // namespace signpost
