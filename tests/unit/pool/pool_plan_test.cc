// SPDX-License-Identifier: BSD-3-Clause
#include "libvirt-pool/pool_plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "libvirt-pool/volume_name.h"

namespace signpost::test {

using Step = PoolPlan::Step;
using Matter = PoolPlan::Matter;

constexpr std::uint64_t kSize = 1 << 30;

WantedVolume wanted(const std::string& name, std::uint64_t size = kSize) {
    return {*DiskName::parse(name), {size, "nbd://localhost/" + name}};
}

PresentVolume present(const std::string& name, VolumeState state = VolumeState::pristine,
                      std::uint64_t size = kSize, bool referenced = false) {
    return {name + ".qcow2", {state, {size, "nbd://localhost/" + name}, 0}, referenced};
}

PoolPlan planned(std::vector<WantedVolume> want, std::vector<PresentVolume> have) {
    auto plan = plan_pool(std::move(want), std::move(have));
    EXPECT_TRUE(plan);
    return plan ? *plan : PoolPlan{};
}

TEST(PoolPlan, MakesWhatIsMissing) {
    const PoolPlan plan = planned({wanted("a"), wanted("b")}, {present("a")});
    ASSERT_EQ(plan.actions.size(), 1U);
    EXPECT_EQ(plan.actions[0], (PoolPlan::Action{Step::create, "b.qcow2", wanted("b").terms}));
    EXPECT_EQ(plan.unchanged, 1U);
    EXPECT_TRUE(plan.remarks.empty());
}

TEST(PoolPlan, RemovesPristineVolumesOfDisksThatAreGone) {
    const PoolPlan plan = planned({wanted("b")}, {present("a")});
    ASSERT_EQ(plan.actions.size(), 2U);
    EXPECT_EQ(plan.actions[0], (PoolPlan::Action{Step::remove, "a.qcow2", {}}));
}

TEST(PoolPlan, ReplacesPristineVolumesWhoseTermsHaveChanged) {
    const PoolPlan plan = planned({wanted("a", 2 * kSize)}, {present("a")});
    ASSERT_EQ(plan.actions.size(), 1U);
    EXPECT_EQ(plan.actions[0],
              (PoolPlan::Action{Step::replace, "a.qcow2", wanted("a", 2 * kSize).terms}));
}

TEST(PoolPlan, NeverTouchesWhatWasWritten) {
    const PoolPlan plan = planned({wanted("a", 2 * kSize)}, {present("a", VolumeState::written),
                                                             present("b", VolumeState::written)});
    EXPECT_TRUE(plan.actions.empty());
    EXPECT_EQ(plan.remarks, (std::vector<PoolPlan::Remark>{{Matter::overlay, "a.qcow2"},
                                                           {Matter::orphan, "b.qcow2"}}));
}

TEST(PoolPlan, NeverTouchesWhatAMachineRefersTo) {
    const PoolPlan plan =
        planned({wanted("a", 2 * kSize)}, {present("a", VolumeState::pristine, kSize, true),
                                           present("b", VolumeState::pristine, kSize, true)});
    EXPECT_TRUE(plan.actions.empty());
    EXPECT_EQ(plan.remarks, (std::vector<PoolPlan::Remark>{{Matter::held_back, "a.qcow2"},
                                                           {Matter::held_back, "b.qcow2"}}));
}

TEST(PoolPlan, TellsOfDamagedFilesAndLeavesThem) {
    const PoolPlan plan = planned({wanted("a")}, {present("a", VolumeState::damaged)});
    EXPECT_TRUE(plan.actions.empty());
    EXPECT_EQ(plan.remarks, (std::vector<PoolPlan::Remark>{{Matter::damaged, "a.qcow2"}}));
}

TEST(PoolPlan, LeavesFilesThatAreNoVolumes) {
    const PoolPlan plan = planned({}, {present("a b")});
    EXPECT_TRUE(plan.actions.empty());
    EXPECT_EQ(plan.remarks, (std::vector<PoolPlan::Remark>{{Matter::not_ours, "a b.qcow2"}}));
}

TEST(PoolPlan, DiskThatCannotBeAVolumeHoldsNobodyUp) {
    const std::string longest(300, 'x');
    const PoolPlan plan = planned({wanted(longest), wanted("a")}, {});
    EXPECT_EQ(plan.actions.size(), 1U);
    EXPECT_EQ(plan.remarks, (std::vector<PoolPlan::Remark>{{Matter::unnameable, longest}}));
}

// Else every pass would fail to make it, for ever.
TEST(PoolPlan, DiskWhoseVolumeCouldNotBeMadeIsNamed) {
    const PoolPlan plan = planned({wanted("large", kMaxVolumeSize + 512),
                                   wanted("none", 0),
                                   {*DiskName::parse("far"), {512, std::string(1024, 'x')}}},
                                  {});
    EXPECT_TRUE(plan.actions.empty());
    EXPECT_EQ(plan.remarks, (std::vector<PoolPlan::Remark>{{Matter::unnameable, "large"},
                                                           {Matter::unnameable, "none"},
                                                           {Matter::unnameable, "far"}}));
}

TEST(PoolPlan, RefusesMoreThanLibvirtLists) {
    std::vector<WantedVolume> many;
    for (std::size_t i = 0; i < kMaxVolumes; ++i) {
        many.push_back(wanted(fmt::format("d{}", i)));
    }
    EXPECT_TRUE(plan_pool(many, {}));
    // One more, or one that stays though nobody wants it.
    EXPECT_FALSE(plan_pool(many, {present("other", VolumeState::written)}));
    EXPECT_TRUE(plan_pool(many, {present("other")}));
    many.push_back(wanted("one-more"));
    const auto refused = plan_pool(many, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::invalid);
}

}  // namespace signpost::test
