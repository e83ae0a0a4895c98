// SPDX-License-Identifier: BSD-3-Clause
//
// Structured replies to reads.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "nbd-server/wire/reply_reader.h"
#include "tests/unit/wire/exchange.h"

namespace signpost::wire::test {
namespace {

constexpr std::uint64_t kOffset = 65536;

std::vector<Ask> one_read(std::uint32_t length) {
    return {{.cookie = 1, .offset = kOffset, .length = length}};
}

void expect_broken_read(std::uint32_t length, std::string_view server, std::string_view why) {
    expect_broken(kStructuredReplies, one_read(length), server, why);
}

TEST(ReadChunks, OneForAll) {
    const std::string bytes = pattern(100000);
    const Outcome outcome =
        exchange(kStructuredReplies, one_read(100000), data_chunk(1, kDone, kOffset, bytes));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
    EXPECT_EQ(outcome.data.at(1), bytes);
}

TEST(ReadChunks, DataAndHolesInAnyOrder) {
    const Outcome outcome =
        exchange(kStructuredReplies, one_read(12),
                 data_chunk(1, 0, kOffset + 8, "ijkl") + hole_chunk(1, 0, kOffset + 4, 4) +
                     data_chunk(1, 0, kOffset, "abcd") + none(1));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
    EXPECT_EQ(outcome.data.at(1), std::string("abcd\0\0\0\0ijkl", 12));
}

TEST(ReadChunks, OfSeveralRepliesInterleaved) {
    const Outcome outcome =
        exchange(kStructuredReplies, {{.cookie = 1, .length = 4}, {.cookie = 2, .length = 4}},
                 data_chunk(1, 0, 2, "cd") + data_chunk(2, 0, 0, "AB") +
                     data_chunk(1, kDone, 0, "ab") + data_chunk(2, kDone, 2, "CD"));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}, {2, 0}}));
    EXPECT_EQ(outcome.data.at(1), "abcd");
    EXPECT_EQ(outcome.data.at(2), "ABCD");
}

TEST(ReadChunks, WithoutABufferAreChecked) {
    const std::vector<Ask> asks{{.cookie = 1, .offset = kOffset, .length = 8, .has_buffer = false}};
    const Outcome outcome =
        exchange(kStructuredReplies, asks,
                 data_chunk(1, 0, kOffset, "abcd") + hole_chunk(1, kDone, kOffset + 4, 4));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
    EXPECT_EQ(outcome.data.at(1), std::string(8, kUntouched));
    expect_broken(kStructuredReplies, asks, hole_chunk(1, kDone, kOffset, 4), "missing");
}

TEST(ReadChunks, EmptyReadNeedsNone) {
    const Outcome outcome = exchange(kStructuredReplies, one_read(0), none(1));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
}

TEST(ReadChunks, AtTheEndOfTheLargestDisk) {
    const std::uint64_t offset = (std::uint64_t{1} << 63) - 4;
    const Outcome outcome =
        exchange(kStructuredReplies, {{.cookie = 1, .offset = offset, .length = 4}},
                 data_chunk(1, kDone, offset, "last"));
    EXPECT_EQ(outcome.data.at(1), "last");
}

TEST(ReadChunks, MissingBytesAtDoneAreBroken) {
    expect_broken_read(8, data_chunk(1, kDone, kOffset, "1234567"), "missing");
    expect_broken_read(8, data_chunk(1, 0, kOffset, "1234") + none(1), "missing");
    expect_broken_read(8, none(1), "missing");
}

TEST(ReadChunks, OverlapIsBroken) {
    const std::string first = data_chunk(1, 0, kOffset + 2, "cdef");
    expect_broken_read(8, first + data_chunk(1, 0, kOffset + 2, "cdef"), "overlaps");
    expect_broken_read(8, first + data_chunk(1, 0, kOffset + 5, "f"), "overlaps");
    expect_broken_read(8, first + hole_chunk(1, 0, kOffset, 3), "overlaps");
    expect_broken_read(8, first + hole_chunk(1, 0, kOffset, 8), "overlaps");
    expect_broken_read(8, hole_chunk(1, 0, kOffset, 8) + hole_chunk(1, kDone, kOffset, 8),
                       "overlaps");
}

