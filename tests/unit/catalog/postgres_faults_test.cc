// SPDX-License-Identifier: BSD-3-Clause
//
// What befalls the server: stopped, frozen, restarted, failed over; wrong hosts and certificates.

#include <gtest/gtest.h>
#include <stdio.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "catalog/postgres_catalog.h"
#include "tests/unit/catalog/postgres_cluster.h"
#include "tests/unit/catalog/postgres_wire.h"
#include "tests/unit/catalog/sample_records.h"
#include "tests/unit/requires.h"

namespace signpost::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Six calls that each wait for their whole time take longer; one that does takes less.
constexpr milliseconds kNotEachTime = 5 * kLookupWait;

std::unique_ptr<Catalog> open(const std::string& uri, PostgresWaits waits = {}) {
    auto catalog = PostgresCatalog::open(uri, OpenMode::create, {}, waits);
    if (!catalog)
        throw std::runtime_error(catalog.error().message);
    return std::move(*catalog);
}

milliseconds time_of(const std::function<void()>& work) {
    const auto begun = Clock::now();
    work();
    return std::chrono::ceil<milliseconds>(Clock::now() - begun);
}

// Until WORK gives true, or ten seconds have passed.
bool comes_true(const std::function<bool()>& work) {
    for (const auto end = Clock::now() + std::chrono::seconds(10); Clock::now() < end;) {
        if (work())
            return true;
        std::this_thread::sleep_for(milliseconds(20));
    }
    return false;
}

class PostgresFaults : public testing::Test {
   protected:
    // A catalog with a disk, and one connection or more to it.
    std::unique_ptr<Catalog> filled(const std::string& uri, PostgresWaits waits = {}) {
        auto catalog = open(uri, waits);
        EXPECT_TRUE(catalog->put_server(server("beta")));
        EXPECT_TRUE(catalog->publish("beta", images({image("a")})));
        return catalog;
    }

    PostgresCluster cluster_;
    std::string database_ = cluster_.make_database();
    std::string uri_ = cluster_.uri(database_);
};

TEST_F(PostgresFaults, StoppedServerIsToldAtOnce) {
    const auto catalog = filled(uri_);
    cluster_.stop();
    const auto took = time_of([&] {
        for (int i = 0; i < 5; ++i)
            EXPECT_EQ(catalog->find(disk("a")).error().code, Errc::unavailable);
        EXPECT_EQ(catalog->servers().error().code, Errc::unavailable);
    });
    EXPECT_LT(took, kNotEachTime);
    EXPECT_EQ(PostgresCatalog::open(uri_, OpenMode::create).error().code, Errc::unavailable);
}

TEST_F(PostgresFaults, ReturningServerIsFoundByItself) {
    const auto catalog = filled(uri_);
    cluster_.stop();
    EXPECT_FALSE(catalog->find(disk("a")));
    cluster_.start();
    EXPECT_TRUE(comes_true([&] { return catalog->find(disk("a")).has_value(); }));
    EXPECT_TRUE(comes_true([&] { return catalog->mark_changed(disk("a"), "beta").has_value(); }));
}

TEST_F(PostgresFaults, RestartBetweenCallsIsNotNoticed) {
    const auto catalog = filled(uri_, kPatience);
    cluster_.stop();
    cluster_.start();
    EXPECT_TRUE(catalog->find(disk("a")).value());
    EXPECT_TRUE(catalog->mark_changed(disk("a"), "beta"));
}

TEST_F(PostgresFaults, EndedConnectionsAreReplacedWithinTheCall) {
    const auto catalog = filled(uri_, kPatience);
    RawPostgres raw(cluster_.uri("postgres"));
    for (int i = 0; i < 5; ++i) {
        raw.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" +
                database_ + "'");
        const auto found = catalog->find(disk("a"));
        EXPECT_TRUE(found) << found.error().message;
        const auto published = catalog->publish("beta", images({image(fmt::format("n{}", i))}));
        EXPECT_TRUE(published) << published.error().message;
    }
}

