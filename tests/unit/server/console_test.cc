// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>

#include "catalog/memory_catalog.h"
#include "catalog/restore_point.h"
#include "nbd-server/console/copy_lines.h"
#include "nbd-server/console/disk_census.h"
#include "nbd-server/console/visible_catalog.h"
#include "nbd-server/server/live_sessions.h"

namespace signpost {
namespace {

DiskRecord disk(const std::string& name,
                std::vector<std::pair<std::string, LocationState>> copies) {
    DiskRecord record{.name = *DiskName::parse(name), .locations = {}};
    for (const auto& [server, state] : copies) {
        Location location;
        location.server = server;
        location.state = state;
        record.locations.push_back(location);
    }
    return record;
}

constexpr auto kReady = LocationState::ready;
constexpr auto kDamaged = LocationState::damaged;

TEST(DiskCounter, CountsCopiesAndWhatCannotBeHad) {
    DiskCounter counter(1000, std::chrono::seconds(0),
                        [](const std::string& server) { return server == "dead"; });
    counter.add(disk("a", {{"one", kReady}, {"two", kReady}}));
    counter.add(disk("b", {{"one", kReady}, {"two", kDamaged}}));
    counter.add(disk("c", {{"dead", kReady}}));
    counter.add(disk("d", {{"two", kDamaged}}));
    const DiskCounts counts = counter.finish();
    EXPECT_EQ(counts.by_state.at("ready"), 3u);
    EXPECT_EQ(counts.by_state.at("damaged"), 1u);
    EXPECT_EQ(counts.by_server.at("two"), 3u);
    EXPECT_EQ(counts.single_copy, 2u);
    EXPECT_EQ(counts.unreachable, 2u);
    EXPECT_EQ(counts.with_points, 0u);
    EXPECT_EQ(counts.stalest, 0);
}

TEST(DiskCounter, JudgesADiskByItsNewestReadyPoint) {
    const std::int64_t now = RestorePoint::of(*DiskName::parse("x@2026-11-20"))->seconds();
    DiskCounter counter(now, std::chrono::hours(72), [](const std::string&) { return false; });
    counter.add(disk("fresh@2026-11-01", {{"one", kReady}}));
    counter.add(disk("fresh@2026-11-19", {{"one", kReady}}));
    counter.add(disk("stale@2026-11-10", {{"one", kReady}}));
    counter.add(disk("stale@2026-11-19", {{"one", kDamaged}}));
    counter.add(disk("without", {{"one", kReady}}));
    const DiskCounts counts = counter.finish();
    EXPECT_EQ(counts.with_points, 2u);
    EXPECT_EQ(counts.stale, 1u);
    EXPECT_EQ(counts.stalest, RestorePoint::of(*DiskName::parse("x@2026-11-10"))->seconds());
}

TEST(VisibleCatalog, ShowsPagesOfWhatMayBeSeen) {
    MemoryCatalog behind;
    Server one;
    one.name = "one";
    ASSERT_TRUE(behind.put_server(one));
    Publication all;
    for (const char* name : {"a/1", "b/1", "a/2", "b/2", "a/3", "b/3"}) {
        Image image{
            .name = *DiskName::parse(name), .export_name = name, .size = 1, .fingerprint = "f"};
        all.images.push_back(image);
    }
    ASSERT_TRUE(behind.publish("one", all));
    const auto catalog =
        make_visible_catalog(behind, [](std::string_view name) { return name.starts_with("b/"); });
    const auto first = catalog->list("", "", 2);
    ASSERT_TRUE(first);
    ASSERT_EQ(first->size(), 2u);
    EXPECT_EQ((*first)[0].name.str(), "b/1");
    const auto second = catalog->list("", (*first)[1].name.str(), 2);
    ASSERT_TRUE(second);
    ASSERT_EQ(second->size(), 1u);
    EXPECT_EQ((*second)[0].name.str(), "b/3");
    EXPECT_FALSE(*catalog->find(*DiskName::parse("a/1")));
    EXPECT_TRUE(*catalog->find(*DiskName::parse("b/1")));
    EXPECT_TRUE(catalog->search("A/", "", 10)->empty());
    EXPECT_EQ(catalog->remove_server("one").error().code, Errc::denied);
}

TEST(CopyLines, QuotesForAShell) {
    EXPECT_EQ(shell_word("web01/vda"), "web01/vda");
    EXPECT_EQ(shell_word("a b"), "'a b'");
    EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
    EXPECT_EQ(shell_word("$(reboot)"), "'$(reboot)'");
    EXPECT_EQ(shell_word("-n"), "'-n'");
    EXPECT_EQ(shell_word(""), "''");
}

TEST(CopyLines, EscapeForXmlAndName) {
    const auto lines = copy_lines("nbds://host:99", "x/'<&\";rm -rf");
    ASSERT_TRUE(lines);
    for (const auto& [purpose, line] : lines->lines) {
        if (purpose == "attach-xml") {
            EXPECT_NE(line.find("name='x/&apos;&lt;&amp;&quot;;rm -rf' tls='yes'"),
                      std::string::npos)
                << line;
        } else if (purpose == "nbdcopy") {
            EXPECT_TRUE(line.ends_with(" _____rm__rf.img")) << line;
        }
    }
    EXPECT_FALSE(copy_lines("", "x"));
}

SessionReport facts(std::uint64_t id, const std::string& route) {
    SessionReport report;
    report.id = id;
    report.disk = "d";
    report.route = route;
    return report;
}

TEST(LiveSessions, BytesStayWithThePeerThatTheyCameFrom) {
    LiveSessions live;
    const auto meter = live.begin(facts(1, "relay"));
    live.relayed_from("d", "beta");
    meter->read = 100;
    live.relayed_from("d", "gamma");
    meter->read = 150;
    live.end(*meter);
    const auto bytes = live.bytes_read();
    EXPECT_EQ(bytes.at({"relay", "beta"}), 100u);
    EXPECT_EQ(bytes.at({"relay", "gamma"}), 50u);
    EXPECT_EQ(live.count(), 0u);
}

TEST(LiveSessions, KeepsFiveMinutesOfSamples) {
    LiveSessions live;
    const auto meter = live.begin(facts(1, "local"));
    for (std::size_t i = 1; i <= kSamples + 5; ++i) {
        meter->read = i * kSampleSeconds * 7;
        live.sample();
    }
    const auto reports = live.reports();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].samples.size(), kSamples);
    EXPECT_EQ(reports[0].rate(), 7u);
}

TEST(LiveSessions, MarksTheOneThatIsToEnd) {
    LiveSessions live;
    const auto meter = live.begin(facts(1, "local"));
    EXPECT_FALSE(live.kill(2));
    EXPECT_FALSE(meter->ended);
    EXPECT_TRUE(live.kill(1));
    EXPECT_TRUE(meter->ended);
    live.end(*meter);
    EXPECT_FALSE(live.kill(1));
}

}  // namespace
}  // namespace signpost
