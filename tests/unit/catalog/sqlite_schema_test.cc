// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_schema.h"

#include <gtest/gtest.h>

#include <array>

#include "catalog/sqlite_catalog.h"
#include "catalog/sqlite_queries.h"
#include "tests/unit/catalog/raw_sql.h"
#include "tests/unit/catalog/sample_records.h"
#include "tests/unit/catalog/temp_directory.h"

namespace signpost {
namespace {

using namespace test;

class SqliteSchema : public testing::Test {
   protected:
    void SetUp() override { ASSERT_TRUE(create_catalog_file(path_)); }

    std::unique_ptr<Connection> connect() {
        return Connection::open(path_, Connection::Access::read_write, {}).value();
    }

    TempDirectory directory_;
    std::string path_ = directory_.file("catalog.db");
};

TEST_F(SqliteSchema, NewFileIsACatalogWithALog) {
    RawDatabase raw(path_);
    EXPECT_EQ(raw.ask("PRAGMA application_id"), "1397769044\n");
    EXPECT_EQ(raw.ask("PRAGMA user_version"), "4\n");
    EXPECT_EQ(raw.ask("PRAGMA journal_mode"), "wal\n");
    EXPECT_EQ(raw.ask("PRAGMA integrity_check"), "ok\n");
    EXPECT_EQ(check_catalog(*connect()).value(), 4);
}

TEST_F(SqliteSchema, EveryTableIsStrict) {
    RawDatabase raw(path_);
    EXPECT_EQ(raw.ask("SELECT count(*) FROM pragma_table_list"
                      " WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite%'"
                      " AND strict = 0"),
              "0\n");
}

TEST_F(SqliteSchema, CreationLeavesWhatIsThere) {
    RawDatabase(path_).run("CREATE TABLE mine (x)");
    ASSERT_TRUE(create_catalog_file(path_));
    EXPECT_EQ(RawDatabase(path_).ask("SELECT count(*) FROM mine"), "0\n");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1);
}

TEST_F(SqliteSchema, MigrationsRunOnceAndInOrder) {
    const std::array<std::string_view, 6> migrations{
        catalog_migrations()[0], catalog_migrations()[1],
        catalog_migrations()[2], catalog_migrations()[3],
        "CREATE TABLE second (x INTEGER) STRICT;",
        "INSERT INTO second VALUES (3); ALTER TABLE server ADD COLUMN note TEXT;"};
    ASSERT_TRUE(migrate_catalog(*connect(), migrations));
    ASSERT_TRUE(migrate_catalog(*connect(), migrations));
    RawDatabase raw(path_);
    EXPECT_EQ(raw.ask("SELECT x FROM second"), "3\n");
    EXPECT_EQ(raw.ask("PRAGMA user_version"), "6\n");
}

TEST_F(SqliteSchema, FailedMigrationLeavesTheVersionBefore) {
    const std::array<std::string_view, 6> migrations{
        catalog_migrations()[0], catalog_migrations()[1],
        catalog_migrations()[2], catalog_migrations()[3],
        "CREATE TABLE second (x INTEGER) STRICT;",
        "CREATE TABLE third (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1);"};
    EXPECT_FALSE(migrate_catalog(*connect(), migrations));
    RawDatabase raw(path_);
    EXPECT_EQ(raw.ask("PRAGMA user_version"), "5\n");
    EXPECT_EQ(raw.ask("SELECT count(*) FROM sqlite_schema WHERE name = 'third'"), "0\n");
}

// A file of the first release, with a server and two disks in its 40th change.
class OlderFile : public testing::Test {
   protected:
    void SetUp() override {
        RawDatabase raw(path_);
        raw.run("PRAGMA journal_mode = WAL");
        raw.run(std::string(catalog_migrations()[0]) +
                "PRAGMA application_id = 1397769044; PRAGMA user_version = 1;"
                "INSERT INTO server VALUES (1, 'beta', 'oslo', 0, 50, 'i-1', 900, 7, 800);"
                "INSERT INTO server_uri VALUES (1, 0, 'nbd://h:1');"
                "INSERT INTO disk VALUES (1, 'a');"
                "INSERT INTO location VALUES (1, 1, NULL, 4096, 0, 1, 40, zeroblob(32), 0,"
                " 100, 700, 'r-1', 1);"
                "INSERT INTO disk VALUES (2, 'rotten');"
                "INSERT INTO location VALUES (2, 1, NULL, 4096, 0, 1, 39, zeroblob(32), 3,"
                " 100, 700, 'r-2', 1);"
                "UPDATE catalog_state SET change_sequence = 40, disks = 2, locations = 2");
    }

