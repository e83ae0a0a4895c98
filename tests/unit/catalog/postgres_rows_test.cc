// SPDX-License-Identifier: BSD-3-Clause
//
// Rows that somebody wrote by hand: what breaks a rule is skipped and counted, never returned. And
// what several writers do to each other's.

#include <gtest/gtest.h>

#include <thread>

#include "catalog/postgres_catalog.h"
#include "tests/unit/catalog/postgres_cluster.h"
#include "tests/unit/catalog/sample_records.h"

namespace signpost::test {
namespace {

using Names = std::vector<std::string>;

class PostgresRows : public testing::Test {
   protected:
    void SetUp() override {
        catalog_ = PostgresCatalog::open(uri_, OpenMode::create, {}, kPatience).value();
        ASSERT_TRUE(catalog_->put_server(server("beta")));
        ASSERT_TRUE(catalog_->put_server(server("gamma", "nbd://127.0.0.1:2")));
        ASSERT_TRUE(catalog_->publish("beta", images({image("evil"), image("good")})));
    }

    void write(const std::string& sql) { RawPostgres(uri_).run(sql); }

    // The row of "evil" after SQL is not to be seen, and everything else is.
    void expect_field_skipped(const std::string& assignment) {
        write(
            "CREATE TABLE public.kept AS SELECT * FROM signpost.location;"
            "UPDATE signpost.location SET " +
            assignment + " WHERE disk_name = 'evil'");
        auto before = catalog_->skipped_rows();
        EXPECT_EQ(catalog_->find(disk("evil")).value(), std::nullopt) << assignment;
        EXPECT_EQ(catalog_->skipped_rows(), before + 1) << assignment;
        EXPECT_EQ(names(catalog_->list("", "", 10).value()), Names{"good"}) << assignment;
        EXPECT_EQ(names(catalog_->search("", "", 10).value()), Names{"good"}) << assignment;
        EXPECT_TRUE(catalog_->find(disk("good")).value());
        write(
            "DELETE FROM signpost.location; INSERT INTO signpost.location"
            " SELECT * FROM public.kept; DROP TABLE public.kept");
        EXPECT_TRUE(catalog_->find(disk("evil")).value());
    }

