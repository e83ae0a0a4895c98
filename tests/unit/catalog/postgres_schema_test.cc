// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_schema.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "catalog/postgres_catalog.h"
#include "catalog/postgres_pool.h"
#include "catalog/postgres_queries.h"
#include "tests/unit/catalog/postgres_cluster.h"
#include "tests/unit/catalog/sample_records.h"

namespace signpost::test {
namespace {

class PostgresSchema : public testing::Test {
   protected:
    Result<std::unique_ptr<Catalog>> open(OpenMode mode = OpenMode::create) {
        return PostgresCatalog::open(uri_, mode, {}, kPatience);
    }

    void run(const std::string& sql) { RawPostgres(uri_).run(sql); }
    std::string ask(const std::string& sql) { return RawPostgres(uri_).ask(sql); }

    // A role of this test's own that may log in, and the URI of whoever has it.
    std::string uri_of_role(const std::string& role, const std::string& rights = "") {
        RawPostgres raw(uri_);
        raw.try_run("DROP OWNED BY " + role);
        raw.try_run("DROP ROLE " + role);
        raw.run("CREATE ROLE " + role + " LOGIN " + rights);
        return fmt::format("postgresql://{}@/{}?host={}", role, database_,
                           shared_cluster().directory());
    }

    Result<void> migrate(PostgresMigrations migrations) {
        PostgresPool pool(parse_postgres_uri(uri_).value(), std::chrono::seconds(30));
        const auto deadline = std::chrono::steady_clock::now() + kChangeWait;
        auto lease = pool.lease(PostgresPool::Need::change, deadline);
        if (!lease)
            return std::unexpected(lease.error());
        (*lease)->set_call(deadline, kChangeWait);
        return make_postgres_schema(**lease, migrations);
    }