    TempDirectory directory_;
    std::string path_ = directory_.file("catalog.db");
};

TEST_F(OlderFile, IsMigratedWithItsRows) {
    const auto catalog = SqliteCatalog::open(path_, OpenMode::existing).value();
    EXPECT_EQ(RawDatabase(path_).ask("PRAGMA user_version"), "4\n");
    const Server held = catalog->find_server("beta").value().value();
    EXPECT_EQ(held.priority_class, PriorityClass::site_normal);
    EXPECT_FALSE(held.draining);
    EXPECT_EQ(held.heartbeat_sequence, 7u);
    EXPECT_EQ(only_location(*catalog, "a").generation, 40u);
    EXPECT_EQ(only_location(*catalog, "a").verified, 0);
    ASSERT_TRUE(catalog->mark_changed(disk("a"), "beta"));
    EXPECT_EQ(only_location(*catalog, "a").generation, 41u);
    EXPECT_TRUE(catalog->check_integrity());
}

// They were of another kind. What has rotted must not be taken for good with a digest of its own.
TEST_F(OlderFile, LosesItsDigestsButNotThoseOfDamagedImages) {
    const auto catalog = SqliteCatalog::open(path_, OpenMode::existing).value();
    EXPECT_EQ(only_location(*catalog, "a").digest, "");
    EXPECT_EQ(only_location(*catalog, "rotten").state, LocationState::damaged);
    EXPECT_EQ(only_location(*catalog, "rotten").digest, "sha256-32k:" + std::string(64, '0'));
    EXPECT_EQ(catalog->change_sequence().value(), 41u);
}

TEST_F(OlderFile, IsNotMigratedByAReaderAndSaysWhoCan) {
    const auto opened = SqliteCatalog::open(path_, OpenMode::read_only);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::denied);
    EXPECT_NE(opened.error().message.find("signpost catalog init"), std::string::npos);
    EXPECT_EQ(RawDatabase(path_).ask("PRAGMA user_version"), "1\n");
}

// What an import that did not end leaves.
TEST_F(SqliteSchema, HalfImportedCatalogIsRefusedUntilItIsImportedAgain) {
    const auto running = SqliteCatalog::open(path_, OpenMode::create).value();
    {
        const auto import = SqliteCatalog::open(path_, OpenMode::import).value();
        ASSERT_TRUE(import->begin_import());
        ASSERT_TRUE(import->restore({.servers = {server("beta")}}));
        ASSERT_TRUE(import->put_site_cost({"oslo", "rome", 3}));
    }
    for (const auto mode : {OpenMode::create, OpenMode::existing, OpenMode::read_only}) {
        const auto opened = SqliteCatalog::open(path_, mode);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code, Errc::unavailable);
        EXPECT_NE(opened.error().message.find("half imported"), std::string::npos);
    }
    EXPECT_EQ(running->put_server(server("gamma")).error().code, Errc::unavailable);
    const auto import = SqliteCatalog::open(path_, OpenMode::import).value();
    ASSERT_TRUE(import->begin_import());
    EXPECT_TRUE(import->servers().value().empty());
    EXPECT_TRUE(import->site_costs().value().empty());
    ASSERT_TRUE(import->end_import());
    EXPECT_TRUE(running->put_server(server("gamma")));
    EXPECT_TRUE(SqliteCatalog::open(path_, OpenMode::create));
}

TEST_F(SqliteSchema, NewerSchemaIsRefusedAndKept) {
    RawDatabase(path_).run("PRAGMA user_version = 5");
    for (const auto mode : {OpenMode::create, OpenMode::existing, OpenMode::read_only}) {
        const auto opened = SqliteCatalog::open(path_, mode);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code, Errc::too_new);
        EXPECT_NE(opened.error().message.find("upgrade"), std::string::npos);
    }
    EXPECT_EQ(RawDatabase(path_).ask("PRAGMA user_version"), "5\n");
}

TEST_F(SqliteSchema, MissingTableIsCorrupt) {
    RawDatabase(path_).run("DROP TABLE location");
    const auto opened = SqliteCatalog::open(path_, OpenMode::create);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::corrupt);
    EXPECT_NE(opened.error().message.find("location"), std::string::npos);
}

TEST_F(SqliteSchema, ViewInPlaceOfATableIsCorrupt) {
    RawDatabase(path_).run(
        "ALTER TABLE location RENAME TO l; CREATE VIEW location AS"
        " SELECT * FROM l");
    EXPECT_EQ(SqliteCatalog::open(path_, OpenMode::create).error().code, Errc::corrupt);
}

TEST_F(SqliteSchema, LookUpsSeekAndNeverSort) {
    RawDatabase raw(path_);
    const auto plan = [&](std::string_view query) {
        return raw.ask("EXPLAIN QUERY PLAN " + std::string(query));
    };
    for (const auto query : {sql::kFindDisk, sql::kListFrom, sql::kListAfter, sql::kSearchAfter}) {
        EXPECT_EQ(plan(query).find("SCAN"), std::string::npos) << plan(query);
        EXPECT_NE(plan(query).find("SEARCH d USING COVERING INDEX"), std::string::npos)
            << plan(query);
    }
    for (const auto query : {sql::kListFrom, sql::kListAfter, sql::kSearchAfter})
        EXPECT_EQ(plan(query).find("TEMP B-TREE"), std::string::npos) << plan(query);
    EXPECT_NE(plan(sql::kDisksOfServer).find("location_server"), std::string::npos);
    EXPECT_EQ(plan(sql::kDeleteServer).find("SCAN"), std::string::npos);
}

}  // namespace
}  // namespace signpost
