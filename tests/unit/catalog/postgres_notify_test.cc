// SPDX-License-Identifier: BSD-3-Clause
//
// Changes are told by NOTIFY, where the server does; and seen all the same where it does not.

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "tests/unit/catalog/postgres_cluster.h"
#include "tests/unit/catalog/sample_records.h"

namespace signpost::test {
namespace {

std::unique_ptr<Catalog> open(const std::string& uri, OpenMode mode = OpenMode::create) {
    return PostgresCatalog::open(uri, mode, {}, kPatience).value();
}

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

class PostgresNotify : public testing::Test {
   protected:
    std::string database_ = shared_cluster().make_database();
    std::string uri_ = shared_cluster().uri(database_);
};

TEST_F(PostgresNotify, ChangesOfOthersAreTold) {
    const auto watching = open(uri_);
    Told told(*watching);
    int times = told.more_than(0);  // it listens
    const auto changing = open(uri_);
    for (const char* name : {"beta", "gamma", "delta"}) {
        ASSERT_TRUE(changing->put_server(server(name)));
        times = told.more_than(times);
    }
}

TEST_F(PostgresNotify, LostConnectionIsMadeAgain) {
    const auto watching = open(uri_);
    Told told(*watching);
    int times = told.more_than(0);
    RawPostgres(uri_).run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN signpost'"
        " AND datname = current_database()");
    times = told.more_than(times);  // it listens again
    ASSERT_TRUE(open(uri_)->put_server(server("beta")));
    told.more_than(times);
}

TEST_F(PostgresNotify, NobodyIsToldWhoDoesNotWantIt) {
    const auto watching = open(uri_);
    std::atomic<int> times = 0;
    auto handle = watching->when_changed([&] { ++times; });
    Told told(*watching);
    told.more_than(0);
    handle.reset();
    const int before = times;
    ASSERT_TRUE(open(uri_)->put_server(server("beta")));
    told.more_than(1);
    EXPECT_EQ(times, before);
}

// A standby refuses LISTEN, as relatives of PostgreSQL do that do not have it.
TEST_F(PostgresNotify, ChangesAreSeenWithoutListening) {
    PostgresCluster primary;
    const std::string database = primary.make_database();
    const auto changing = open(primary.uri(database));
    ASSERT_TRUE(changing->put_server(server("beta")));
    const auto standby = PostgresCluster::standby_of(primary);
    const auto watching = open(standby->uri(database), OpenMode::read_only);
    const auto before = watching->change_sequence().value();
    ASSERT_TRUE(changing->put_server(server("gamma")));
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    EXPECT_EQ(watching->wait_for_change(before, limit).value(), before + 1);
}

}  // namespace
}  // namespace signpost::test
