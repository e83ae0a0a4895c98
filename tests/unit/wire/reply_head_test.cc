// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of the server's replies. Numbers as in server_handshake_test.cc.
#include "nbd-server/wire/reply_head.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <functional>
#include <numeric>
#include <set>
#include <vector>

#include "nbd-server/wire/text.h"
#include "tests/unit/wire/bytes.h"

namespace signpost::wire::test {
namespace {

constexpr std::uint64_t kCookie = 0x0102030405060708;
constexpr std::uint64_t kOffset = 0x10000;
constexpr ReplyTo kSimply{ReplyStyle::simple, kCookie, kOffset};
constexpr ReplyTo kChunked{ReplyStyle::structured, kCookie, kOffset};
constexpr ReplyTo kExtendedly{ReplyStyle::extended, kCookie, kOffset};

std::string extended_chunk(std::uint16_t flags, std::uint16_t type, std::string_view payload,
                           std::size_t length) {
    return Bytes()
        .u32(0x6e8a278c)
        .u16(flags)
        .u16(type)
        .u64(kCookie)
        .u64(kOffset)
        .u64(length)
        .text(payload);
}

std::string extended_chunk(std::uint16_t flags, std::uint16_t type, std::string_view payload) {
    return extended_chunk(flags, type, payload, payload.size());
}

using Put = std::function<std::size_t(std::span<std::byte>)>;

// What PUT writes into ROOM bytes; and that it writes nothing beyond them, nor beyond its word.
std::string written(const Put& put, std::size_t room = 10'000) {
    std::vector<std::byte> memory(room + 64, std::byte{0xa5});
    const std::size_t n = put(std::span(memory).first(room));
    EXPECT_LE(n, room);
    for (std::size_t i = n == 0 ? 0 : room; i < memory.size(); ++i) {
        EXPECT_EQ(memory[i], std::byte{0xa5}) << "at " << i;
    }
    return {reinterpret_cast<const char*>(memory.data()), n};
}

std::string head(const ReplyTo& to, std::uint64_t offset, std::uint32_t length, Ending ending) {
    return written([&](auto memory) { return put_read_head(memory, to, offset, length, ending); });
}

TEST(ReplyHead, P105_ReadHeadsInEveryStyle) {
    EXPECT_EQ(head(kSimply, kOffset, 4096, Ending::done), simple_reply(kCookie, 0));
    EXPECT_EQ(head(kChunked, 0x10200, 512, Ending::more),
              Bytes().u32(0x668e33ef).u16(0).u16(1).u64(kCookie).u32(520).u64(0x10200).str());
    EXPECT_EQ(head(kChunked, 0x10200, 512, Ending::done),
              Bytes().u32(0x668e33ef).u16(1).u16(1).u64(kCookie).u32(520).u64(0x10200).str());
    EXPECT_EQ(head(kExtendedly, 0x10200, 512, Ending::done),
              extended_chunk(1, 1, Bytes().u64(0x10200).str(), 520));
}

TEST(ReplyHead, TheSizeOfAReadHeadIsKnownBefore) {
    for (const ReplyTo& to : {kSimply, kChunked, kExtendedly}) {
        EXPECT_EQ(head(to, 0, 1, Ending::done).size(), read_head_size(to.style));
        EXPECT_LE(read_head_size(to.style), kMaxReadHead);
    }
}

TEST(ReplyHead, HolesAndEnds) {
    const auto hole = [](const ReplyTo& to) {
        return written(
            [&](auto memory) { return put_hole(memory, to, 0x10200, 512, Ending::more); },
            kMaxHole);
    };
    EXPECT_EQ(hole(kChunked), hole_chunk(kCookie, 0, 0x10200, 512));
    EXPECT_EQ(hole(kExtendedly), extended_chunk(0, 2, Bytes().u64(0x10200).u32(512).str()));
    const auto done = [](const ReplyTo& to) {
        return written([&](auto memory) { return put_done(memory, to); }, kMaxSuccess);
    };
    EXPECT_EQ(done(kChunked), none(kCookie));
    EXPECT_EQ(done(kExtendedly), extended_chunk(1, 0, ""));
}

TEST(ReplyHead, P107_SuccessOfOtherCommands) {
    const auto success = [](const ReplyTo& to) {
        return written([&](auto memory) { return put_success(memory, to); }, kMaxSuccess);
    };
    EXPECT_EQ(success(kSimply), simple_reply(kCookie, 0));
    EXPECT_EQ(success(kChunked), simple_reply(kCookie, 0));
    EXPECT_EQ(success(kExtendedly), extended_chunk(1, 0, ""));  // simple replies are forbidden
}

std::string error(const ReplyTo& to, std::string_view sentence, std::size_t room = kMaxError,
                  Ending ending = Ending::done) {
    return written([&](auto memory) { return put_error(memory, to, kErrorIo, sentence, ending); },
                   room);
}

TEST(ReplyHead, P104_ErrorsAreChunksWhereChunksWereNegotiated) {
    EXPECT_EQ(error(kSimply, "words"), simple_reply(kCookie, 5));
    EXPECT_EQ(error(kChunked, "words"), error_chunk(kCookie, kDone, 5, "words"));
    EXPECT_EQ(error(kChunked, "", kMaxError, Ending::more), error_chunk(kCookie, 0, 5));
    EXPECT_EQ(error(kExtendedly, "words"),
              extended_chunk(1, 0x8001, Bytes().u32(5).u16(5).text("words").str()));
}

TEST(ReplyHead, P108_AnErrorWithAnOffset) {
    const auto at = [](const ReplyTo& to) {
        return written(
            [&](auto memory) {
                return put_error_at(memory, to, 5, "bad block", 0x10200, Ending::more);
            },
            kMaxErrorAt);
    };
    EXPECT_EQ(at(kChunked), error_offset_chunk(kCookie, 0, 5, "bad block", 0x10200));
    EXPECT_EQ(
        at(kExtendedly),
        extended_chunk(0, 0x8002, Bytes().u32(5).u16(9).text("bad block").u64(0x10200).str()));
    EXPECT_EQ(at(kSimply), simple_reply(kCookie, 5));
}

TEST(ReplyHead, P108_ASentenceIsEscapedAndAtMost4096Bytes) {
    EXPECT_EQ(error(kChunked, "a\nb\x1b[2J\xff\xc3\xa9"),
              error_chunk(kCookie, kDone, 5, "a\\x0ab\\x1b[2J\\xff\xc3\xa9"));
    const std::string longest = error(kChunked, std::string(5000, 'w'));
    EXPECT_EQ(longest.size(), 20u + 6 + 4096);
    EXPECT_EQ(longest, error_chunk(kCookie, kDone, 5, std::string(4093, 'w') + "..."));
}

TEST(ReplyHead, ASentenceIsCutToTheRoom) {
    for (std::size_t room = 26; room < 40; ++room) {
        const std::string bytes =
            error(kChunked, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac and more", room);
        ASSERT_LE(bytes.size(), room);
        EXPECT_TRUE(is_protocol_string(bytes.substr(26))) << room;
    }
    EXPECT_EQ(error(kChunked, "", 25), "");
    EXPECT_EQ(error(kExtendedly, "", 37), "");
}

TEST(ReplyHead, TooLittleRoomWritesNothing) {
    for (const ReplyTo& to : {kSimply, kChunked, kExtendedly}) {
        for (std::size_t room = 0; room < read_head_size(to.style); ++room) {
            EXPECT_EQ(
                written([&](auto m) { return put_read_head(m, to, 0, 1, Ending::done); }, room),
                "");
        }
        EXPECT_EQ(written([&](auto m) { return put_success(m, to); }, 15), "");
        EXPECT_EQ(written([&](auto m) { return put_hole(m, kChunked, 0, 1, Ending::done); }, 31),
                  "");
    }
}

constexpr std::uint32_t kId = 7;

std::string status(const ReplyTo& to, const std::vector<Extent>& extents, StatusQuestion question,
                   std::size_t room = 10'000) {
    return written(
        [&](auto memory) { return put_status(memory, to, kId, extents, question, Ending::done); },
        room);
}

using Pairs = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

std::string compact(const Pairs& extents) {
    return status_chunk(kCookie, kDone, kId, extents);
}

TEST(ReplyHead, P109_OneChunkWithExtents) {
    EXPECT_EQ(status(kChunked, {{4096, 0}, {512, 3}, {100, 0}}, {.length = 8192}),
              compact({{4096, 0}, {512, 3}, {100, 0}}));
    EXPECT_EQ(
        status(kExtendedly, {{4096, 0}, {std::uint64_t{1} << 40, 3}}, {.length = 8192}),
        extended_chunk(
            1, 6,
            Bytes().u32(kId).u32(2).u64(4096).u64(0).u64(std::uint64_t{1} << 40).u64(3).str()));
}

TEST(ReplyHead, P109_NoExtentIsEmptyAndNoneBeginsBeyondTheRequest) {
    EXPECT_EQ(status(kChunked, {{0, 1}, {4096, 0}, {0, 3}, {4096, 3}, {4096, 0}}, {.length = 8192}),
              compact({{4096, 0}, {4096, 3}}));
    EXPECT_EQ(status(kChunked, {{4096, 0}, {9000, 3}, {1, 0}}, {.length = 8192}),
              compact({{4096, 0}, {9000, 3}}));
    EXPECT_EQ(
        status(kExtendedly, {{512, 0}, {~std::uint64_t{0}, 3}, {512, 0}}, {.length = 8192}).size(),
        status_size(ReplyStyle::extended, 2));
    EXPECT_EQ(status(kChunked, {}, {.length = 8192}), "");
    EXPECT_EQ(status(kChunked, {{0, 0}}, {.length = 8192}), "");
}

TEST(ReplyHead, P109_NeighboursOfTheSameStatusAreJoined) {
    EXPECT_EQ(status(kChunked, {{1, 3}, {2, 3}, {0, 0}, {3, 3}, {4, 0}}, {.length = 100}),
              compact({{6, 3}, {4, 0}}));
}

TEST(ReplyHead, P110_ReqOneGivesOneExtentWithinTheRequest) {
    const StatusQuestion one{.length = 8192, .only_one = true};
    EXPECT_EQ(status(kChunked, {{4096, 0}, {4096, 3}}, one), compact({{4096, 0}}));
    EXPECT_EQ(status(kChunked, {{4096, 0}, {100'000, 0}}, one), compact({{8192, 0}}));
}

TEST(ReplyHead, P113_LongExtentsAreCutTo32Bits) {
    const std::uint32_t longest = 0xffff0000;
    const std::uint64_t huge = std::uint64_t{1} << 62;
    EXPECT_EQ(status(kChunked, {{huge, 3}, {512, 0}}, {.length = 0xffffffff}),
              compact({{longest, 3}}));
    EXPECT_EQ(status(kChunked, {{512, 0}, {huge, 3}, {512, 0}}, {.length = 0xffffffff}),
              compact({{512, 0}, {longest, 3}}));
    EXPECT_EQ(status(kChunked, {{0xffffffff, 3}}, {.length = 0xffffffff}), compact({{longest, 3}}));
    EXPECT_EQ(status(kChunked, {{longest, 3}, {1, 0}}, {.length = 0xffffffff}),
              compact({{longest, 3}, {1, 0}}));
    const std::vector<Extent> wraps{{~std::uint64_t{0}, 3}, {2, 3}};
    EXPECT_EQ(status(kChunked, wraps, {.length = 512}), compact({{longest, 3}}));
}

TEST(ReplyHead, P116_AtMost2To20ExtentsAndAsManyAsFit) {
    std::vector<Extent> many;
    for (std::uint32_t i = 0; i < kMaxDescriptors + 10; ++i) {
        many.push_back({1, i % 2});
    }
    const StatusQuestion all{.length = many.size()};
    EXPECT_EQ(status(kChunked, many, all, std::size_t{16} << 20).size(),
              status_size(ReplyStyle::structured, kMaxDescriptors));
    EXPECT_EQ(status(kChunked, many, all, status_size(ReplyStyle::structured, 3) + 7),
              compact({{1, 0}, {1, 1}, {1, 0}}));
    EXPECT_EQ(status(kChunked, many, all, status_size(ReplyStyle::structured, 1) - 1), "");
}

TEST(ReplyHead, P101_OnlyDefinedErrorsAreSent) {
    const std::set<std::uint32_t> known{1, 5, 22, 28, 108};
    for (int number = 1; number < 200; ++number) {
        EXPECT_TRUE(known.contains(wire_error(number))) << number;
    }
    EXPECT_EQ(wire_error(0), 0u);
    EXPECT_EQ(wire_error(EPERM), kErrorPerm);
    EXPECT_EQ(wire_error(EROFS), kErrorPerm);
    EXPECT_EQ(wire_error(EINVAL), kErrorInvalid);
    EXPECT_EQ(wire_error(ENOSPC), kErrorNoSpace);
    EXPECT_EQ(wire_error(EDQUOT), kErrorNoSpace);
    EXPECT_EQ(wire_error(EFBIG), kErrorNoSpace);
    EXPECT_EQ(wire_error(ESHUTDOWN), kErrorShutdown);
    EXPECT_EQ(wire_error(ENOMEM), kErrorIo);
    EXPECT_EQ(wire_error(EOVERFLOW), kErrorIo);
    EXPECT_EQ(wire_error(EOPNOTSUPP), kErrorInvalid);
    EXPECT_EQ(wire_error(EOPNOTSUPP, true), kErrorNotSupported);
    EXPECT_EQ(wire_error(ENOTSUP, true), kErrorNotSupported);
}

}  // namespace
}  // namespace signpost::wire::test