TEST_F(PostgresFaults, FrozenServerCostsBelowASecondInAll) {
    const auto catalog = filled(uri_);
    cluster_.freeze();
    const auto took = time_of([&] {
        for (int i = 0; i < 5; ++i)
            EXPECT_EQ(catalog->find(disk("a")).error().code, Errc::unavailable);
        EXPECT_EQ(catalog->find_server("beta").error().code, Errc::unavailable);
    });
    EXPECT_LT(took, kNotEachTime);
    EXPECT_LT(time_of([&] {
                  EXPECT_EQ(PostgresCatalog::open(uri_, OpenMode::existing).error().code,
                            Errc::unavailable);
              }),
              kNotEachTime);
    cluster_.go_on();
    EXPECT_TRUE(comes_true([&] { return catalog->find(disk("a")).has_value(); }));
}

TEST_F(PostgresFaults, BusyServerIsNotTakenForAHungOne) {
    const auto catalog = filled(uri_);
    RawPostgres raw(uri_);
    raw.run("BEGIN; LOCK TABLE signpost.location IN ACCESS EXCLUSIVE MODE");
    const auto busy = catalog->find(disk("a"));
    ASSERT_FALSE(busy);
    EXPECT_EQ(busy.error().code, Errc::unavailable);
    EXPECT_NE(busy.error().message.find("busy"), std::string::npos) << busy.error().message;
    EXPECT_TRUE(catalog->servers());  // at once, on a connection that is there
    raw.run("COMMIT");
    EXPECT_TRUE(catalog->find(disk("a")).value());
}

// It takes connections and answers no look-up: a new one for each that fails would make it worse.
TEST_F(PostgresFaults, OverloadedServerIsNotStormedWithConnections) {
    filled(uri_, kPatience);
    PostgresWire wire(cluster_.directory());
    const auto catalog =
        open(fmt::format("postgresql://signpost_tests@/{}?host={}", database_, wire.directory()),
             {.look_up = milliseconds(150)});
    ASSERT_TRUE(comes_true([&] { return catalog->find(disk("a")).has_value(); }));
    wire.hold_look_ups(true);
    const unsigned before = wire.connections();
    unsigned failed = 0;
    for (const auto end = Clock::now() + std::chrono::seconds(5); Clock::now() < end;) {
        failed += catalog->find(disk("a")) ? 0 : 1;
        std::this_thread::sleep_for(milliseconds(5));
    }
    EXPECT_GE(failed, 20u) << "while it pauses, callers are told at once";
    EXPECT_LE(wire.connections() - before, 12u);
    wire.hold_look_ups(false);
    EXPECT_TRUE(comes_true([&] { return catalog->find(disk("a")).has_value(); }));
}

TEST_F(PostgresFaults, HeartbeatDoesNotWaitForAPublication) {
    const auto catalog = open(uri_);
    ASSERT_TRUE(catalog->put_server(server("beta", "nbd://h:1", "i-1")));
    RawPostgres raw(uri_);
    raw.run("BEGIN; SELECT 1 FROM signpost.server FOR UPDATE");
    EXPECT_TRUE(catalog->heartbeat("beta", "i-1"));
    raw.run("COMMIT");
}

TEST_F(PostgresFaults, DeadHostsBeforeTheServerAreSkipped) {
    filled(uri_);
    const std::string uri = fmt::format("postgresql://signpost_tests@/{}?host=/nowhere,{}",
                                        database_, cluster_.directory());
    EXPECT_TRUE(open(uri, kPatience)->find(disk("a")).value());
}

TEST_F(PostgresFaults, FrozenHostBeforeTheServerCostsLessThanALookUp) {
    filled(uri_);
    PostgresCluster frozen;
    frozen.freeze();
    const std::string uri = fmt::format("postgresql://signpost_tests@/{}?host={},{}", database_,
                                        frozen.directory(), cluster_.directory());
    const auto took = time_of([&] { EXPECT_TRUE(open(uri, kPatience)->find(disk("a")).value()); });
    EXPECT_LT(took, kPatience.look_up);
}

TEST_F(PostgresFaults, StandbyIsReadAndBecomesThePrimary) {
    filled(uri_);
    const auto standby = PostgresCluster::standby_of(cluster_);
    const std::string uri = fmt::format("postgresql://signpost_tests@/{}?host={},{}", database_,
                                        cluster_.directory(), standby->directory());
    const auto catalog = open(uri);
    ASSERT_TRUE(comes_true([&] {
        return RawPostgres(standby->uri(database_)).ask("SELECT count(*) FROM signpost.location") ==
               "1\n";
    }));
    ASSERT_TRUE(catalog->put_server(server("gamma")));
    cluster_.stop();
    EXPECT_TRUE(comes_true([&] { return catalog->find(disk("a")).has_value(); }));
    const auto refused = catalog->mark_changed(disk("a"), "beta");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::unavailable);
    EXPECT_NE(refused.error().message.find("standby"), std::string::npos)
        << refused.error().message;
    standby->promote();
    EXPECT_TRUE(comes_true([&] { return catalog->mark_changed(disk("a"), "beta").has_value(); }));
}

