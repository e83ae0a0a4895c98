// SPDX-License-Identifier: BSD-3-Clause
//
// Rows that somebody wrote by hand: what breaks a rule is skipped and counted, never returned.

#include <gtest/gtest.h>

#include "catalog/resolver.h"
#include "catalog/sqlite_catalog.h"
#include "tests/unit/catalog/raw_sql.h"
#include "tests/unit/catalog/sample_records.h"
#include "tests/unit/catalog/temp_directory.h"

namespace signpost {
namespace {

using namespace test;
using Names = std::vector<std::string>;

class HostileRows : public testing::Test {
   protected:
    void SetUp() override {
        catalog_ = SqliteCatalog::open(path_, OpenMode::create).value();
        ASSERT_TRUE(catalog_->put_server(server("beta")));
        ASSERT_TRUE(catalog_->put_server(server("gamma", "nbd://127.0.0.1:2")));
        ASSERT_TRUE(catalog_->publish("beta", images({image("evil"), image("good")})));
    }

    void write(const std::string& sql) { RawDatabase(path_).run(sql); }

    // The row of "evil" after SQL is not to be seen, and everything else is.
    void expect_skipped(const std::string& sql) {
        const std::string backup = "CREATE TABLE kept AS SELECT * FROM location;";
        write(backup + sql);
        auto before = catalog_->skipped_rows();
        EXPECT_EQ(catalog_->find(disk("evil")).value(), std::nullopt) << sql;
        EXPECT_EQ(catalog_->skipped_rows(), before + 1) << sql;
        before = catalog_->skipped_rows();
        EXPECT_EQ(names(catalog_->list("", "", 10).value()), Names{"good"}) << sql;
        EXPECT_EQ(names(catalog_->search("", "", 10).value()), Names{"good"}) << sql;
        EXPECT_EQ(catalog_->skipped_rows(), before + 2) << sql;
        EXPECT_TRUE(catalog_->find(disk("good")).value());
        write("DELETE FROM location; INSERT INTO location SELECT * FROM kept; DROP TABLE kept;");
        EXPECT_TRUE(catalog_->find(disk("evil")).value());
    }

    void expect_field_skipped(const std::string& assignment) {
        expect_skipped("UPDATE location SET " + assignment +
                       " WHERE disk_id = (SELECT id FROM disk WHERE name = 'evil');");
    }