    std::string database_ = shared_cluster().make_database();
    std::string uri_ = shared_cluster().uri(database_);
};

TEST_F(PostgresSchema, TablesAreMadeInCreateModeOnly) {
    EXPECT_EQ(open(OpenMode::existing).error().code, Errc::not_found);
    EXPECT_EQ(open(OpenMode::read_only).error().code, Errc::not_found);
    EXPECT_TRUE(open());
    EXPECT_TRUE(open(OpenMode::existing));
    EXPECT_EQ(open(OpenMode::existing).value()->schema_version(), 3);
}

// It takes seconds, which no statement's timeout ends.
TEST_F(PostgresSchema, PlansAreNeverCompiledNorSplit) {
    RawPostgres raw(uri_);
    raw.run("SET jit = on; SET max_parallel_workers_per_gather = 2");
    raw.run(std::string(pg::kConfigure.text));
    EXPECT_EQ(raw.ask("SHOW jit"), "off\n");
    EXPECT_EQ(raw.ask("SHOW max_parallel_workers_per_gather"), "0\n");
}

TEST_F(PostgresSchema, ThoseWhoStartTogetherMakeOneCatalog) {
    std::vector<std::thread> starters;
    for (int i = 0; i < 6; ++i)
        starters.emplace_back([&, i] {
            const auto catalog = open();
            ASSERT_TRUE(catalog) << catalog.error().message;
            const auto put = (*catalog)->put_server(server(fmt::format("s{}", i)));
            EXPECT_TRUE(put) << put.error().message;
        });
    for (std::thread& starter : starters)
        starter.join();
    EXPECT_EQ(open().value()->servers().value().size(), 6u);
}

TEST_F(PostgresSchema, ReadOnlyCatalogRefusesChanges) {
    ASSERT_TRUE(open());
    const auto catalog = open(OpenMode::read_only).value();
    EXPECT_EQ(catalog->put_server(server("beta")).error().code, Errc::denied);
    EXPECT_EQ(catalog->heartbeat("beta", "i").error().code, Errc::denied);
    EXPECT_TRUE(catalog->servers());
}

TEST_F(PostgresSchema, NewerSchemaIsRefusedAndKept) {
    ASSERT_TRUE(open());
    run("UPDATE signpost.catalog_state SET schema_version = 4");
    for (const auto mode : {OpenMode::create, OpenMode::existing, OpenMode::read_only}) {
        const auto opened = open(mode);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code, Errc::too_new);
    }
    EXPECT_EQ(ask("SELECT schema_version FROM signpost.catalog_state"), "4\n");
}

TEST_F(PostgresSchema, MigrationsRunOnceAndInOrder) {
    const std::array<std::string_view, 5> migrations{
        postgres_migrations()[0], postgres_migrations()[1], postgres_migrations()[2],
        "CREATE TABLE signpost.second (x integer);\n",
        "INSERT INTO signpost.second VALUES (3);\nALTER TABLE signpost.server ADD note text;\n"};
    ASSERT_TRUE(open());
    ASSERT_TRUE(migrate(migrations));
    ASSERT_TRUE(migrate(migrations));
    EXPECT_EQ(ask("SELECT x FROM signpost.second"), "3\n");
    EXPECT_EQ(ask("SELECT schema_version FROM signpost.catalog_state"), "5\n");
}

TEST_F(PostgresSchema, FailedMigrationLeavesWhatWasThere) {
    const std::array<std::string_view, 4> migrations{
        postgres_migrations()[0], postgres_migrations()[1], postgres_migrations()[2],
        "CREATE TABLE signpost.second (x integer);\nINSERT INTO signpost.nowhere VALUES (1);\n"};
    ASSERT_TRUE(open());
    EXPECT_FALSE(migrate(migrations));
    EXPECT_EQ(ask("SELECT schema_version FROM signpost.catalog_state"), "3\n");
    EXPECT_EQ(ask("SELECT count(*) FROM pg_class WHERE relname = 'second'"), "0\n");
    EXPECT_TRUE(open());
}

TEST_F(PostgresSchema, MissingTableOrAViewInItsPlaceIsCorrupt) {
    ASSERT_TRUE(open());
    run("ALTER TABLE signpost.location RENAME TO l");
    EXPECT_EQ(open().error().code, Errc::corrupt);
    run("CREATE VIEW signpost.location AS SELECT * FROM signpost.l");
    EXPECT_EQ(open().error().code, Errc::corrupt);
}

TEST_F(PostgresSchema, HalfImportedCatalogIsRefusedUntilItIsImportedAgain) {
    const auto running = open().value();
    {
        const auto import = open(OpenMode::import).value();
        ASSERT_TRUE(import->begin_import());
        ASSERT_TRUE(import->restore({.servers = {server("beta")}}));
    }
    for (const auto mode : {OpenMode::create, OpenMode::existing, OpenMode::read_only}) {
        const auto opened = open(mode);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code, Errc::unavailable);
        EXPECT_NE(opened.error().message.find("half imported"), std::string::npos);
    }
    const auto refused = running->put_server(server("gamma"));
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("half imported"), std::string::npos);
    const auto import = open(OpenMode::import).value();
    ASSERT_TRUE(import->begin_import());
    EXPECT_TRUE(import->servers().value().empty());
    ASSERT_TRUE(import->end_import());
    EXPECT_TRUE(running->put_server(server("gamma")));
}

TEST_F(PostgresSchema, OtherEncodingIsRefused) {
    uri_ = shared_cluster().uri(shared_cluster().make_database("ENCODING 'LATIN1'"));
    const auto opened = open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::invalid);
    EXPECT_NE(opened.error().message.find("LATIN1"), std::string::npos);
}

TEST_F(PostgresSchema, RoleThatMayNotMakeTablesIsToldWhoMay) {
    const auto opened =
        PostgresCatalog::open(uri_of_role("stranger"), OpenMode::create, {}, kPatience);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::denied);
    EXPECT_NE(opened.error().message.find("signpost catalog init"), std::string::npos);
}

TEST_F(PostgresSchema, RoleWithoutRightsIsToldWhichToGet) {
    ASSERT_TRUE(open());
    const auto opened =
        PostgresCatalog::open(uri_of_role("stranger"), OpenMode::create, {}, kPatience);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::denied);
    EXPECT_NE(opened.error().message.find("signpost_server"), std::string::npos);
}

