// SPDX-License-Identifier: BSD-3-Clause
//
// A few connections to one catalog file, lent to one user at a time, opened when first wanted.
//
// A connection is looked at each time it is lent: when another file has taken the path, or when
// somebody writes to a file that was opened as immutable, it is replaced by one to what is there
// now, which is checked to be a catalog. So a server follows a catalog that was put back from a
// copy.
//
// Lifetime: outlives its leases. Threads: any.

#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "catalog/sqlite_statement.h"

namespace signpost {

class ConnectionPool {
   public:
    struct Settings {
        std::string path;  // absolute
        Connection::Access access = Connection::Access::read_write;
        // For look-ups: a file without a log that is not writable is opened as immutable.
        bool may_be_immutable = false;
        std::size_t capacity = 1;
        std::chrono::milliseconds wait{};  // for a connection, and for other processes' locks
    };

    // Gives its connection back when it goes.
    class Lease {
       public:
        Lease(ConnectionPool& pool, std::unique_ptr<Connection> connection)
            : pool_(&pool), connection_(std::move(connection)) {}
        Lease(Lease&& other) noexcept = default;
        Lease& operator=(Lease&&) = delete;
        ~Lease();

        Connection& operator*() const { return *connection_; }
        Connection* operator->() const { return connection_.get(); }

       private:
        ConnectionPool* pool_;
        std::unique_ptr<Connection> connection_;
    };

    explicit ConnectionPool(Settings settings) : settings_(std::move(settings)) {}

    // unavailable when all are in use for too long; else as opening and checking the file.
    Result<Lease> lease();

   private:
    Result<std::unique_ptr<Connection>> open(Connection::Time until) const;
    Result<std::unique_ptr<Connection>> open_as(Connection::Access access, Connection::Time until,
                                                bool& immutable_may_help) const;
    std::unique_ptr<Connection> take_idle();
    void give_back(std::unique_ptr<Connection> connection);

    const Settings settings_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable returned_;
    std::vector<std::unique_ptr<Connection>> idle_;
    std::size_t lent_ = 0;
};

}  // namespace signpost
