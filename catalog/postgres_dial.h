// SPDX-License-Identifier: BSD-3-Clause
//
// One round of calling the hosts of a PostgreSQL URI, for one connection.
//
// The first host is dialled, and the next one as soon as that has failed, turned out to be a
// standby, or said nothing for 150 ms: a frozen host does not cost its whole time. The first
// primary is taken; a standby when no other host has answered as one within a moment. What the
// user's target_session_attrs asks for libpq sees to, host by host.
//
// libpq resolves names blocking: so a round runs on a thread that nobody waits for without a limit.
//
// Threads: one round runs on one thread; StopSign may be raised by any.

#pragma once

#include <atomic>
#include <memory>

#include "catalog/postgres_connection.h"

namespace signpost {

// Ends a round early.
class StopSign {
   public:
    StopSign();
    StopSign(const StopSign&) = delete;
    StopSign& operator=(const StopSign&) = delete;
    ~StopSign();

    void raise();
    bool is_raised() const { return raised_; }
    int descriptor() const { return descriptor_; }  // readable when raised

   private:
    std::atomic<bool> raised_ = false;
    const int descriptor_;
};

struct Dialled {
    std::unique_ptr<PostgresConnection> connection;
    std::size_t host;  // its number in the target
};

// Begins with host number FIRST. Fails with unavailable, and what each host said.
Result<Dialled> dial(const std::shared_ptr<const PostgresTarget>& target, std::size_t first,
                     const StopSign& stop);

}  // namespace signpost
