// SPDX-License-Identifier: BSD-3-Clause

#include "cli/repair_plan.h"

#include <gtest/gtest.h>

namespace signpost::test {
namespace {

constexpr std::int64_t kNow = 1'700'000'000;
const std::string kDigest = "sha256-32k:" + std::string(64, 'a');

Server server(const std::string& name, const std::string& site = "", std::int64_t silent = 0) {
    Server made;
    made.name = name;
    made.site = site;
    made.last_heartbeat = kNow - silent;
    return made;
}

Location copy(const std::string& server, const std::string& digest = kDigest,
              LocationState state = LocationState::ready) {
    Location made;
    made.server = server;
    made.size = 100;
    made.digest = digest;
    made.state = state;
    return made;
}

DiskRecord disk(std::vector<Location> copies, std::string_view name = "db/a") {
    return {.name = DiskName::parse(name).value(), .locations = std::move(copies)};
}

using Names = std::vector<std::string>;

TEST(RepairPlan, MissingCopiesGoToAnotherSiteFirst) {
    RepairPlan plan({server("a", "x"), server("b", "x"), server("c", "y")}, {{"*", 2}}, kNow);
    EXPECT_EQ(plan.look_at(disk({copy("a")})).targets, Names{"c"});
}

TEST(RepairPlan, ThenToTheServerWithTheFewestBytes) {
    RepairPlan plan({server("a"), server("b"), server("c")}, {{"*", 2}}, kNow);
    plan.note(disk({copy("b")}, "other"));
    EXPECT_EQ(plan.look_at(disk({copy("a")})).targets, Names{"c"});
    EXPECT_EQ(plan.look_at(disk({copy("a")}, "db/b")).targets, Names{"b"});  // c has got one
}

TEST(RepairPlan, TheFirstPatternThatFitsCounts) {
    RepairPlan plan({server("a"), server("b"), server("c")}, {{"db/*", 3}, {"*", 1}}, kNow);
    EXPECT_EQ(plan.look_at(disk({copy("a")})).targets.size(), 2u);
    EXPECT_TRUE(plan.look_at(disk({copy("a")}, "web")).targets.empty());
    RepairPlan other({server("a"), server("b")}, {{"db/*", 2}}, kNow);
    EXPECT_EQ(other.look_at(disk({copy("a")}, "web")).wished, 0u);
}

TEST(RepairPlan, EnoughIsEnough) {
    RepairPlan plan({server("a"), server("b"), server("c")}, {{"*", 2}}, kNow);
    const auto need = plan.look_at(disk({copy("a"), copy("b")}));
    EXPECT_TRUE(need.targets.empty());
    EXPECT_TRUE(need.problem.empty());
}

TEST(RepairPlan, ADamagedRawImageIsMendedInPlace) {
    RepairPlan plan({server("a"), server("b"), server("c")}, {{"*", 2}}, kNow);
    const auto need = plan.look_at(disk({copy("a"), copy("b", kDigest, LocationState::damaged)}));
    EXPECT_EQ(need.targets, Names{"b"});
}

TEST(RepairPlan, ADamagedImageOfAnotherFormatStays) {
    RepairPlan plan({server("a"), server("b"), server("c")}, {{"*", 2}}, kNow);
    Location damaged = copy("b", kDigest, LocationState::damaged);
    damaged.format = ImageFormat::qcow2;
    EXPECT_EQ(plan.look_at(disk({copy("a"), damaged})).targets, Names{"c"});
}

TEST(RepairPlan, ServersThatAreAwayTakeNothingAndLoseWhatTheyHadInTime) {
    RepairPlan plan({server("a"), server("b", "", 60), server("c", "", kLostAfter_s + 1)},
                    {{"*", 2}}, kNow);
    EXPECT_TRUE(plan.look_at(disk({copy("a")})).targets.empty());
    EXPECT_FALSE(plan.look_at(disk({copy("a")})).problem.empty());
    EXPECT_EQ(plan.look_at(disk({copy("a"), copy("b")})).good, 2u);
    EXPECT_EQ(plan.look_at(disk({copy("a"), copy("c")})).good, 1u);
}

TEST(RepairPlan, DrainingForeignAndExcludedServersTakeNothing) {
    Server draining = server("b");
    draining.draining = true;
    Server foreign = server("c");
    foreign.kind = ServerKind::foreign;
    RepairPlan plan({server("a"), draining, foreign, server("d")}, {{"*", 2}}, kNow);
    const auto record = disk({copy("a")});
    EXPECT_EQ(plan.look_at(record).targets, Names{"d"});
    plan.exclude(record.name, "d");
    EXPECT_TRUE(plan.look_at(record).targets.empty());
}

TEST(RepairPlan, WhatIsNotKnownToBeEqualIsNotCounted) {
    RepairPlan plan({server("a"), server("b"), server("c")}, {{"*", 2}}, kNow);
    const auto unknown = plan.look_at(disk({copy("a"), copy("b", "")}));
    EXPECT_TRUE(unknown.targets.empty());
    EXPECT_NE(unknown.problem.find("signpost verify db/a"), std::string::npos);
    const auto differing =
        plan.look_at(disk({copy("a"), copy("b", "sha256-32k:" + std::string(64, 'b'))}));
    EXPECT_TRUE(differing.targets.empty());
    EXPECT_NE(differing.problem.find("differ"), std::string::npos);
}

TEST(RepairPlan, ASingleReadOnlyCopyNeedsNoDigest) {
    RepairPlan plan({server("a"), server("b")}, {{"*", 2}}, kNow);
    EXPECT_EQ(plan.look_at(disk({copy("a", "")})).targets, Names{"b"});
    Location writable = copy("a", "");
    writable.read_only = false;
    EXPECT_FALSE(plan.look_at(disk({writable})).problem.empty());
}

}  // namespace
}  // namespace signpost::test
