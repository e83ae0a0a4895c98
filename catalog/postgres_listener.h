// SPDX-License-Identifier: BSD-3-Clause
//
// Listens to a PostgreSQL server's NOTIFY on a connection of its own, and tells that something has
// changed. Nothing depends on it: one that is not reached, is a standby or does not know LISTEN is
// tried again seldom, and whoever is to be told looks by itself meanwhile.
//
// Lifetime: the destructor waits half a second for its thread at most; one that is stuck in a
// name's resolution goes when that is over. Threads: any. Not carried across fork.

#pragma once

#include <memory>
#include <thread>

#include "catalog/change_hints.h"
#include "catalog/postgres_uri.h"

namespace signpost {

class PostgresListener {
   public:
    PostgresListener(std::shared_ptr<const PostgresTarget> target,
                     std::shared_ptr<const ChangeHints> hints);
    PostgresListener(const PostgresListener&) = delete;
    PostgresListener& operator=(const PostgresListener&) = delete;
    ~PostgresListener();

   private:
    class State;

    const std::shared_ptr<State> state_;
    std::thread thread_;
};

}  // namespace signpost
