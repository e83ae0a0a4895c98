// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/point_patterns.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace signpost::test {
namespace {

std::string named(std::string_view stem, const PointPatterns& patterns = {}) {
    return patterns.name_of(stem).value_or("");
}

PointPatterns patterns(std::vector<std::string> words) {
    return PointPatterns::parse(words).value();
}

std::string refusal(std::vector<std::string> words) {
    const auto parsed = PointPatterns::parse(words);
    return parsed ? "" : parsed.error().message;
}

TEST(PointPatterns, ADateInTheNameOfAFileIsATime) {
    for (const char* stem : {"web01/vda-2026-11-20", "web01/vda_2026-11-20", "web01/vda.2026-11-20",
                             "web01/vda@2026_11_20", "web01/vda-20261120", "web01/vda_2026_11_20",
                             "web01/vda/2026-11-20"}) {
        EXPECT_EQ(named(stem), "web01/vda@2026-11-20") << stem;
    }
}

TEST(PointPatterns, ATimeOfDayBelongsToIt) {
    for (const char* stem :
         {"web01/vda-2026-11-20T02:00", "web01/vda-2026-11-20T02-00", "web01/vda_20261120_0200",
          "web01/vda.20261120T0200", "web01/vda-2026-11-20-0200", "web01/vda-2026-11-20_02-00",
          "web01/vda_2026_11_20_02_00", "web01/vda@2026-11-20T02-00"}) {
        EXPECT_EQ(named(stem), "web01/vda@2026-11-20T02:00") << stem;
    }
    EXPECT_EQ(named("web01/vda-20261120-020030"), "web01/vda@2026-11-20T02:00:30");
    EXPECT_EQ(named("web01/vda-20261120T0200Z"), "web01/vda@2026-11-20T02:00Z");
}

TEST(PointPatterns, ADatedDirectoryMayBeAnywhereAboveTheFile) {
    EXPECT_EQ(named("web01/2026-11-20/vda"), "web01/vda@2026-11-20");
    EXPECT_EQ(named("2026-11-20T02-00/web01/vda"), "web01/vda@2026-11-20T02:00");
    EXPECT_EQ(named("20261120-0200/vda"), "vda@20261120T0200");
    EXPECT_EQ(named("a/20261120/b/c/vda"), "a/b/c/vda@2026-11-20");
}

// No `:` may be in the first component of a disk's name.
TEST(PointPatterns, ANameWithoutASlashHasItsTimeInTheBasicForm) {
    EXPECT_EQ(named("vda-2026-11-20"), "vda@2026-11-20");
    EXPECT_EQ(named("vda-2026-11-20T0200"), "vda@20261120T0200");
    EXPECT_TRUE(DiskName::parse(named("vda-2026-11-20T0200")));
}

TEST(PointPatterns, WhatSaysNoDateIsLeftAlone) {
    for (const char* stem :
         {"web01/vda", "web01/vda-1", "web01/vda-12345678", "web01/vda-2026-13-01",
          "web01/vda-2026-02-30", "web01/vda-2026-11", "web01/vda2026-11-20", "2026-11-20",
          "-2026-11-20", "web01/-2026-11-20", "web01/vda-99991231", "web01/vda-2026-11-20x",
          "2026-11-20x/vda", "x2026-11-20/vda", "web01/vda-2026-11-20T25-00"}) {
        EXPECT_EQ(named(stem), "") << stem;
    }
}

TEST(PointPatterns, APointsNameIsLeftAlone) {
    EXPECT_EQ(named("web01/vda@2026-11-20T02:00"), "");
    EXPECT_EQ(named("2026-11-19/vda@20261120"), "");
}

TEST(PointPatterns, AreConfigured) {
    const auto german = patterns({"{disk}_%d.%m.%Y", "tag-{date}/{disk}"});
    EXPECT_EQ(named("web01/vda_20.11.2026", german), "web01/vda@2026-11-20");
    EXPECT_EQ(named("tag-20261120/vda", german), "vda@2026-11-20");
    EXPECT_EQ(named("web01/vda-2026-11-20", german), "");
    EXPECT_FALSE(german.chains());
    EXPECT_EQ(named("2026-11-20_100%_vda", patterns({"%Y-%m-%d_100%%_{disk}"})), "vda@2026-11-20");
    EXPECT_EQ(
        named("d/nightly.2026-11-20T02:05:09.vda", patterns({"nightly.%Y-%m-%dT%H:%M:%S.{disk}"})),
        "d/vda@2026-11-20T02:05:09");
    EXPECT_EQ(named("web01/vda-2026-11-20", PointPatterns::off()), "");
    EXPECT_TRUE(patterns({"chains"}).chains());
}

TEST(PointPatterns, RefuseWhatIsNone) {
    for (const char* word : {"",
                             "{disk}",
                             "{date}",
                             "x",
                             "{disk}{date}",
                             "{disk}-{date}-{date}",
                             "{disk}-{disk}-{date}",
                             "{disk}-%Y",
                             "{disk}-%Y%m%d%H",
                             "{disk}-%Y%m%d%S",
                             "{disk}-%Y%Y%m%d",
                             "{disk}-%q{date}",
                             "{disk}-{date}%",
                             "/{disk}-{date}",
                             "../{disk}-{date}",
                             "{date}//{disk}",
                             ".{disk}-{date}",
                             "a/.b/{disk}-{date}",
                             "{Disk}-{date}",
                             "%Y%m%d{disk}"}) {
        EXPECT_NE(refusal({word}), "") << word;
    }
    EXPECT_NE(refusal({"off", "{disk}-{date}"}), "");
    EXPECT_NE(refusal({"{disk}-" + std::string(300, 'x') + "{date}"}), "");
    EXPECT_NE(refusal(std::vector<std::string>(17, "{disk}-{date}")), "");
    EXPECT_EQ(refusal({"{disk}x"}).find('\n'), std::string::npos);
}

TEST(PointPatterns, ANameLeadsBackToEachPathThatGivesIt) {
    const PointPatterns usual;
    for (const char* stem : {"web01/vda-2026-11-20", "web01/2026_11_20/vda", "20261120/web01/vda",
                             "web01/vda/20261120T020030", "web01/vda_20261120_0200",
                             "vda.20261120-0200", "a/b/c/2026-11-20T02-00Z/d/e"}) {
        const auto stems = usual.stems_of(DiskName::parse(named(stem)).value());
        EXPECT_TRUE(std::ranges::binary_search(stems, stem)) << stem;
        EXPECT_LT(stems.size(), 600u) << stem;
    }
    EXPECT_TRUE(usual.stems_of(DiskName::parse("web01/vda").value()).empty());
    EXPECT_TRUE(usual.stems_of(DiskName::parse("web01/vda@20261120").value()).empty());
}

TEST(PointPatterns, WaysBackAreBoundedHoweverDeepANameIs) {
    std::string deep = "d";
    for (int i = 0; i < 400; ++i) {
        deep += "/d";
    }
    const auto stems =
        PointPatterns().stems_of(DiskName::parse(deep + "@2026-11-20T02:00").value());
    EXPECT_LT(stems.size(), 600u);
    EXPECT_EQ(named(deep + "/2026-11-20/vda"), "");
}

}  // namespace
}  // namespace signpost::test
