// SPDX-License-Identifier: BSD-3-Clause
//
// A few connections to one PostgreSQL catalog, lent to one user at a time.
//
// They are made by a thread of the pool's own, because names are resolved blocking; whoever wants
// one waits for it no longer than a moment. When the last round of calls failed, or says nothing
// for that moment, whoever wants a connection is told so at once, and the thread goes on trying, at
// first after 0.1 s, then up to 5 s apart, by chance earlier: so that a disk whose opening asks the
// catalog several times does not wait several times, and a server that comes back is not stormed.
// A connection that was lost, or did not answer, makes all others suspect: they are dropped. Where
// one does not answer that was made a moment ago, the server is overloaded, and a pause follows.
//
// Changes need a primary. Look-ups take the primary too; a standby while there is none.
//
// Lifetime: a lease may outlive the pool. The destructor waits half a second for its thread at
// most; one that is stuck in a name's resolution goes when that is over. Threads: any. Not carried
// across fork: the thread is started by the constructor.

#pragma once

#include <memory>
#include <thread>

#include "catalog/postgres_connection.h"

namespace signpost {

class PostgresPool {
   public:
    using Time = PostgresConnection::Time;
    enum class Need { look_up, change };

    class State;

    // Gives its connection back when it goes.
    class Lease {
       public:
        Lease(std::shared_ptr<State> state, Need need,
              std::unique_ptr<PostgresConnection> connection);
        Lease(Lease&& other) noexcept = default;
        Lease& operator=(Lease&&) = delete;
        ~Lease();

        PostgresConnection& operator*() const { return *connection_; }
        PostgresConnection* operator->() const { return connection_.get(); }

       private:
        std::shared_ptr<State> state_;
        Need need_;
        std::unique_ptr<PostgresConnection> connection_;
    };

    // PATIENCE: with a dial, until those who wait for it are told that there is no server.
    PostgresPool(PostgresTarget target, std::chrono::milliseconds patience);
    PostgresPool(const PostgresPool&) = delete;
    PostgresPool& operator=(const PostgresPool&) = delete;
    ~PostgresPool();

    // Fails with unavailable: all are in use until DEADLINE, or there is no server. PATIENT: waits
    // for a server until DEADLINE; for a call that has begun, and lost its connection.
    Result<Lease> lease(Need need, Time deadline, bool patient = false);

    const PostgresTarget& target() const { return *target_; }
    std::shared_ptr<const PostgresTarget> shared_target() const { return target_; }

   private:
    const std::shared_ptr<const PostgresTarget> target_;
    const std::shared_ptr<State> state_;
    std::thread thread_;
};

}  // namespace signpost