// An open connection to the frozen one is given half of the time, and the standby the rest.
TEST_F(PostgresFaults, FirstLookUpAfterThePrimaryFrozeIsAnsweredByTheStandby) {
    filled(uri_, kPatience);
    const auto standby = PostgresCluster::standby_of(cluster_);
    const std::string uri = fmt::format("postgresql://signpost_tests@/{}?host={},{}", database_,
                                        cluster_.directory(), standby->directory());
    const auto catalog = open(uri, {.look_up = std::chrono::seconds(6)});
    ASSERT_TRUE(catalog->find(disk("a")).value());
    cluster_.freeze();
    const auto found = catalog->find(disk("a"));
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_TRUE(*found);
    EXPECT_LT(time_of([&] { EXPECT_TRUE(catalog->find(disk("a"))); }), std::chrono::seconds(3))
        << "the frozen one is left alone from now on";
    cluster_.go_on();
    EXPECT_TRUE(comes_true([&] { return catalog->mark_changed(disk("a"), "beta").has_value(); }));
}

// As a server does that is started then. A look-up's time is for a frozen host, the standby's
// answers, and a machine that is busy: what is less than that here need not do at the first try.
TEST_F(PostgresFaults, CatalogIsOpenedByTheStandbyWhileThePrimaryIsFrozen) {
    filled(uri_, kPatience);
    const auto standby = PostgresCluster::standby_of(cluster_);
    const std::string uri = fmt::format("postgresql://signpost_tests@/{}?host={},{}", database_,
                                        cluster_.directory(), standby->directory());
    ASSERT_TRUE(comes_true([&] {
        return RawPostgres(standby->uri(database_)).ask("SELECT count(*) FROM signpost.location") ==
               "1\n";
    }));
    cluster_.freeze();
    const PostgresWaits short_ones{.look_up = milliseconds(380), .dial = milliseconds(380)};
    EXPECT_TRUE(comes_true(
        [&] { return PostgresCatalog::open(uri, OpenMode::create, {}, short_ones).has_value(); }));
    cluster_.go_on();
}

// Nobody knows then whether the change was made: it is made again, which gives the same.
TEST_F(PostgresFaults, ConnectionLostAtCommitIsNotNoticed) {
    filled(uri_, kPatience);
    PostgresWire wire(cluster_.directory());
    const auto catalog =
        open(fmt::format("postgresql://signpost_tests@/{}?host={}", database_, wire.directory()),
             kPatience);
    for (const auto where : {PostgresWire::Cut::before_commit, PostgresWire::Cut::after_commit}) {
        const auto cut = [&](const auto& change) {
            wire.cut(where);
            const auto changed = change();
            EXPECT_TRUE(changed) << changed.error().message;
            EXPECT_TRUE(wire.has_cut());
            return changed;
        };
        const std::string name = where == PostgresWire::Cut::before_commit ? "x" : "y";
        cut([&] { return catalog->put_server(server(name, "nbd://h:1", "i-1")); });
        const auto summary = cut([&] { return catalog->publish(name, images({image(name)})); });
        EXPECT_EQ(summary.value(), PublishSummary{.added = 1});
        const auto generation = only_location(*catalog, name).generation;
        cut([&] { return catalog->mark_changed(disk(name), name); });
        EXPECT_GT(only_location(*catalog, name).generation, generation);
        const DigestRecord read{disk(name), name, only_location(*catalog, name).generation,
                                digest('1')};
        cut([&] { return catalog->record_digest(read); });
        cut([&] { return catalog->set_draining(name, true); });
        cut([&] { return catalog->put_site_cost({name, "rome", 7}); });
        cut([&] { return catalog->put_job(job(name == "x" ? '1' : '2', name, "beta")); });
        const auto lease = cut([&] { return catalog->take_writer(disk(name), name, "w"); });
        EXPECT_EQ(lease.value().fence, 1u);
        cut([&] { return catalog->release_writer(lease.value()); });
        cut([&] { return catalog->restore({.vanished = {disk(name)}}); });
        cut([&] { return catalog->remove_server(name); });
    }
    EXPECT_EQ(catalog->servers().value().size(), 1u);
    EXPECT_EQ(catalog->jobs("").value().size(), 2u);
    EXPECT_TRUE(catalog->check_integrity());
}

