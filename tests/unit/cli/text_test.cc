// SPDX-License-Identifier: BSD-3-Clause

#include "terminal/text.h"

#include <gtest/gtest.h>

#include <string>

#include "terminal/progress.h"

namespace signpost {
namespace {

TEST(Rfc3339, IsUtcToTheSecond) {
    EXPECT_EQ(rfc3339(1'791'770'400), "2026-10-12T02:00:00Z");
}

TEST(Rfc3339, IsEmptyForNeverAndForWhatItCannotWrite) {
    EXPECT_EQ(rfc3339(0), "");
    EXPECT_EQ(rfc3339(-1), "");
    EXPECT_EQ(rfc3339(253402300799), "9999-12-31T23:59:59Z");
    EXPECT_EQ(rfc3339(253402300800), "");
    EXPECT_EQ(rfc3339(INT64_MAX), "");
}

TEST(Age, GrowsIntoLargerUnits) {
    EXPECT_EQ(age(1000, 1003), "3 s");
    EXPECT_EQ(age(1000, 1000 + 119), "119 s");
    EXPECT_EQ(age(1000, 1000 + 300), "5 min");
    EXPECT_EQ(age(1000, 1000 + 3 * 3600), "3 h");
    EXPECT_EQ(age(1000, 1000 + 9 * 86400), "9 d");
}

TEST(Age, OfNeverAndOfTheFuture) {
    EXPECT_EQ(age(0, 1000), "never");
    EXPECT_EQ(age(2000, 1000), "0 s");
}

TEST(Duration, HasASensibleUnit) {
    EXPECT_EQ(duration_text(std::chrono::microseconds(437)), "0.4 ms");
    EXPECT_EQ(duration_text(std::chrono::milliseconds(12)), "12 ms");
    EXPECT_EQ(duration_text(std::chrono::milliseconds(1234)), "1.2 s");
}

TEST(Counted, HasAPlural) {
    EXPECT_EQ(counted(0, "disk"), "0 disks");
    EXPECT_EQ(counted(1, "disk"), "1 disk");
    EXPECT_EQ(counted(2, "disk"), "2 disks");
}

TEST(Pattern, IsOneOnlyWithItsCharacters) {
    EXPECT_FALSE(is_pattern("web01/[a-z]"));
    EXPECT_TRUE(is_pattern("web*"));
    EXPECT_TRUE(is_pattern("vd?"));
}

TEST(Pattern, HasAFixedPrefix) {
    EXPECT_EQ(fixed_prefix("web*/vda"), "web");
    EXPECT_EQ(fixed_prefix("?eb"), "");
    EXPECT_EQ(fixed_prefix("web"), "web");
}

TEST(Pattern, StarMatchesAnythingSlashesToo) {
    EXPECT_TRUE(matches_pattern("*", ""));
    EXPECT_TRUE(matches_pattern("*", "web01/vda"));
    EXPECT_TRUE(matches_pattern("web*vda", "web01/vda"));
    EXPECT_TRUE(matches_pattern("*a*b*c", "xaxxbxbxc"));
    EXPECT_FALSE(matches_pattern("web*vdb", "web01/vda"));
    EXPECT_FALSE(matches_pattern("web", "web01"));
}

TEST(Pattern, QuestionMarkMatchesOneCharacter) {
    EXPECT_TRUE(matches_pattern("vd?", "vda"));
    EXPECT_FALSE(matches_pattern("vd?", "vd"));
    EXPECT_FALSE(matches_pattern("vd?", "vdaa"));
    EXPECT_TRUE(matches_pattern("k?che",
                                "k\xc3\xbc"
                                "che"));
}

TEST(Pattern, GoesBackToALaterPlaceOfTheStar) {
    EXPECT_TRUE(matches_pattern("*vda", "vdavda"));
    EXPECT_TRUE(matches_pattern("*ab?d", "ababcdabxd"));
}

TEST(Pattern, OfManyStarsEndsSoon) {
    std::string pattern;
    for (int i = 0; i < 200; ++i) {
        pattern += "*a";
    }
    EXPECT_FALSE(matches_pattern(pattern + "b", std::string(1000, 'a')));
}

TEST(ProgressLine, ShowsShareRateAndRest) {
    const std::uint64_t gib = 1024 * 1024 * 1024;
    EXPECT_EQ(progress_line("web01/vda on beta", 10 * gib, 40 * gib, std::chrono::seconds(10)),
              "web01/vda on beta  [####............] 25 %  10 GiB of 40 GiB  1 GiB/s  ETA 0:30");
}

TEST(ProgressLine, OfNothingIsDone) {
    EXPECT_NE(progress_line("x", 0, 0, std::chrono::milliseconds(0)).find("100 %"),
              std::string::npos);
}

}  // namespace
}  // namespace signpost
