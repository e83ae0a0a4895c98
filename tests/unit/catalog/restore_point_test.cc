// SPDX-License-Identifier: BSD-3-Clause

#include "catalog/restore_point.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace signpost::test {

std::optional<RestorePoint> point(const char* name) {
    return RestorePoint::of(DiskName::parse(name).value());
}

TEST(RestorePointTest, TimeIsReadInBothFormsOfTheStandard) {
    for (const char* name :
         {"web01/vda@2026-11-20T02:00", "web01/vda@20261120T0200", "web01/vda@2026-11-20T02:00Z"}) {
        EXPECT_EQ(point(name), (RestorePoint{"web01/vda", "202611200200"})) << name;
    }
    EXPECT_EQ(point("web01/vda@20261120T020030Z"), (RestorePoint{"web01/vda", "20261120020030"}));
    EXPECT_EQ(point("a@b@2026-11-20"), (RestorePoint{"a@b", "20261120"}));
}

TEST(RestorePointTest, ZonesAreReckonedToUtc) {
    for (const char* name :
         {"d/a@2026-11-20T02:00Z", "d/a@2026-11-20T03:00+01:00", "d/a@20261120T0330+0130",
          "d/a@2026-11-19T21:00-05", "d/a@2026-11-20T02:00+00:00"}) {
        EXPECT_EQ(point(name), (RestorePoint{"d/a", "202611200200"})) << name;
    }
    EXPECT_EQ(point("d/a@2026-01-01T00:30:15+01:00"), (RestorePoint{"d/a", "20251231233015"}));
}

TEST(RestorePointTest, TimeIsSecondsSince1970) {
    EXPECT_EQ(point("a@1970-01-02")->seconds(), 86400);
    EXPECT_EQ(point("a@20261120T0200")->seconds(), 1795140000);
    EXPECT_EQ(point("d/a@2026-11-20T02:00:07Z")->seconds(), 1795140007);
}

std::vector<NamedPoint> points(std::initializer_list<const char*> names) {
    std::vector<NamedPoint> all;
    for (const char* name : names) {
        const auto parsed = DiskName::parse(name).value();
        all.push_back({RestorePoint::of(parsed).value(), parsed});
    }
    return all;
}

std::string meant(const char* wish, const std::vector<NamedPoint>& all) {
    const NamedPoint* found = newest_meant(PointWish::of(DiskName::parse(wish).value()), all);
    return found == nullptr ? "" : found->name.str();
}

TEST(PointWishTest, BareNameMeansTheNewestPointInWhateverForm) {
    EXPECT_EQ(meant("d/a", points({"d/a@20261121", "d/a@2026-11-20T02:00", "d/a@2026-11-21T01:00",
                                   "d/b@2027-01-01"})),
              "d/a@2026-11-21T01:00");
    EXPECT_EQ(meant("d/a", points({"d/b@2027-01-01"})), "");
}

TEST(PointWishTest, BeginningOfATimeMeansTheNewestPointWithin) {
    const auto all = points(
        {"d/a@2026-11-20T02:00", "d/a@20261120T2300", "d/a@2026-11-21T02:00", "d/a@2026-12-01"});
    EXPECT_EQ(meant("d/a@2026-11-20", all), "d/a@20261120T2300");
    EXPECT_EQ(meant("d/a@20261120T02", all), "d/a@2026-11-20T02:00");
    EXPECT_EQ(meant("d/a@2026-11", all), "d/a@2026-11-21T02:00");
    EXPECT_EQ(meant("d/a@2026", all), "d/a@2026-12-01");
    EXPECT_EQ(meant("d/a@2026-11-22", all), "");
    EXPECT_EQ(meant("d/a@2026-11-2", all), "");
}

TEST(PointWishTest, OneTimeInTwoFormsIsOneTime) {
    const auto all = points({"d/a@2026-11-20T02:00"});
    for (const char* wish :
         {"d/a@20261120T0200", "d/a@2026-11-20T02:00:00Z", "d/a@2026-11-20T03:00+01:00"}) {
        EXPECT_EQ(meant(wish, all), "d/a@2026-11-20T02:00") << wish;
    }
    EXPECT_EQ(meant("d/a@2026-11-20T02:00:01", all), "");
}

TEST(PointWishTest, NearestPointsAreNamed) {
    const auto all = points({"d/a@2026-11-20", "d/a@2026-11-18", "d/a@2026-11-24"});
    const auto text = [&](const char* wish) {
        return nearest_points_text(PointWish::of(DiskName::parse(wish).value()), all);
    };
    EXPECT_EQ(text("d/a@2026-11-21"),
              "its points nearest to that are d/a@2026-11-20 and d/a@2026-11-24");
    EXPECT_EQ(text("d/a@2027"), "its newest point is d/a@2026-11-24");
    EXPECT_EQ(text("d/a@2025"), "its oldest point is d/a@2026-11-18");
    EXPECT_EQ(text("d/b@2025"), "");
}

TEST(RestorePointTest, PointsOfOneDiskSortInTheOrderOfTime) {
    const char* names[] = {"d/a@2025-12-31T23:59", "d/a@2026-01-01", "d/a@20260101T0000",
                           "d/a@2026-01-01T00:00:01", "d/a@2026-01-02"};
    for (std::size_t i = 1; i < std::size(names); ++i) {
        EXPECT_LT(point(names[i - 1]), point(names[i])) << names[i];
    }
}

TEST(RestorePointTest, WhatSaysNoTimeIsNoPoint) {
    for (const char* name : {"web01/vda",
                             "web01@2026-11-20/vda",
                             "@2026-11-20",
                             "d/@2026-11-20",
                             "d/a@",
                             "d/a@2026",
                             "d/a@2026-11",
                             "d/a@2026-13-01",
                             "d/a@2026-11-00",
                             "d/a@2026-11-32",
                             "d/a@2026-11-20T",
                             "d/a@2026-11-20T02",
                             "d/a@2026-11-20T24:00",
                             "d/a@2026-11-20T02:60",
                             "d/a@2026-11-20T02:00:61",
                             "d/a@2026-11-20x",
                             "d/a@2026-11-20Z",
                             "d/a@2026-11-20T02:00+",
                             "d/a@2026-11-20T02:00+24:00",
                             "d/a@2026-11-20T02:00+01:00x",
                             "d/a@2026-11-20+01:00",
                             "d/a@202611200200",
                             "d/a@2026-11-2O"}) {
        EXPECT_EQ(point(name), std::nullopt) << name;
    }
}

}  // namespace signpost::test
