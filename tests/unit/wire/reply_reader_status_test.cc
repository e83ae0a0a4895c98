// SPDX-License-Identifier: BSD-3-Clause
//
// Replies to block status.
#include <gtest/gtest.h>

#include "nbd-server/wire/reply_reader.h"
#include "tests/unit/wire/exchange.h"

namespace signpost::wire::test {
namespace {

using Descriptors = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

std::vector<Ask> ask(std::uint32_t length) {
    return {{.cookie = 1, .command = Command::block_status, .offset = 512, .length = length}};
}

std::string status(const Descriptors& descriptors, std::uint16_t flags = kDone) {
    return status_chunk(1, flags, kContext, descriptors);
}

void expect_broken_status(std::uint32_t length, std::string_view server, std::string_view why) {
    expect_broken(kWithStatus, ask(length), server, why);
}

TEST(BlockStatus, FillsTheExtents) {
    const Outcome outcome = exchange(kWithStatus, ask(4096), status({{1024, 0}, {3072, 3}}));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
    EXPECT_EQ(outcome.extents.at(1), (std::vector<Extent>{{1024, 0}, {3072, 3}}));
}

TEST(BlockStatus, MasksReservedBits) {
    const Outcome outcome = exchange(kWithStatus, ask(8), status({{8, 0xfffffffd}}));
    EXPECT_EQ(outcome.extents.at(1), (std::vector<Extent>{{8, kStateHole}}));
}

TEST(BlockStatus, JoinsNeighboursOfTheSameState) {
    const Outcome outcome =
        exchange(kWithStatus, ask(4096), status({{1024, 3}, {1024, 3}, {512, 0}, {512, 4}}));
    EXPECT_EQ(outcome.extents.at(1), (std::vector<Extent>{{2048, 3}, {1024, 0}}));
}

TEST(BlockStatus, MayEndEarlyAndMayGoOnBeyondTheRequest) {
    EXPECT_EQ(exchange(kWithStatus, ask(4096), status({{1, 0}})).extents.at(1),
              (std::vector<Extent>{{1, 0}}));
    EXPECT_EQ(exchange(kWithStatus, ask(4096), status({{4095, 0}, {0xffffffff, 3}})).extents.at(1),
              (std::vector<Extent>{{4095, 0}, {0xffffffff, 3}}));
}

TEST(BlockStatus, JoinedExtentsMayExceed32Bits) {
    const std::uint32_t most = 0xffffffff;
    EXPECT_EQ(exchange(kWithStatus, ask(most), status({{most - 1, 3}, {most, 3}})).extents.at(1),
              (std::vector<Extent>{{2 * std::uint64_t{most} - 1, 3}}));
}

TEST(BlockStatus, ForgetsWhatWasInTheVector) {
    ReplyReader reader(kWithStatus);
    std::vector<Extent> extents{{99, 1}};
    reader.expect(1, {.command = Command::block_status, .length = 8, .extents = &extents});
    std::vector<ReplyReader::Finished> finished;
    const std::string server = status({{8, 2}});
    std::string_view left = server;
    receive(reader, left, left.size(), finished);
    EXPECT_EQ(extents, (std::vector<Extent>{{8, 2}}));
}

TEST(BlockStatus, WithoutAVectorIsChecked) {
    ReplyReader reader(kWithStatus);
    reader.expect(1, {.command = Command::block_status, .length = 8});
    std::vector<ReplyReader::Finished> finished;
    const std::string server = status({{8, 2}});
    std::string_view left = server;
    receive(reader, left, left.size(), finished);
    EXPECT_EQ(finished.size(), 1u);
}

TEST(BlockStatus, MayBeFollowedByNone) {
    const Outcome outcome = exchange(kWithStatus, ask(8), status({{8, 0}}, 0) + none(1));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
}

TEST(BlockStatus, AnErrorBehindItTakesTheExtentsBack) {
    const Outcome outcome =
        exchange(kWithStatus, ask(8), status({{8, 0}}, 0) + error_chunk(1, kDone, kErrorIo));
    EXPECT_EQ(outcome.finished, (Finished{{1, kErrorIo}}));
    EXPECT_TRUE(outcome.extents.at(1).empty());
}

TEST(BlockStatus, AnErrorAloneFailsTheRequest) {
    EXPECT_EQ(exchange(kWithStatus, ask(8), simple_reply(1, kErrorInvalid)).finished,
              (Finished{{1, kErrorInvalid}}));
}

TEST(BlockStatus, SuccessWithoutStatusIsBroken) {
    expect_broken_status(8, none(1), "without block status");
    expect_broken_status(8, simple_reply(1, 0), "without block status");
}

TEST(BlockStatus, TwoChunksAreBroken) {
    expect_broken_status(8, status({{8, 0}}, 0) + status({{8, 0}}), "0x0005");
}

TEST(BlockStatus, OfAnotherContextIsBroken) {
    const Descriptors descriptors{{8, 0}};
    expect_broken_status(8, status_chunk(1, kDone, kContext + 1, descriptors), "context");
}

TEST(BlockStatus, WithoutANegotiatedContextIsBroken) {
    expect_broken(kStructuredReplies, ask(8), status({{8, 0}}), "0x0005");
}

TEST(BlockStatus, ExtentOfNoBytesIsBroken) {
    expect_broken_status(8, status({{0, 0}}), "length 0");
    expect_broken_status(8, status({{4, 0}, {0, 0}}), "length 0");
}

TEST(BlockStatus, ExtentThatBeginsBeyondTheRequestIsBroken) {
    expect_broken_status(8, status({{8, 0}, {1, 0}}), "beyond");
    expect_broken_status(8, status({{0xffffffff, 0}, {0xffffffff, 3}}), "beyond");
}

TEST(BlockStatus, OfImpossibleLengthIsBroken) {
    for (const std::size_t length : {0u, 3u, 4u, 11u, 13u, 19u}) {
        expect_broken_status(8, chunk(1, kDone, 5, std::string(length, '\0')), "0x0005");
    }
}

TEST(BlockStatus, OfMoreDescriptorsThanTheLimitIsBroken) {
    const auto header = [](std::uint32_t descriptors) {
        return Bytes().u32(0x668e33ef).u16(1).u16(5).u64(1).u32(4 + 8 * descriptors).str();
    };
    EXPECT_EQ(exchange(kWithStatus, ask(~0u), header(1 << 20)).reason, "");
    expect_broken_status(~0u, header((1 << 20) + 1), "0x0005");
}

TEST(BlockStatus, KeepsABoundedNumberOfExtentsFromTheFront) {
    Descriptors descriptors;
    for (std::uint32_t i = 0; i < 70000; ++i) {
        descriptors.emplace_back(1, i % 2);
    }
    Exchange once(kWithStatus, ask(~0u));
    once.run(status(descriptors), 1 << 20);
    const Outcome outcome = once.outcome();
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
    ASSERT_EQ(outcome.extents.at(1).size(), 65536u);
    EXPECT_EQ(outcome.extents.at(1).back(), (Extent{1, 1}));
}

}  // namespace
}  // namespace signpost::wire::test
