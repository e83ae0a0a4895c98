// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/burst_watch.h"

#include <gtest/gtest.h>

namespace signpost {
namespace {

unsigned rests(BurstWatch& watch, unsigned count, unsigned batches) {
    unsigned result = 0;
    for (unsigned i = 0; i < batches; ++i) {
        result += watch.worth_resting(count) ? 1 : 0;
    }
    return result;
}

TEST(BurstWatch, RestsAfterEachBigBatch) {
    BurstWatch watch;
    EXPECT_EQ(rests(watch, 32, 100), 100u);
}

TEST(BurstWatch, NeverRestsWhereMessagesComeOneByOne) {
    BurstWatch watch;
    EXPECT_EQ(rests(watch, 1, 10'000), 0u);
}

TEST(BurstWatch, GoesOnRestingForAWhileWhenBatchesGetSmall) {
    BurstWatch watch;
    watch.worth_resting(32);
    EXPECT_EQ(rests(watch, 1, 32), 32u);
    EXPECT_LT(rests(watch, 1, 1000), 100u);
}

TEST(BurstWatch, TriesARestNowAndThenWhereBatchesAreSmall) {
    BurstWatch watch;
    const unsigned tried = rests(watch, 2, 1000);
    EXPECT_GT(tried, 0u);
    EXPECT_LT(tried, 1000u / 32);
}

TEST(BurstWatch, NothingHasCome) {
    BurstWatch watch;
    watch.worth_resting(32);
    EXPECT_FALSE(watch.worth_resting(0));
}

}  // namespace
}  // namespace signpost
