// SPDX-License-Identifier: BSD-3-Clause
//
// Against libvirt's own test hypervisor, which lives inside this process.

#include "libvirt-pool/pool_events.h"

#include <gtest/gtest.h>

#ifdef __SANITIZE_THREAD__
// It cannot see into these, where both threads meet.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() {
    return "race:libvirt.so\nrace:libglib-2.0.so\ndeadlock:libvirt.so\n";
}
#endif

namespace signpost::test {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

// The test hypervisor lasts as long as anybody holds it, the event loop included: so pools that a
// test has made go with it.
class PoolEventsTest : public testing::Test {
   protected:
    ~PoolEventsTest() override {
        for (const char* pool : {"p", "q"}) {
            static_cast<void>(host_.undefine_pool(pool));
        }
    }

    static LibvirtHost connect() {
        PoolEvents::begin_loop();
        return *LibvirtHost::connect("test:///default");
    }

    const LibvirtHost host_ = connect();
};

TEST_F(PoolEventsTest, AStartAndARefreshAreTold) {
    const PoolEvents events(host_, "p");
    EXPECT_EQ(events.counts(), PoolEvents::Counts{});
    ASSERT_TRUE(host_.define_pool("p", "/srv/p"));
    const auto started = events.wait({}, Clock::now() + seconds(10));
    EXPECT_EQ(started.pool, 1U);
    ASSERT_TRUE(host_.refresh_pool("p"));
    EXPECT_EQ(events.wait(started, Clock::now() + seconds(10)).pool, 2U);
}

TEST_F(PoolEventsTest, AnotherPoolIsNoNews) {
    const PoolEvents events(host_, "p");
    ASSERT_TRUE(host_.define_pool("q", "/srv/q"));
    EXPECT_EQ(events.wait({}, Clock::now() + milliseconds(100)), PoolEvents::Counts{});
}

TEST_F(PoolEventsTest, SeveralMayListenInTurn) {
    ASSERT_TRUE(host_.define_pool("p", "/srv/p"));
    for (int i = 0; i < 3; ++i) {
        const PoolEvents events(host_, "p");
        ASSERT_TRUE(host_.refresh_pool("p"));
        EXPECT_EQ(events.wait({}, Clock::now() + seconds(10)).pool, 1U);
    }
}

}  // namespace signpost::test