TEST_F(PostgresSchema, EachRoleMayDoItsPart) {
    ASSERT_TRUE(open());
    const auto as = [&](const std::string& role) {
        return PostgresCatalog::open(uri_of_role("member", "IN ROLE " + role), OpenMode::create, {},
                                     kPatience)
            .value();
    };
    {
        const auto catalog = as("signpost_server");
        ASSERT_TRUE(catalog->put_server(server("beta", "nbd://h:1", "i-1")));
        ASSERT_TRUE(catalog->publish("beta", all_images({image("a"), image("b")})));
        ASSERT_TRUE(catalog->publish("beta", all_images({image("a", "r-2")})));
        ASSERT_TRUE(catalog->heartbeat("beta", "i-1"));
        ASSERT_TRUE(catalog->mark_changed(disk("a"), "beta"));
        EXPECT_EQ(catalog->totals().value().disks, 1u);
        ASSERT_TRUE(catalog->restore({.only_of = "beta", .generation_floor = 100'000}));
        ASSERT_TRUE(
            catalog->put_job({.id = std::string(32, '1'), .disk = disk("a"), .target = "beta"}));
        ASSERT_TRUE(catalog->take_writer(disk("a"), "beta", "w"));
        EXPECT_EQ(catalog->put_site_cost({"a", "b", 1}).error().code, Errc::denied);
        EXPECT_EQ(catalog->remove_server("beta").error().code, Errc::denied);
    }
    {
        const auto catalog = as("signpost_reader");
        EXPECT_TRUE(catalog->find(disk("a")).value());
        EXPECT_EQ(catalog->totals().value().disks, 1u);
        EXPECT_TRUE(catalog->check_integrity());
        EXPECT_EQ(catalog->mark_changed(disk("a"), "beta").error().code, Errc::denied);
    }
    {
        const auto catalog = as("signpost_registrar");
        EXPECT_TRUE(catalog->put_site_cost({"a", "b", 1}));
        EXPECT_TRUE(catalog->put_site_cost({"a", "b", -1}));
        EXPECT_TRUE(catalog->remove_server("beta"));
    }
    ASSERT_TRUE(PostgresCatalog::open(uri_of_role("member", "IN ROLE signpost_registrar"),
                                      OpenMode::import, {}, kPatience)
                    .value()
                    ->begin_import());
}

TEST_F(PostgresSchema, RoleThatIsReadOnlyReads) {
    ASSERT_TRUE(open());
    const std::string uri = uri_of_role("member", "IN ROLE signpost_server");
    run("ALTER ROLE member SET default_transaction_read_only = on");
    const auto catalog = PostgresCatalog::open(uri, OpenMode::create, {}, kPatience).value();
    EXPECT_TRUE(catalog->servers());
    EXPECT_EQ(catalog->put_server(server("beta")).error().code, Errc::denied);
}

TEST_F(PostgresSchema, LookUpsSeek) {
    const auto catalog = open().value();
    ASSERT_TRUE(catalog->put_server(server("beta")));
    std::vector<Image> many;
    for (int i = 0; i < 10'000; ++i)
        many.push_back(image(fmt::format("web{:02}/vm-{:05}", i % 100, i)));
    ASSERT_TRUE(catalog->publish("beta", images(many)));
    RawPostgres raw(uri_);
    raw.run("VACUUM ANALYZE signpost.location");
    const std::string plan = raw.ask(
        "EXPLAIN SELECT DISTINCT disk_name FROM signpost.location WHERE disk_name > ''"
        " AND disk_name LIKE 'web01/%' ORDER BY disk_name LIMIT 10");
    EXPECT_NE(plan.find("disk_name >= 'web01/'"), std::string::npos) << plan;
    EXPECT_NE(plan.find("disk_name < 'web010'"), std::string::npos) << plan;
    EXPECT_EQ(plan.find("Sort"), std::string::npos) << plan;
}

TEST_F(PostgresSchema, OddUrisAreRefused) {
    for (const auto* uri :
         {"postgresql://h?nonsense=1", "postgresql://h:1:2/x",
          "postgresql://a,b:1,2:2,3:3/x?port=1,2", "postgresql://%zz@h/x", "postgresql://[::1/x"}) {
        const auto opened = open_catalog(uri, OpenMode::create);
        ASSERT_FALSE(opened) << uri;
        EXPECT_EQ(opened.error().code, Errc::invalid) << uri;
    }
}

TEST_F(PostgresSchema, DescriptionHasNoSecrets) {
    EXPECT_EQ(
        parse_postgres_uri("postgres://u:secret@a:1,[::1]:2/d?sslpassword=x").value().description,
        "postgresql://u@a:1,::1:2/d");
    EXPECT_EQ(parse_postgres_uri("postgresql:///d?host=/run/x&password=secret").value().description,
              "postgresql:///d?host=/run/x");
}

}  // namespace
}  // namespace signpost::test
