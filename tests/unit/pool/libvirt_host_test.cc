// SPDX-License-Identifier: BSD-3-Clause
//
// Against libvirt's own test hypervisor, which lives inside this process.

#include "libvirt-pool/libvirt_host.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace signpost::test {

class LibvirtHostTest : public testing::Test {
   protected:
    LibvirtHost host_ = *LibvirtHost::connect("test:///default");
};

TEST_F(LibvirtHostTest, KnowsItsVersion) {
    EXPECT_GE(host_.version(), 9'000'000UL);
    EXPECT_EQ(host_.uri(), "test:///default");
}

TEST_F(LibvirtHostTest, DefinesAPoolAndStartsIt) {
    ASSERT_TRUE(host_.define_pool("signpost & co", "/var/lib/x<y"));
    const auto pool = host_.pool("signpost & co");
    ASSERT_TRUE(pool) << pool.error().message;
    EXPECT_EQ(*pool, (PoolFacts{"signpost & co", "dir", "/var/lib/x<y", true, true}));
    EXPECT_TRUE(host_.define_pool("signpost & co", "/var/lib/x<y"));
    ASSERT_TRUE(host_.undefine_pool("signpost & co"));
    EXPECT_EQ(host_.pool("signpost & co").error().code, Errc::not_found);
}

TEST_F(LibvirtHostTest, DoesNotTakeOverAnotherPool) {
    ASSERT_TRUE(host_.define_pool("theirs", "/srv/theirs"));
    const auto refused = host_.define_pool("theirs", "/srv/ours");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::conflict);
    EXPECT_NE(refused.error().message.find("/srv/theirs"), std::string::npos);
    ASSERT_TRUE(host_.undefine_pool("theirs"));
}

TEST_F(LibvirtHostTest, ListsMachinesWithTheirState) {
    const auto machines = host_.machines();
    ASSERT_TRUE(machines);
    ASSERT_FALSE(machines->empty());
    EXPECT_EQ(machines->front().name, "test");
    EXPECT_EQ(machines->front().state, MachineFacts::State::running);
    EXPECT_NE(machines->front().xml.find("<domain"), std::string::npos);
    EXPECT_TRUE(host_.machine("test"));
}

TEST_F(LibvirtHostTest, WhatIsNotThereIsNotFound) {
    for (const Errc code :
         {host_.machine("nobody").error().code, host_.pool("none").error().code,
          host_.refresh_pool("none").error().code, host_.volumes("none").error().code}) {
        EXPECT_EQ(code, Errc::not_found);
    }
}

TEST(LibvirtHostAway, IsUnavailableAndSaysHowToStartIt) {
    const auto host = LibvirtHost::connect("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
    ASSERT_FALSE(host);
    EXPECT_EQ(host.error().code, Errc::unavailable);
    EXPECT_NE(host.error().message.find("is it running?"), std::string::npos)
        << host.error().message;
}

}  // namespace signpost::test