TEST(ReadChunks, OutsideOfTheRequestIsBroken) {
    const std::string inside = "not inside";
    expect_broken_read(8, data_chunk(1, 0, kOffset - 1, "ab"), inside);
    expect_broken_read(8, data_chunk(1, 0, kOffset + 7, "ab"), inside);
    expect_broken_read(8, data_chunk(1, 0, kOffset + 8, "a"), inside);
    expect_broken_read(8, data_chunk(1, 0, 0, "a"), inside);
    expect_broken_read(8, data_chunk(1, 0, ~std::uint64_t{0}, "ab"), inside);
    expect_broken_read(8, hole_chunk(1, 0, kOffset - 1, 2), inside);
    expect_broken_read(8, hole_chunk(1, 0, kOffset, 9), inside);
    expect_broken_read(8, hole_chunk(1, 0, kOffset + 4, 0xffffffff), inside);
    expect_broken_read(8, hole_chunk(1, 0, ~std::uint64_t{0}, 1), inside);
}

TEST(ReadChunks, OfNoBytesAreBroken) {
    expect_broken_read(8, data_chunk(1, 0, kOffset, ""), "0x0001");
    expect_broken_read(8, hole_chunk(1, 0, kOffset, 0), "not inside");
}

TEST(ReadChunks, OfImpossibleLengthAreBroken) {
    expect_broken_read(8, chunk(1, 0, 1, "short"), "0x0001");
    expect_broken_read(8, data_chunk(1, 0, kOffset, "123456789"), "0x0001");
    expect_broken_read(8, Bytes().u32(0x668e33ef).u16(0).u16(1).u64(1).u32(0xffffffff).str(),
                       "0x0001");
    expect_broken_read(8, chunk(1, 0, 2, std::string(11, '\0')), "0x0002");
    expect_broken_read(8, chunk(1, 0, 2, std::string(13, '\0')), "0x0002");
}

TEST(ReadChunks, DataWithoutABlockStatusRequestHasNoStatus) {
    const std::pair<std::uint32_t, std::uint32_t> extent{8, 0};
    expect_broken(kWithStatus, one_read(8), status_chunk(1, kDone, kContext, {&extent, 1}),
                  "0x0005");
}

TEST(ReadChunks, AnErrorFailsTheReadThoughAllDataCame) {
    const Outcome outcome =
        exchange(kStructuredReplies, one_read(4),
                 data_chunk(1, 0, kOffset, "abcd") + error_chunk(1, kDone, kErrorIo));
    EXPECT_EQ(outcome.finished, (Finished{{1, kErrorIo}}));
}

TEST(ReadChunks, DataAfterAnErrorDoesNotMendIt) {
    const Outcome outcome = exchange(kStructuredReplies, one_read(4),
                                     error_offset_chunk(1, 0, kErrorIo, "bad sector", kOffset) +
                                         data_chunk(1, kDone, kOffset, "abcd"));
    EXPECT_EQ(outcome.finished, (Finished{{1, kErrorIo}}));
}

TEST(ReadChunks, DataAfterAnErrorIsStillChecked) {
    expect_broken_read(4, error_chunk(1, 0, kErrorIo) + data_chunk(1, kDone, kOffset + 4, "a"),
                       "not inside");
}

TEST(ReadChunks, ScatteredBeyondTheLimitAreBroken) {
    std::string server;
    for (std::uint32_t i = 0; i <= Coverage::kMaxParts; ++i) {
        server += hole_chunk(1, 0, kOffset + 2 * i, 1);
    }
    expect_broken_read(1 << 20, server, "scattered");
}

TEST(ReadChunks, InOrderMayBeAsManyAsBytes) {
    std::string server;
    for (std::uint32_t i = 0; i < 5000; ++i) {
        server += data_chunk(1, i == 4999 ? kDone : 0, kOffset + i, "x");
    }
    const Outcome outcome = exchange(kStructuredReplies, one_read(5000), server);
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
    EXPECT_EQ(outcome.data.at(1), std::string(5000, 'x'));
}

TEST(ReadChunks, AnyPartitionInAnyOrderGivesTheSameBytes) {
    std::mt19937 random(3);
    for (int round = 0; round < 100; ++round) {
        const std::string bytes = pattern(1 + random() % 3000, random());
        std::vector<std::pair<std::size_t, std::size_t>> parts;
        for (std::size_t at = 0; at < bytes.size();) {
            const std::size_t n = std::min<std::size_t>(1 + random() % 400, bytes.size() - at);
            parts.emplace_back(at, n);
            at += n;
        }
        std::shuffle(parts.begin(), parts.end(), random);
        std::string server;
        for (const auto& [at, n] : parts) {
            server += data_chunk(1, 0, kOffset + at, std::string_view(bytes).substr(at, n));
        }
        const Outcome outcome =
            exchange(kStructuredReplies, one_read(static_cast<std::uint32_t>(bytes.size())),
                     server + none(1));
        ASSERT_EQ(outcome.reason, "");
        ASSERT_EQ(outcome.data.at(1), bytes);
    }
}

}  // namespace
}  // namespace signpost::wire::test