    std::string uri_ = shared_cluster().uri(shared_cluster().make_database());
    std::unique_ptr<Catalog> catalog_;
};

TEST_F(PostgresRows, SkipsFieldsThatBreakTheRules) {
    for (const auto* assignment :
         {"size = -1", "state = 99", "format = -1", "generation = 0", "priority = 1, state = -1",
          "minimum_block = 3", "digest = '\\x00'", "digest = ''", "server_id = 999",
          "digest = decode(repeat('00', 33), 'hex')", "export_name = repeat('x', 5000)",
          "fingerprint = repeat('x', 500)", "fingerprint = E'a\\nb'", "published = -1, size = -2",
          "verified = -1"})
        expect_field_skipped(assignment);
}

TEST_F(PostgresRows, SkipsOddJobsLeasesAndSiteCosts) {
    write(
        "INSERT INTO signpost.job SELECT lpad(i::text, 32, '0'), 0, 'a' || i, 'beta', '', 0, 0, 0,"
        " 0, '', 1, 1 FROM generate_series(1, 5) i;"
        "UPDATE signpost.job SET message = repeat('x', 50000000) WHERE disk_name = 'a1';"
        "UPDATE signpost.job SET target = '../x' WHERE disk_name = 'a2';"
        "UPDATE signpost.job SET rate = -1 WHERE disk_name = 'a3';"
        "UPDATE signpost.job SET disk_name = repeat('x', 2000) WHERE disk_name = 'a4';"
        "INSERT INTO signpost.site_cost VALUES ('b', 'a', 1), ('', 'c', 1), ('c', 'd', -1);"
        "INSERT INTO signpost.writer VALUES ('a', '../x', 'w', 1, 4000000000)");
    EXPECT_EQ(catalog_->jobs("").value().size(), 1u);
    EXPECT_TRUE(catalog_->site_costs().value().empty());
    EXPECT_EQ(catalog_->skipped_rows(), 7u);
    EXPECT_EQ(catalog_->writer(disk("a")).value(), std::nullopt);
    EXPECT_TRUE(catalog_->take_writer(disk("a"), "beta", "w"));
}

TEST_F(PostgresRows, SkipsOddBootProfiles) {
    for (const auto* odd : {"''", "E'\\n'", "repeat('x', 50000000)"}) {
        write(fmt::format("DELETE FROM signpost.boot_profile;"
                          "INSERT INTO signpost.boot_profile VALUES ('a', {}, 1)",
                          odd));
        const auto before = catalog_->skipped_rows();
        EXPECT_EQ(catalog_->boot_profile(disk("a")).value(), std::nullopt) << odd;
        EXPECT_EQ(catalog_->skipped_rows(), before + 1) << odd;
    }
}

TEST_F(PostgresRows, OddJobMakesRoomForAGoodOne) {
    write(
        "INSERT INTO signpost.job VALUES ('no id', 0, 'a', 'beta', '', 0, 0, 0, 0, '', 1, 1)");
    ASSERT_TRUE(catalog_->put_job(job('1')));
    EXPECT_EQ(catalog_->jobs("").value().size(), 1u);
    write("UPDATE signpost.job SET rate = -1, state = -7");
    ASSERT_TRUE(catalog_->put_job(job('1')));
    EXPECT_EQ(catalog_->jobs("").value().size(), 1u);
    EXPECT_EQ(catalog_->skipped_rows(), 0u);
}

TEST_F(PostgresRows, HugeValuesAreNotFetched) {
    expect_field_skipped("export_name = repeat('x', 50000000)");
    expect_field_skipped("digest = decode(repeat('00', 5000000), 'hex')");
}

TEST_F(PostgresRows, SkipsDiskNamesThatBreakTheRulesAndWithdrawsThem) {
    for (const auto* name : {"'../../etc/passwd'", "'/etc/passwd'", "'local:good'", "E'a\\n'",
                             "repeat('x', 2000)", "repeat('x', 100000)", "repeat('\u00e9', 800)"}) {
        write(fmt::format("UPDATE signpost.location SET disk_name = {} WHERE disk_name != 'good'",
                          name));
        const auto before = catalog_->skipped_rows();
        EXPECT_EQ(names(catalog_->list("", "", 10).value()), Names{"good"}) << name;
        EXPECT_EQ(catalog_->skipped_rows(), before + 1) << name;
        EXPECT_EQ(catalog_->publish("beta", all_images({image("good"), image("evil")})).value(),
                  (PublishSummary{1, 0, 1}))
            << name;
    }
}

TEST_F(PostgresRows, SkippedRowsDoNotShortenAPage) {
    std::vector<Image> all;
    for (int i = 0; i < 50; ++i)
        all.push_back(image(fmt::format("p{:02}", i)));
    ASSERT_TRUE(catalog_->publish("beta", images(all)));
    write("UPDATE signpost.location SET size = -1 WHERE disk_name < 'p40' AND disk_name >= 'p10'");
    EXPECT_EQ(catalog_->list("p", "", 15).value().size(), 15u);
}

TEST_F(PostgresRows, DiskWithManyLocationsDoesNotShortenAPage) {
    write(
        "INSERT INTO signpost.server (name, site, kind, priority, class, draining, instance,"
        " last_complete) SELECT 's' || i, '', 0, 0, 2, false, '', 0"
        " FROM generate_series(1, 2000) i;"
        "INSERT INTO signpost.location SELECT s.id, l.size, l.generation, l.published,"
        " l.verified, l.priority, l.minimum_block, l.format, l.state, l.read_only, l.disk_name,"
        " l.export_name, l.fingerprint, l.digest FROM signpost.location l, signpost.server s"
        " WHERE s.name LIKE 's%'");
    const auto found = catalog_->list("", "", 2).value();
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[1].name.str(), "good");
    EXPECT_EQ(catalog_->find(disk("good")).value()->locations.size(), 2001u);
}

TEST_F(PostgresRows, SkipsUrisAndServersThatBreakTheRules) {
    for (const auto* uri : {"nbd+ssh://host", "nbd://-oProxyCommand=x", "nbd://host/export", ""}) {
        write(
            fmt::format("UPDATE signpost.server_uri SET uri = '{}' WHERE server_id ="
                        " (SELECT id FROM signpost.server WHERE name = 'beta')",
                        uri));
        EXPECT_TRUE(catalog_->find_server("beta").value().value().uris.empty()) << uri;
    }
    write("UPDATE signpost.server SET kind = 7 WHERE name = 'beta'");
    EXPECT_EQ(catalog_->servers().value().size(), 1u);
    ASSERT_TRUE(catalog_->put_server(server("beta")));
    EXPECT_TRUE(catalog_->find_server("beta").value());
}

TEST_F(PostgresRows, SecondServerOfANameIsSkipped) {
    write(
        "ALTER TABLE signpost.server DROP CONSTRAINT server_name_key;"
        "INSERT INTO signpost.server (name, site, kind, priority, class, draining, instance,"
        " last_complete) VALUES ('beta', '', 0, 0, 0, false, '', 0);"
        "INSERT INTO signpost.server_uri SELECT id, 0, 'nbd://127.0.0.1:6' FROM signpost.server"
        " WHERE name = 'beta' ORDER BY id DESC LIMIT 1");
    EXPECT_EQ(catalog_->find_server("beta").value(), server("beta"));
    EXPECT_EQ(catalog_->skipped_rows(), 1u);
    EXPECT_EQ(catalog_->servers().value().size(), 2u);
    EXPECT_EQ(catalog_->skipped_rows(), 2u);
}

TEST_F(PostgresRows, PublishingAgainHealsARow) {
    write("UPDATE signpost.location SET state = 99, size = -1");
    EXPECT_EQ(catalog_->publish("beta", all_images({image("evil"), image("good")})).value(),
              (PublishSummary{0, 2, 0}));
    EXPECT_EQ(names(catalog_->list("", "", 10).value()), (Names{"evil", "good"}));
}

TEST_F(PostgresRows, LostSequenceIsCorruptForChanges) {
    for (const auto* sql : {"UPDATE signpost.catalog_state SET change_sequence = -1",
                            "UPDATE signpost.catalog_state SET"
                            " change_sequence = 9223372036854775807"}) {
        write(sql);
        EXPECT_EQ(catalog_->publish("beta", images({image("new")})).error().code, Errc::corrupt);
        EXPECT_EQ(catalog_->mark_changed(disk("good"), "beta").error().code, Errc::corrupt);
        EXPECT_TRUE(catalog_->find(disk("good")).value());
        EXPECT_EQ(catalog_->find(disk("new")).value(), std::nullopt);
    }
    write("DELETE FROM signpost.catalog_state");
    EXPECT_EQ(catalog_->mark_changed(disk("good"), "beta").error().code, Errc::corrupt);
    EXPECT_EQ(catalog_->change_sequence().error().code, Errc::corrupt);
}

TEST_F(PostgresRows, LostHeartbeatRowComesBack) {
    ASSERT_TRUE(catalog_->put_server(server("alpha", "nbd://h:1", "i-1")));
    write("DELETE FROM signpost.heartbeat");
    EXPECT_TRUE(catalog_->heartbeat("alpha", "i-1"));
    EXPECT_GT(catalog_->find_server("alpha").value()->last_heartbeat, 1'000'000'000);
}

TEST_F(PostgresRows, IntegrityCheckSeesWhatContradictsItself) {
    EXPECT_TRUE(catalog_->check_integrity());
    write("UPDATE signpost.location SET generation = 1000 WHERE disk_name = 'evil'");
    EXPECT_EQ(catalog_->check_integrity().error().code, Errc::corrupt);
    write("UPDATE signpost.location SET generation = 1, server_id = 99");
    EXPECT_EQ(catalog_->check_integrity().error().code, Errc::corrupt);
}

TEST_F(PostgresRows, TextThatPostgresCannotHoldIsNowhere) {
    EXPECT_EQ(catalog_->find_server(std::string_view("beta\0x", 6)).value(), std::nullopt);
    EXPECT_EQ(catalog_->heartbeat("beta", std::string_view("\0", 1)).error().code, Errc::conflict);
    EXPECT_EQ(catalog_->publish("\xff", {}).error().code, Errc::not_found);
    EXPECT_EQ(catalog_->list("", "\xff", 1).error().code, Errc::invalid);
    EXPECT_EQ(catalog_->list("\xff", "", 1).value().size(), 0u);
}

TEST_F(PostgresRows, ManyWritersOfOneCatalogAgree) {
    std::vector<std::thread> writers;
    for (int number = 0; number < 4; ++number)
        writers.emplace_back([&, number] {
            const auto mine =
                PostgresCatalog::open(uri_, OpenMode::existing, {}, kPatience).value();
            const std::string name = fmt::format("w{}", number);
            ASSERT_TRUE(mine->put_server(server(name)));
            for (int i = 0; i < 20; ++i) {
                ASSERT_TRUE(mine->publish(name, images({image(fmt::format("shared/{:02}", i))})));
                const auto found = mine->find(disk(fmt::format("shared/{:02}", i))).value();
                for (const Location& location : found->locations) {
                    if (location.server != name)
                        continue;
                    const auto done =
                        mine->record_digest({found->name, name, location.generation, digest('1')});
                    ASSERT_TRUE(done) << done.error().message;
                }
            }
        });
    for (std::thread& writer : writers)
        writer.join();
    EXPECT_EQ(catalog_->totals().value().disks, 22u);
    EXPECT_EQ(catalog_->totals().value().locations, 82u);
    EXPECT_TRUE(catalog_->check_integrity());
    const auto last = catalog_->find(disk("shared/19")).value().value();
    for (const Location& location : last.locations)
        EXPECT_EQ(location.generation, last.locations.front().generation);
}

}  // namespace
}  // namespace signpost::test
