// SPDX-License-Identifier: BSD-3-Clause

#include "cli/drill_history.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/first_configuration.h"
#include "cli/guest_machine.h"
#include "cli/qemu_monitor.h"

namespace signpost {
namespace {

DrillRecord record(const std::string& disk) {
    return {.disk = disk,
            .point = disk + "@2026-11-20",
            .server = "alpha",
            .when = 1'795'488'819,
            .seconds = 12.5,
            .sign = "agent",
            .reason = "",
            .accel = "kvm",
            .screenshot = "/a.png"};
}

TEST(DrillHistory, ARecordIsReadAsItWasWritten) {
    const auto read = parse_drill(drill_json(record("web01")));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->point, "web01@2026-11-20");
    EXPECT_EQ(read->server, "alpha");
    EXPECT_EQ(read->when, 1'795'488'819);
    EXPECT_EQ(read->seconds, 12.5);
    EXPECT_TRUE(read->alive());
}

TEST(DrillHistory, WhatIsNoRecordIsNone) {
    for (const char* line :
         {"", "x", "[]", "{}", R"({"disk":"a"})", R"({"disk":1,"when_s":1,"seconds":1})",
          R"({"disk":"a","when_s":"1","seconds":1})"}) {
        EXPECT_FALSE(parse_drill(line)) << line;
    }
}

TEST(DrillHistory, KeepsTheNewerHalfWhenItIsTooLong) {
    std::string directory = testing::TempDir() + "drills-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    const std::string file = directory + "/drills.jsonl";
    ASSERT_TRUE(append_drill(file, record("oldest")));
    {
        std::ofstream more(file, std::ios::app);
        const std::string line = drill_json(record("filling")) + "\n";
        for (std::size_t size = 0; size < kMostHistory; size += line.size()) {
            more << line;
        }
    }
    ASSERT_TRUE(append_drill(file, record("newest")));
    EXPECT_LT(std::filesystem::file_size(file), kMostHistory);
    const auto records = read_drills(file);
    ASSERT_TRUE(records);
    EXPECT_EQ(records->front().disk, "filling");
    EXPECT_EQ(records->back().disk, "newest");
    std::filesystem::remove_all(directory);
}

TEST(QemuMonitorLine, OnlyAnswersAnswer) {
    EXPECT_EQ(parse_monitor_line(R"({"return":{"status":"running"}})").status, "running");
    EXPECT_EQ(parse_monitor_line(R"({"error":{"desc":"no"}})").error, "no");
    EXPECT_FALSE(parse_monitor_line(R"({"event":"STOP"})").answers);
    EXPECT_FALSE(parse_monitor_line("garbage").answers);
    EXPECT_TRUE(parse_monitor_line(R"({"return":[1,2]})").answers);
}

TEST(TomlText, SurvivesQuotesAndControlCharacters) {
    EXPECT_EQ(toml_text("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
}

TEST(GuestMachine, NamesAndLinesAreSafeForAShell) {
    EXPECT_EQ(machine_name("web01/vda@2026; rm"), "web01-vda-2026--rm");
    EXPECT_EQ(shell_line({"a", "b c", "it's", ""}), "a 'b c' 'it'\\''s' ''");
    EXPECT_NE(domain_xml({.name = "a&b<'"}, "/x'y").find("<name>a&amp;b&lt;&apos;</name>"),
              std::string::npos);
}

}  // namespace
}  // namespace signpost
