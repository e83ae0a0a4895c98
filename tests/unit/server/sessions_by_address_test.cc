// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/sessions_by_address.h"

#include <gtest/gtest.h>

namespace signpost::test {

IpAddress address(const char* text) {
    return *IpAddress::parse(text);
}

TEST(SessionsByAddress, HaveALimitEach) {
    SessionsByAddress sessions(2);
    const auto first = sessions.enter(address("192.0.2.1"));
    const auto second = sessions.enter(address("192.0.2.1"));
    EXPECT_TRUE(first && second);
    EXPECT_FALSE(sessions.enter(address("192.0.2.1")));
    EXPECT_TRUE(sessions.enter(address("192.0.2.2")));
}

TEST(SessionsByAddress, SpellingsOfOneAddressAreOne) {
    SessionsByAddress sessions(1);
    const auto first = sessions.enter(address("192.0.2.1"));
    EXPECT_FALSE(sessions.enter(address("::ffff:192.0.2.1")));
}

TEST(SessionsByAddress, PlaceIsFreeWhenItsSessionEnds) {
    SessionsByAddress sessions(1);
    {
        auto place = sessions.enter(address("192.0.2.1"));
        const SessionsByAddress::Place moved = std::move(*place);
        place.reset();
        EXPECT_FALSE(sessions.enter(address("192.0.2.1")));
    }
    EXPECT_TRUE(sessions.enter(address("192.0.2.1")));
}

TEST(SessionsByAddress, WithoutALimitOrAnAddressEverybodyEnters) {
    SessionsByAddress unlimited(0);
    SessionsByAddress limited(1);
    for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(unlimited.enter(address("192.0.2.1")));
        EXPECT_TRUE(limited.enter(std::nullopt));
    }
}

}  // namespace signpost::test
