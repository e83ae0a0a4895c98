// SPDX-License-Identifier: BSD-3-Clause
//
// Reads through a relay, with servers that behave.

#include <array>
#include <thread>

#include "tests/unit/disk/relay_fixture.h"

namespace signpost::test {

using RelayedRead = RelayTest;

TEST_F(RelayedRead, DialsAtFirstUse) {
    FaultServer beta(pattern(1 << 20, 1));
    open({upstream_of(beta, "beta")});
    EXPECT_EQ(beta.connections(), 0);
    EXPECT_EQ(read(0, 512), 0);
    EXPECT_EQ(beta.connections(), 1);
}

TEST_F(RelayedRead, BringsTheBytesOfThePeer) {
    FaultServer beta(pattern(3 << 20, 2));
    open({upstream_of(beta, "beta")});
    const std::array<std::pair<std::uint64_t, std::uint64_t>, 6> ranges{
        {{0, 512}, {1, 1}, {4095, 70000}, {65536, 1 << 20}, {0, 3 << 20}, {(3 << 20) - 1, 1}}};
    for (const auto& [offset, length] : ranges) {
        ASSERT_EQ(read(offset, length), 0);
        EXPECT_TRUE(matches(beta.content(), offset)) << offset << "+" << length;
    }
}

TEST_F(RelayedRead, UnderstandsSimpleReplies) {
    FaultServer beta(pattern(1 << 20, 3), {.structured = false});
    open({upstream_of(beta, "beta")});
    ASSERT_EQ(read(1000, 300'000), 0);
    EXPECT_TRUE(matches(beta.content(), 1000));
}

TEST_F(RelayedRead, WidensToTheBlocksOfThePeer) {
    FaultServer beta(pattern(1 << 20, 4), {.minimum_block = 4096});
    open({upstream_of(beta, "beta")});
    ASSERT_EQ(read(4095, 2), 0);
    EXPECT_TRUE(matches(beta.content(), 4095));
    ASSERT_EQ(read((1 << 20) - 3, 3), 0);
    EXPECT_TRUE(matches(beta.content(), (1 << 20) - 3));
}

TEST_F(RelayedRead, SplitsAtTheMaximumPayloadOfThePeer) {
    FaultServer beta(pattern(1 << 20, 5), {.maximum_payload = 65536});
    open({upstream_of(beta, "beta")});
    ASSERT_EQ(read(100, 1'000'000), 0);
    EXPECT_TRUE(matches(beta.content(), 100));
    EXPECT_EQ(beta.requests(), 16);
}

TEST_F(RelayedRead, RefusesWhatLiesBehindTheEnd) {
    FaultServer beta(pattern(4096, 6));
    open({upstream_of(beta, "beta")});
    EXPECT_EQ(read(4096, 1), EINVAL);
    EXPECT_EQ(read(UINT64_MAX, 2), EINVAL);
    EXPECT_EQ(read(4096, 0), 0);
}

TEST_F(RelayedRead, CarriesManyRequestsAtOnce) {
    FaultServer beta(pattern(4 << 20, 7));
    open({upstream_of(beta, "beta")});
    const Bytes content = beta.content();
    std::vector<std::thread> clients;
    std::atomic<int> wrong{0};
    for (unsigned client = 0; client < 8; ++client) {
        clients.emplace_back([&, client] {
            std::uint64_t state = client + 1;
            for (int i = 0; i < 200; ++i) {
                const std::uint64_t longest = i % 10 == 0 ? 900'000 : 8192;
                wrong += random_read(*disk_, content, state, longest) ? 0 : 1;
            }
        });
    }
    for (std::thread& client : clients) {
        client.join();
    }
    EXPECT_EQ(wrong, 0);
}

TEST_F(RelayedRead, UsesOneConnectionWhereThePeerSharesNone) {
    FaultServer beta(pattern(8 << 20, 8), {.multi_conn = false});
    open({upstream_of(beta, "beta")});
    std::vector<std::thread> clients;
    for (int client = 0; client < 4; ++client) {
        clients.emplace_back([&] {
            Bytes buffer(4 << 20);
            Request request;
            request.length = buffer.size();
            request.buffer = buffer.data();
            EXPECT_EQ(submit_and_wait(*disk_, request), 0);
        });
    }
    for (std::thread& client : clients) {
        client.join();
    }
    EXPECT_EQ(beta.connections(), 1);
}

TEST_F(RelayedRead, AsksThePeerForExtents) {
    FaultServer beta(pattern(1 << 20, 9));
    open({upstream_of(beta, "beta")});
    ASSERT_EQ(run(Op::extents, 4096, 8192), 0);
    EXPECT_EQ(extents_, (std::vector<Extent>{{8192, 0}}));
    EXPECT_EQ(beta.requests(), 1);
}

TEST_F(RelayedRead, SaysDataWhereThePeerHasNoExtents) {
    FaultServer beta(pattern(1 << 20, 10), {.allocation_context = false});
    open({upstream_of(beta, "beta")});
    ASSERT_EQ(run(Op::extents, 0, 1 << 20), 0);
    EXPECT_EQ(extents_, (std::vector<Extent>{{1 << 20, 0}}));
}

TEST_F(RelayedRead, FlushOfAReadOnlyDiskAsksNobody) {
    FaultServer beta(pattern(4096, 11));
    open({upstream_of(beta, "beta")});
    EXPECT_EQ(run(Op::flush), 0);
    EXPECT_EQ(beta.connections(), 0);
}

TEST_F(RelayedRead, RefusesWrites) {
    FaultServer beta(pattern(4096, 12));
    open({upstream_of(beta, "beta")});
    EXPECT_EQ(write(0, Bytes(512)), EPERM);
    EXPECT_EQ(run(Op::trim, 0, 512), EPERM);
    EXPECT_EQ(beta.connections(), 0);
}

}  // namespace signpost::test