    TempDirectory directory_;
    std::string path_ = directory_.file("catalog.db");
    std::unique_ptr<Catalog> catalog_;
};

TEST_F(HostileRows, SkipsNegativeSize) {
    expect_field_skipped("size = -1");
    expect_field_skipped("size = -9223372036854775807 - 1");
}

TEST_F(HostileRows, SkipsUnknownCodes) {
    expect_field_skipped("state = 99");
    expect_field_skipped("state = -1");
    expect_field_skipped("format = 7");
    expect_field_skipped("read_only = 2");
}

TEST_F(HostileRows, SkipsNumbersOutOfRange) {
    expect_field_skipped("generation = 0");
    expect_field_skipped("generation = -5");
    expect_field_skipped("priority = 4294967296");
    expect_field_skipped("minimum_block = 3");
    expect_field_skipped("minimum_block = 1073741824");
}

TEST_F(HostileRows, SkipsGarbageDigest) {
    expect_field_skipped("digest = x'00'");
    expect_field_skipped("digest = x''");
    expect_field_skipped("digest = zeroblob(33)");
}

TEST_F(HostileRows, SkipsTimeBeforeAnyTime) {
    expect_field_skipped("verified = -1");
}

TEST_F(HostileRows, SkipsOddJobs) {
    const auto jobs_with = [&](const std::string& assignment) {
        write(
            "DELETE FROM job; INSERT INTO job VALUES ('00000000000000000000000000000001', 0,"
            " 'a', 'beta', '', 0, 0, 0, 0, '', 1, 4000000000); UPDATE job SET " +
            assignment);
        return catalog_->jobs("").value().size();
    };
    EXPECT_EQ(jobs_with("size = 1"), 1u);
    for (const auto* odd :
         {"id = 'x'", "kind = 2", "kind = -1", "disk = '/etc'", "target = '../x'",
          "source = char(10)", "source = 'beta'", "rate = -1", "state = 5", "size = -1",
          "done = -9223372036854775807", "message = CAST(x'ff' AS TEXT)",
          "message = printf('%501s', 'x')", "created = -1", "updated = -1"}) {
        const auto before = catalog_->skipped_rows();
        EXPECT_EQ(jobs_with(odd), 0u) << odd;
        EXPECT_EQ(catalog_->skipped_rows(), before + 1) << odd;
    }
}

TEST_F(HostileRows, OddJobMakesRoomForAGoodOne) {
    write("INSERT INTO job VALUES ('no id', 0, 'a', 'beta', '', 0, 0, 0, 0, '', 1, 1)");
    ASSERT_TRUE(catalog_->put_job(job('1')));
    EXPECT_EQ(catalog_->jobs("").value().size(), 1u);
    write("UPDATE job SET rate = -1, state = -7");
    ASSERT_TRUE(catalog_->put_job(job('1')));
    EXPECT_EQ(catalog_->jobs("").value().size(), 1u);
    EXPECT_EQ(catalog_->skipped_rows(), 0u);
}

TEST_F(HostileRows, OddLeaseIsNone) {
    for (const auto* odd : {"server = '../x'", "writer = char(10)", "fence = 0", "expires = -1",
                            "expires = 9223372036854775807"}) {
        ASSERT_TRUE(catalog_->take_writer(disk("good"), "beta", "w"));
        write(std::string("UPDATE writer SET ") + odd);
        EXPECT_EQ(catalog_->writer(disk("good")).value(), std::nullopt) << odd;
        EXPECT_TRUE(catalog_->take_writer(disk("good"), "gamma", "v")) << odd;
        write("DELETE FROM writer");
    }
}

TEST_F(HostileRows, SkipsOddBootProfiles) {
    for (const auto* odd : {"''", "char(10)", "CAST(x'ff' AS TEXT)", "hex(zeroblob(50000))"}) {
        write(std::string("INSERT OR REPLACE INTO boot_profile VALUES ('good', ") + odd + ", 1)");
        const auto before = catalog_->skipped_rows();
        EXPECT_EQ(catalog_->boot_profile(disk("good")).value(), std::nullopt) << odd;
        EXPECT_EQ(catalog_->skipped_rows(), before + 1) << odd;
    }
}

TEST_F(HostileRows, SkipsOddSiteCosts) {
    ASSERT_TRUE(catalog_->put_site_cost({"a", "b", 5}));
    write(
        "INSERT INTO site_cost VALUES ('b', 'a', 1), ('', 'c', 1), ('c', 'd', -1),"
        " ('c', 'e', 10001), ('c', char(10), 1), ('c', 'c', 1)");
    EXPECT_EQ(catalog_->site_costs().value(), (std::vector<SiteCost>{{"a", "b", 5}}));
    EXPECT_EQ(catalog_->skipped_rows(), 6u);
}

TEST_F(HostileRows, SkipsTextThatIsNotUtf8) {
    expect_field_skipped("export_name = CAST(x'ff' AS TEXT)");
    expect_field_skipped("export_name = CAST(x'610062' AS TEXT)");
    expect_field_skipped("fingerprint = CAST(x'c0af' AS TEXT)");
}

TEST_F(HostileRows, SkipsTextThatIsTooLong) {
    expect_field_skipped("export_name = printf('%5000s', 'x')");
    expect_field_skipped("fingerprint = printf('%500s', 'x')");
}

TEST_F(HostileRows, SkipsLocationOfUnregisteredServer) {
    expect_skipped(
        "PRAGMA foreign_keys = OFF; UPDATE location SET server_id = 99"
        " WHERE disk_id = (SELECT id FROM disk WHERE name = 'evil');");
}

TEST_F(HostileRows, StrictTablesRefuseOtherTypes) {
    RawDatabase raw(path_);
    EXPECT_NE(raw.try_run("UPDATE location SET size = 9223372036854775808"), "");
    EXPECT_NE(raw.try_run("UPDATE location SET size = 'many'"), "");
    EXPECT_NE(raw.try_run("UPDATE location SET digest = 'text'"), "");
}

TEST_F(HostileRows, SkipsOtherTypesWhenStrictnessWasTakenAway) {
    catalog_.reset();
    write(
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET"
        " sql = replace(sql, 'STRICT, WITHOUT', 'WITHOUT') WHERE name = 'location'");
    catalog_ = SqliteCatalog::open(path_, OpenMode::existing).value();
    expect_field_skipped("size = 9223372036854775808");
    expect_field_skipped("size = 'many'");
    expect_field_skipped("size = x'00'");
    expect_field_skipped("generation = 1e300");
    expect_field_skipped("digest = 'sha256-32k:00'");
    expect_field_skipped("fingerprint = x'07'");
    expect_field_skipped("export_name = x'6162'");
}

TEST_F(HostileRows, SkipsDiskNamesThatBreakTheRules) {
    for (const auto* name : {"'../../etc/passwd'", "'/etc/passwd'", "'a//b'", "'local:good'",
                             "CAST(x'ff' AS TEXT)", "'a' || char(10)", "printf('%2000s', 'x')"}) {
        write(fmt::format("UPDATE disk SET name = {} WHERE name = 'evil'", name));
        const auto before = catalog_->skipped_rows();
        EXPECT_EQ(names(catalog_->list("", "", 10).value()), Names{"good"}) << name;
        EXPECT_EQ(names(catalog_->search("", "", 10).value()), Names{"good"}) << name;
        EXPECT_EQ(catalog_->skipped_rows(), before + 2) << name;
        write("UPDATE disk SET name = 'evil' WHERE name != 'good'");
    }
}

TEST_F(HostileRows, SkippedRowsDoNotShortenAPage) {
    std::vector<Image> all;
    for (int i = 0; i < 50; ++i)
        all.push_back(image(fmt::format("p{:02}", i)));
    ASSERT_TRUE(catalog_->publish("beta", images(all)));
    write(
        "UPDATE location SET size = -1 WHERE disk_id IN"
        " (SELECT id FROM disk WHERE name < 'p40' AND name >= 'p10')");
    EXPECT_EQ(catalog_->list("p", "", 15).value().size(), 15u);
}

TEST_F(HostileRows, OtherLocationsOfTheDiskRemain) {
    ASSERT_TRUE(catalog_->publish("gamma", images({image("evil")})));
    write(
        "UPDATE location SET state = 99 WHERE server_id ="
        " (SELECT id FROM server WHERE name = 'beta')");
    EXPECT_EQ(only_location(*catalog_, "evil").server, "gamma");
}

TEST_F(HostileRows, SkipsUrisThatARelayMustNotFollow) {
    for (const auto* uri :
         {"nbd+ssh://host", "nbd+vsock://2:1", "nbd://-oProxyCommand=x", "nbd://user@host",
          "nbd://host/export", "file:///etc/passwd", "", "nbd+unix:///?socket=relative"}) {
        write(
            fmt::format("UPDATE server_uri SET uri = '{}' WHERE server_id ="
                        " (SELECT id FROM server WHERE name = 'beta')",
                        uri));
        const auto before = catalog_->skipped_rows();
        const auto found = catalog_->find_server("beta").value().value();
        EXPECT_TRUE(found.uris.empty()) << uri;
        EXPECT_EQ(catalog_->skipped_rows(), before + 1) << uri;
        EXPECT_FALSE(Resolver(*catalog_, "alpha").resolve(disk("good"))) << uri;
    }
}

TEST_F(HostileRows, GoodUriNextToABadOneIsUsed) {
    write(
        "INSERT INTO server_uri SELECT id, -1, 'nbd+ssh://host' FROM server"
        " WHERE name = 'beta'");
    const auto found = catalog_->find_server("beta").value().value();
    ASSERT_EQ(found.uris.size(), 1u);
    EXPECT_EQ(found.uris.front().str(), "nbd://127.0.0.1:10810");
}

TEST_F(HostileRows, SkipsBadServersAndWhatTheyHold) {
    for (const auto* assignment :
         {"name = '../x'", "kind = 7", "class = 5", "draining = 2", "site = char(10)",
          "last_heartbeat = -1", "instance = CAST(x'ff' AS TEXT)"}) {
        write(
            fmt::format("CREATE TABLE kept AS SELECT * FROM server;"
                        "UPDATE server SET {} WHERE name = 'beta'",
                        assignment));
        const auto before = catalog_->skipped_rows();
        const auto found = catalog_->servers().value();
        ASSERT_EQ(found.size(), 1u) << assignment;
        EXPECT_EQ(found.front().name, "gamma");
        EXPECT_EQ(catalog_->skipped_rows(), before + 1) << assignment;
        EXPECT_FALSE(Resolver(*catalog_, "alpha").resolve(disk("good"))) << assignment;
        write("INSERT OR REPLACE INTO server SELECT * FROM kept; DROP TABLE kept");
    }
}

TEST_F(HostileRows, PublishingAgainHealsARow) {
    write("UPDATE location SET state = 99, size = -1");
    EXPECT_EQ(catalog_->publish("beta", all_images({image("evil"), image("good")})).value(),
              (PublishSummary{0, 2, 0}));
    EXPECT_EQ(names(catalog_->list("", "", 10).value()), (Names{"evil", "good"}));
}

TEST_F(HostileRows, RegisteringAgainHealsAServer) {
    write("UPDATE server SET kind = 7 WHERE name = 'beta'");
    ASSERT_TRUE(catalog_->put_server(server("beta")));
    EXPECT_TRUE(catalog_->find_server("beta").value());
}

TEST_F(HostileRows, HugeValueIsAnErrorOfItsDiskOnly) {
    write(
        "UPDATE location SET export_name = printf('%5000000s', 'x')"
        " WHERE disk_id = (SELECT id FROM disk WHERE name = 'evil')");
    EXPECT_EQ(catalog_->find(disk("evil")).error().code, Errc::corrupt);
    EXPECT_TRUE(catalog_->find(disk("good")).value());
}

TEST_F(HostileRows, TriggersDoNotRun) {
    write("CREATE TRIGGER evil AFTER UPDATE ON location BEGIN DELETE FROM disk; END");
    catalog_ = SqliteCatalog::open(path_, OpenMode::existing).value();
    ASSERT_TRUE(catalog_->mark_changed(disk("evil"), "beta"));
    EXPECT_EQ(names(catalog_->list("", "", 10).value()), (Names{"evil", "good"}));
}

TEST_F(HostileRows, LostSequenceIsCorruptForChanges) {
    for (const auto* sql : {"UPDATE catalog_state SET change_sequence = -1",
                            "UPDATE catalog_state SET change_sequence = 9223372036854775807",
                            "DELETE FROM catalog_state"}) {
        write(sql);
        EXPECT_EQ(catalog_->publish("beta", images({image("new")})).error().code, Errc::corrupt)
            << sql;
        EXPECT_EQ(catalog_->mark_changed(disk("good"), "beta").error().code, Errc::corrupt) << sql;
        EXPECT_EQ(catalog_->change_sequence().error().code, Errc::corrupt) << sql;
        EXPECT_TRUE(catalog_->find(disk("good")).value()) << sql;
    }
}

TEST_F(HostileRows, IntegrityCheckSeesWhatContradictsItself) {
    ASSERT_TRUE(catalog_->check_integrity());
    for (const auto* sql : {"INSERT INTO disk (name) VALUES ('no location')",
                            "DELETE FROM disk WHERE name = 'no location';"
                            "UPDATE catalog_state SET disks = disks + 1",
                            "UPDATE catalog_state SET disks = disks - 1;"
                            "PRAGMA foreign_keys = OFF; UPDATE location SET server_id = 77"}) {
        write(sql);
        const auto checked = catalog_->check_integrity();
        ASSERT_FALSE(checked) << sql;
        EXPECT_EQ(checked.error().code, Errc::corrupt);
    }
}

}  // namespace
}  // namespace signpost