TEST_F(PostgresFaults, PrimaryIsFoundBehindItsStandby) {
    filled(uri_, kPatience);
    const auto standby = PostgresCluster::standby_of(cluster_);
    const auto uri = [&](const std::string& more) {
        return fmt::format("postgresql://signpost_tests@/{}?host={},{}&{}", database_,
                           standby->directory(), cluster_.directory(), more);
    };
    for (const auto* attribute : {"any", "read-write", "primary"}) {
        const auto catalog =
            open(uri(fmt::format("target_session_attrs={}", attribute)), kPatience);
        EXPECT_TRUE(catalog->mark_changed(disk("a"), "beta")) << attribute;
    }
    const auto reader = PostgresCatalog::open(uri("target_session_attrs=standby"),
                                              OpenMode::read_only, {}, kPatience);
    ASSERT_TRUE(reader) << reader.error().message;
    EXPECT_TRUE((*reader)->find(disk("a")).value());
    standby->stop();
    const auto refused =
        PostgresCatalog::open(uri("target_session_attrs=standby"), OpenMode::read_only);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::unavailable);
    EXPECT_EQ(refused.error().message.find('\n'), std::string::npos) << refused.error().message;
}

TEST_F(PostgresFaults, PasswordIsInNoMessage) {
    cluster_.write_file("pg_hba.conf", "local all all scram-sha-256\n");
    RawPostgres(cluster_.uri("postgres")).run("ALTER ROLE signpost_tests PASSWORD 'other'");
    cluster_.reload();
    for (const std::string& uri : {fmt::format("postgresql://signpost_tests:s3cr%45t@/{}?host={}",
                                               database_, cluster_.directory()),
                                   std::string("postgresql://u:s3crEt@host:port:port/x"),
                                   std::string("postgresql://u:s3crEt%zz@host/x"),
                                   std::string("postgresql://u:s3crEt@[::1/x"),
                                   std::string("postgresql://u:s3crEt@host/x?nonsense=1"),
                                   std::string("postgresql:u:s3crEt@host/x"),
                                   std::string("postgresql://u:s3crEt@/x?host=/nowhere")}) {
        const auto opened = open_catalog(uri, OpenMode::create);
        ASSERT_FALSE(opened) << uri;
        const std::string& message = opened.error().message;
        EXPECT_EQ(message.find("s3cr"), std::string::npos) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
}

TEST_F(PostgresFaults, WrongCertificateIsRefused) {
    const auto make = [&](const std::string& name) {
        const std::string command = fmt::format(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
            " -addext subjectAltName=DNS:localhost -keyout {0}.key -out {0}.crt 2>/dev/null",
            cluster_.directory() + "/" + name);
        FILE* const shell = popen(command.c_str(), "r");
        EXPECT_EQ(pclose(shell), 0);
    };
    SIGNPOST_REQUIRES("openssl");
    make("right");
    make("wrong");
    const auto content = [&](const std::string& name) {
        std::ostringstream out;
        out << std::ifstream(cluster_.directory() + "/" + name).rdbuf();
        return out.str();
    };
    cluster_.write_file("server.crt", content("right.crt"));
    cluster_.write_file("server.key", content("right.key"));
    cluster_.write_file("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n");
    cluster_.stop();
    const int port = 20000 + getpid() % 20000;
    cluster_.start({"ssl=on", "listen_addresses=127.0.0.1", fmt::format("port={}", port)});
    const auto uri = [&](const std::string& root) {
        return fmt::format(
            "postgresql://signpost_tests@localhost:{}/{}?hostaddr=127.0.0.1"
            "&sslmode=verify-full&sslrootcert={}/{}.crt",
            port, database_, cluster_.directory(), root);
    };
    EXPECT_TRUE(PostgresCatalog::open(uri("right"), OpenMode::create, {}, kPatience));
    const auto refused = PostgresCatalog::open(uri("wrong"), OpenMode::create);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::unavailable);
    EXPECT_NE(refused.error().message.find("certificate"), std::string::npos)
        << refused.error().message;
}

}  // namespace
}  // namespace signpost::test
