// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/memory_budget.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace signpost {
namespace {

TEST(MemoryBudget, GivesWhatIsLeft) {
    MemoryBudget budget(100);
    const auto first = budget.take(60);
    EXPECT_TRUE(first);
    EXPECT_FALSE(budget.take(41));
    EXPECT_TRUE(budget.take(40));
    EXPECT_EQ(budget.left(), 40);
}

TEST(MemoryBudget, RefusalTakesNothing) {
    MemoryBudget budget(100);
    EXPECT_FALSE(budget.take(101));
    EXPECT_EQ(budget.left(), 100);
}

TEST(MemoryBudget, GetsSharesBack) {
    MemoryBudget budget(100);
    {
        const auto share = budget.take(100);
        EXPECT_EQ(budget.left(), 0);
    }
    EXPECT_EQ(budget.left(), 100);
}

TEST(MemoryBudget, CountsWhatIsHeldAnyway) {
    MemoryBudget budget(100);
    {
        const auto share = budget.charge(150);
        EXPECT_EQ(budget.left(), -50);
        EXPECT_FALSE(budget.take(1));
    }
    EXPECT_EQ(budget.left(), 100);
}

TEST(MemoryBudget, MovedShareIsGivenBackOnce) {
    MemoryBudget budget(100);
    {
        auto share = budget.take(30);
        MemoryBudget::Share other = std::move(share);
        MemoryBudget::Share third;
        third = std::move(other);
        EXPECT_EQ(budget.left(), 70);
    }
    EXPECT_EQ(budget.left(), 100);
}

TEST(MemoryBudget, AssignedShareLetsGoOfItsOwn) {
    MemoryBudget budget(100);
    auto share = budget.take(30);
    share = MemoryBudget::Share();
    EXPECT_EQ(budget.left(), 100);
}

TEST(MemoryBudget, SplitPartsEndEachByItself) {
    MemoryBudget budget(100);
    auto share = budget.take(50);
    {
        const auto part = share.split(20);
        EXPECT_TRUE(part);
        EXPECT_EQ(budget.left(), 50);
    }
    EXPECT_EQ(budget.left(), 70);
    share = {};
    EXPECT_EQ(budget.left(), 100);
}

TEST(MemoryBudget, SplitGivesNoMoreThanThereIs) {
    MemoryBudget budget(100);
    auto share = budget.take(50);
    const auto part = share.split(~std::uint64_t{0});
    EXPECT_FALSE(share.split(1));
    share = {};
    EXPECT_EQ(budget.left(), 50);
    EXPECT_FALSE(MemoryBudget::Share().split(1));
}

TEST(MemoryBudget, IsNeverOverdrawnByManyThreads) {
    MemoryBudget budget(10);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&budget] {
            for (int round = 0; round < 2000; ++round) {
                auto share = budget.take(4);
                EXPECT_GE(budget.left(), -16);  // while refused ones are being put back
                const auto part = share.split(1);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(budget.left(), 10);
}

}  // namespace
}  // namespace signpost
