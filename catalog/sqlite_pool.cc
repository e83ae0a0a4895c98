// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_pool.h"

#include <fmt/format.h>

#include "catalog/disk_name.h"
#include "catalog/sqlite_schema.h"

namespace signpost {

namespace {

// A log with something in it must be read too, which an immutable connection would not do.
bool has_log(const std::string& path) {
    const auto log = stamp_file(path + "-wal");
    return log && log->size > 0;
}

}  // namespace

ConnectionPool::Lease::~Lease() {
    if (connection_ != nullptr)
        pool_->give_back(std::move(connection_));
}

Result<ConnectionPool::Lease> ConnectionPool::lease() {
    const auto until = std::chrono::steady_clock::now() + settings_.wait;
    {
        std::unique_lock lock(mutex_);
        if (!returned_.wait_until(lock, until, [&] { return lent_ < settings_.capacity; }))
            return fail(Errc::unavailable,
                        fmt::format("catalog {} is busy with other calls of this process; try "
                                    "again",
                                    escaped(settings_.path)));
        ++lent_;
    }
    auto connection = take_idle();
    if (connection != nullptr && connection->is_current()) {
        connection->set_lock_deadline(until);
        return Lease(*this, std::move(connection));
    }
    connection.reset();
    auto opened = open(until);
    if (opened)
        return Lease(*this, std::move(*opened));
    give_back(nullptr);
    Error& error = opened.error();
    // To a caller that looks a disk up, "not found" would be an answer.
    if (error.code == Errc::not_found || error.code == Errc::invalid)
        error.code = Errc::unavailable;
    return std::unexpected(std::move(error));
}

std::unique_ptr<Connection> ConnectionPool::take_idle() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty())
        return nullptr;
    auto connection = std::move(idle_.back());
    idle_.pop_back();
    return connection;
}

// A connection that failed is not used again, unless it was only made to wait.
void ConnectionPool::give_back(std::unique_ptr<Connection> connection) {
    const bool reusable =
        connection != nullptr && (!connection->failed() || connection->was_busy());
    if (reusable) {
        connection->clear_failure();
        connection->set_work_deadline({});
    } else {
        connection.reset();
    }
    {
        const std::lock_guard lock(mutex_);
        --lent_;
        if (reusable)
            idle_.push_back(std::move(connection));
    }
    returned_.notify_one();
}

Result<std::unique_ptr<Connection>> ConnectionPool::open(Connection::Time until) const {
    bool immutable_may_help = false;
    auto opened = open_as(settings_.access, until, immutable_may_help);
    if (opened || !immutable_may_help || !settings_.may_be_immutable || has_log(settings_.path))
        return opened;
    return open_as(Connection::Access::immutable, until, immutable_may_help);
}

Result<std::unique_ptr<Connection>> ConnectionPool::open_as(Connection::Access access,
                                                            Connection::Time until,
                                                            bool& immutable_may_help) const {
    auto opened = Connection::open(settings_.path, access, until);
    if (!opened)
        return opened;
    const auto version = check_catalog(**opened);
    immutable_may_help = (*opened)->needs_immutable();
    if (!version)
        return std::unexpected(version.error());
    return opened;
}

}  // namespace signpost
