// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/relay_latency.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/disk/relay_fixture.h"

namespace signpost::test {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;

void add(RelayLatency& latency, int times, microseconds taken) {
    for (int i = 0; i < times; ++i) {
        latency.add(taken, false);
    }
}

TEST(RelayLatency, SaysNothingOfAFewAnswers) {
    RelayLatency latency;
    add(latency, 99, microseconds{100});
    EXPECT_FALSE(latency.p99());
    add(latency, 1, microseconds{100});
    EXPECT_TRUE(latency.p99());
}

TEST(RelayLatency, PercentileIsRightToAFactorOfOneAndAHalf) {
    for (const int us : {1, 2, 3, 100, 999, 40'000, 1'500'000}) {
        RelayLatency latency;
        add(latency, 1000, microseconds{us});
        EXPECT_GE(*latency.p99(), microseconds{us});
        EXPECT_LE(*latency.p99(), microseconds{us * 3 / 2 + 1});
    }
}

TEST(RelayLatency, OneInAHundredMayBeLate) {
    RelayLatency latency;
    add(latency, 1000, microseconds{100});
    add(latency, 9, milliseconds{500});
    EXPECT_LT(*latency.p99(), milliseconds{1});
    add(latency, 11, milliseconds{500});
    EXPECT_GT(*latency.p99(), milliseconds{400});
}

TEST(RelayLatency, OldAnswersFade) {
    RelayLatency latency;
    add(latency, 4000, milliseconds{500});
    add(latency, 40'000, microseconds{100});
    EXPECT_LT(*latency.p99(), milliseconds{1});
}

TEST(RelayLatency, WaitingInAQueueIsNoDistance) {
    RelayLatency latency;
    latency.add(microseconds{200}, true);
    add(latency, 1000, milliseconds{80});
    EXPECT_EQ(latency.round_trip(), microseconds{200});
}

TEST(RelayLatency, OneQuickAnswerMeansNear) {
    RelayLatency latency;
    latency.add(milliseconds{60}, true);
    EXPECT_EQ(latency.round_trip(), milliseconds{60});
    latency.add(microseconds{300}, false);
    EXPECT_EQ(latency.round_trip(), microseconds{300});
}

TEST(RelayLatency, DistanceThatGrowsIsSeen) {
    RelayLatency latency;
    latency.add(microseconds{200}, true);
    for (int i = 0; i < 100; ++i) {
        latency.add(milliseconds{50}, true);
    }
    EXPECT_GT(latency.round_trip(), milliseconds{40});
}

// The limits are so long that only what was seen of the peer can bring the second replica in.
TEST_F(RelayTest, PeerThatIsLateByItsOwnMeasureIsOvertaken) {
    RelayLimits limits;
    limits.hedge = limits.hang = limits.request = hours{1};
    restart_engine(limits);
    const Bytes content = pattern(1 << 20, 1);
    FaultServer beta(content);
    FaultServer gamma(content);
    open(
        {upstream_of(beta, "beta", "sha256-32k:aa"), upstream_of(gamma, "gamma", "sha256-32k:aa")});
    for (int i = 0; i < 200; ++i) {
        ASSERT_EQ(read(0, 4096), 0);
    }
    beta.freeze();
    for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(read(8192, 100'000), 0);
        EXPECT_TRUE(matches(content, 8192));
    }
    EXPECT_GE(gamma.reads(), 20);
    beta.thaw();
}

}  // namespace
}  // namespace signpost::test
