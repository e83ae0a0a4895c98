// SPDX-License-Identifier: BSD-3-Clause

#include "catalog/restore_point.h"

#include <gtest/gtest.h>

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
                             "d/a@2026-11-20T02:00+01:00",
                             "d/a@202611200200",
                             "d/a@2026-11-2O"}) {
        EXPECT_EQ(point(name), std::nullopt) << name;
    }
}

}  // namespace signpost::test
