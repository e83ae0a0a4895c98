// SPDX-License-Identifier: BSD-3-Clause
//
// Simple replies, cookies, errors, abandoning, and how bytes are received. The chunks of reads and
// block status have their own files.
#include "nbd-server/wire/reply_reader.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/exchange.h"

namespace signpost::wire::test {
namespace {

TEST(SimpleReply, BringsTheBytesOfARead) {
    const std::string bytes = pattern(4096);
    const Outcome outcome = exchange(kSimple, {{.cookie = 5, .offset = 8192, .length = 4096}},
                                     simple_reply(5, 0, bytes));
    EXPECT_EQ(outcome.reason, "");
    EXPECT_EQ(outcome.finished, (Finished{{5, 0}}));
    EXPECT_EQ(outcome.data.at(5), bytes);
    EXPECT_EQ(outcome.outstanding, 0u);
}

TEST(SimpleReply, WithAnErrorHasNoPayload) {
    const Outcome outcome =
        exchange(kSimple, {{.cookie = 5, .length = 64}, {.cookie = 6, .length = 4}},
                 simple_reply(5, kErrorIo) + simple_reply(6, 0, "abcd"));
    EXPECT_EQ(outcome.finished, (Finished{{5, kErrorIo}, {6, 0}}));
    EXPECT_EQ(outcome.data.at(5), std::string(64, kUntouched));
    EXPECT_EQ(outcome.data.at(6), "abcd");
}

TEST(SimpleReply, KeepsAnErrorValueThatTheProtocolDoesNotKnow) {
    const Outcome outcome = exchange(kSimple, {{.cookie = 5, .length = 64}}, simple_reply(5, 4711));
    EXPECT_EQ(outcome.finished, (Finished{{5, 4711}}));
}

TEST(SimpleReply, AnswersInAnyOrder) {
    const Outcome outcome = exchange(
        kSimple,
        {{.cookie = 1, .length = 3}, {.cookie = 2, .command = Command::flush}, {.cookie = 3}},
        simple_reply(3, 0) + simple_reply(1, 0, "xyz") + simple_reply(2, 0));
    EXPECT_EQ(outcome.finished, (Finished{{3, 0}, {1, 0}, {2, 0}}));
    EXPECT_EQ(outcome.data.at(1), "xyz");
}

TEST(SimpleReply, ToAReadIsBrokenWhenStructuredOnesWereNegotiated) {
    expect_broken(kStructuredReplies, {{.cookie = 5, .length = 4}}, simple_reply(5, 0, "abcd"),
                  "simple reply");
    expect_broken(kStructuredReplies, {{.cookie = 5, .length = 4}}, simple_reply(5, kErrorInvalid),
                  "simple reply");
}

TEST(SimpleReply, ServesOtherCommandsAmongStructuredOnes) {
    const Outcome outcome = exchange(kStructuredReplies,
                                     {{.cookie = 1, .command = Command::write, .length = 512},
                                      {.cookie = 2, .command = Command::trim, .length = 512}},
                                     simple_reply(1, 0) + simple_reply(2, kErrorNoSpace));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}, {2, kErrorNoSpace}}));
}

TEST(SimpleReply, BehindAnErrorChunkIsBroken) {
    expect_broken(kStructuredReplies, {{.cookie = 1, .command = Command::write, .length = 512}},
                  error_chunk(1, 0, kErrorIo) + simple_reply(1, 0), "behind structured");
}

TEST(Cookies, ReplyToOneThatWasNeverSentIsBroken) {
    expect_broken(kSimple, {{.cookie = 1, .length = 4}}, simple_reply(2, 0), "0x2");
    expect_broken(kStructuredReplies, {{.cookie = 1, .length = 4}}, none(0xabc), "0xabc");
}

TEST(Cookies, SecondReplyIsBroken) {
    const Outcome outcome = exchange(kSimple, {{.cookie = 1, .command = Command::flush}},
                                     simple_reply(1, 0) + simple_reply(1, 0));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
    EXPECT_NE(outcome.reason, "");
}

TEST(Cookies, UsedTwiceAtOnceIsBroken) {
    ReplyReader reader(kSimple);
    reader.expect(1, {.command = Command::flush});
    reader.expect(1, {.command = Command::flush});
    EXPECT_TRUE(reader.broken());
}

TEST(Cookies, AreOpaque) {
    std::vector<Ask> asks;
    std::string server;
    for (std::uint64_t i = 0; i < 300; ++i) {
        const std::uint64_t cookie = i << 56 | i << 20 | 0xffff;
        asks.push_back({.cookie = cookie, .length = 8});
        server = simple_reply(cookie, 0, pattern(8, static_cast<unsigned>(i))) + server;
    }
    const Outcome outcome = exchange(kSimple, asks, server);
    ASSERT_EQ(outcome.finished.size(), 300u);
    for (std::uint64_t i = 0; i < 300; ++i) {
        EXPECT_EQ(outcome.data.at(asks[i].cookie), pattern(8, static_cast<unsigned>(i)));
    }
}

TEST(Headers, UnknownMagicIsBroken) {
    expect_broken(kSimple, {{.cookie = 1}}, Bytes().u32(0x67446699).fill(12, '\0').str(), "magic");
}

TEST(Headers, StructuredReplyThatWasNotNegotiatedIsBroken) {
    expect_broken(kSimple, {{.cookie = 1, .command = Command::flush}}, none(1), "not negotiated");
}

TEST(ErrorChunk, FailsAnyCommand) {
    for (const Command command : {Command::read, Command::write, Command::flush, Command::trim,
                                  Command::cache, Command::write_zeroes, Command::block_status}) {
        const Outcome outcome =
            exchange(kWithStatus, {{.cookie = 1, .command = command, .length = 512}},
                     error_chunk(1, kDone, kErrorIo, "the disk is on fire"));
        EXPECT_EQ(outcome.reason, "");
        EXPECT_EQ(outcome.finished, (Finished{{1, kErrorIo}}));
    }
}

TEST(ErrorChunk, MayComeFirstAndNoneLast) {
    const Outcome outcome =
        exchange(kStructuredReplies, {{.cookie = 1, .command = Command::write, .length = 512}},
                 error_chunk(1, 0, kErrorNoSpace) + none(1));
    EXPECT_EQ(outcome.finished, (Finished{{1, kErrorNoSpace}}));
}

TEST(ErrorChunk, TheFirstErrorCounts) {
    const Outcome outcome =
        exchange(kStructuredReplies, {{.cookie = 1, .length = 512}},
                 error_chunk(1, 0, kErrorIo) + error_chunk(1, kDone, kErrorInvalid));
    EXPECT_EQ(outcome.finished, (Finished{{1, kErrorIo}}));
}

TEST(ErrorChunk, WithOffsetInsideOfTheRequest) {
    for (const std::uint64_t offset : {4096u, 4607u}) {
        const Outcome outcome =
            exchange(kStructuredReplies, {{.cookie = 1, .offset = 4096, .length = 512}},
                     error_offset_chunk(1, kDone, kErrorIo, "here", offset));
        EXPECT_EQ(outcome.finished, (Finished{{1, kErrorIo}}));
    }
}

TEST(ErrorChunk, WithOffsetOutsideIsBroken) {
    for (const std::uint64_t offset :
         {std::uint64_t{4095}, std::uint64_t{4608}, ~std::uint64_t{0}, std::uint64_t{0}}) {
        expect_broken(kStructuredReplies, {{.cookie = 1, .offset = 4096, .length = 512}},
                      error_offset_chunk(1, kDone, kErrorIo, "", offset), "outside");
    }
}

TEST(ErrorChunk, WithoutAnErrorIsBroken) {
    expect_broken(kStructuredReplies, {{.cookie = 1, .length = 512}}, error_chunk(1, kDone, 0),
                  "malformed");
}

TEST(ErrorChunk, MessageOfTheGreatestLength) {
    const Outcome outcome = exchange(kStructuredReplies, {{.cookie = 1, .length = 512}},
                                     error_chunk(1, kDone, kErrorIo, std::string(4096, 'x')));
    EXPECT_EQ(outcome.finished, (Finished{{1, kErrorIo}}));
    expect_broken(kStructuredReplies, {{.cookie = 1, .length = 512}},
                  error_chunk(1, kDone, kErrorIo, std::string(4097, 'x')), "malformed");
}

TEST(ErrorChunk, MessageLongerThanTheChunkIsBroken) {
    expect_broken(kStructuredReplies, {{.cookie = 1, .length = 512}},
                  chunk(1, kDone, 0x8001, Bytes().u32(5).u16(3).text("ab").str()), "malformed");
    expect_broken(kStructuredReplies, {{.cookie = 1, .length = 512}},
                  chunk(1, kDone, 0x8002, Bytes().u32(5).u16(1).u64(0).str()), "outside");
}

TEST(ErrorChunk, OfImpossibleLengthIsBroken) {
    expect_broken(kStructuredReplies, {{.cookie = 1, .length = 512}},
                  chunk(1, kDone, 0x8001, "12345"), "0x8001");
    expect_broken(kStructuredReplies, {{.cookie = 1, .length = 512}},
                  Bytes().u32(0x668e33ef).u16(1).u16(0x8001).u64(1).u32(0xffffffff).str(),
                  "0x8001");
}

TEST(ErrorChunk, OfUnknownTypeFailsTheRequestOnly) {
    const Outcome outcome = exchange(
        kStructuredReplies, {{.cookie = 1, .length = 512}, {.cookie = 2, .length = 2}},
        chunk(1, kDone, 0x9000, Bytes().u32(kErrorIo).u16(2).text("hi").text("extra").str()) +
            data_chunk(2, kDone, 0, "ok"));
    EXPECT_EQ(outcome.finished, (Finished{{1, kErrorIo}, {2, 0}}));
}

TEST(ErrorChunk, FloodIsBroken) {
    std::string server;
    for (int i = 0; i < 1024; ++i) {
        server += error_chunk(1, 0, kErrorIo);
    }
    const std::vector<Ask> asks{{.cookie = 1, .length = 512}};
    EXPECT_EQ(exchange(kStructuredReplies, asks, server).reason, "");
    expect_broken(kStructuredReplies, asks, server + error_chunk(1, 0, kErrorIo), "too many");
}

TEST(OtherCommands, TakeNoneAsSuccess) {
    const Outcome outcome = exchange(
        kStructuredReplies, {{.cookie = 1, .command = Command::write, .length = 512}}, none(1));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
}

TEST(OtherCommands, ContentChunksAreBroken) {
    const std::vector<Ask> asks{{.cookie = 1, .command = Command::write, .length = 512}};
    expect_broken(kWithStatus, asks, data_chunk(1, kDone, 0, "abc"), "0x0001");
    expect_broken(kWithStatus, asks, hole_chunk(1, kDone, 0, 512), "0x0002");
    const std::pair<std::uint32_t, std::uint32_t> extent{512, 0};
    expect_broken(kWithStatus, asks, status_chunk(1, kDone, kContext, {&extent, 1}), "0x0005");
}

TEST(Chunks, NoneWithoutDoneIsBroken) {
    expect_broken(kStructuredReplies, {{.cookie = 1, .command = Command::flush}}, chunk(1, 0, 0),
                  "0x0000");
}

TEST(Chunks, NoneWithPayloadIsBroken) {
    expect_broken(kStructuredReplies, {{.cookie = 1, .command = Command::flush}},
                  chunk(1, kDone, 0, "x"), "0x0000");
}

TEST(Chunks, UnknownTypeIsBroken) {
    for (const std::uint16_t type : {3, 4, 6, 0x7fff}) {
        expect_broken(kWithStatus, {{.cookie = 1, .length = 512}},
                      chunk(1, kDone, type, "12345678"), "a chunk of type");
    }
}

TEST(Chunks, UnknownFlagsAreIgnored) {
    const Outcome outcome = exchange(kStructuredReplies, {{.cookie = 1, .length = 3}},
                                     data_chunk(1, 0xfffe, 0, "abc") + chunk(1, 0xffff, 0));
    EXPECT_EQ(outcome.finished, (Finished{{1, 0}}));
}

TEST(Abandon, LeavesTheBufferAloneAndStillChecksTheReply) {
    const Outcome outcome = exchange(
        kSimple, {{.cookie = 1, .length = 512}, {.cookie = 2, .length = 4}},
        simple_reply(1, 0, std::string(512, 'x')) + simple_reply(2, 0, "good"), Abandon{1, 0});
    EXPECT_EQ(outcome.finished, (Finished{{2, 0}}));
    EXPECT_EQ(outcome.data.at(1), std::string(512, kUntouched));
    EXPECT_EQ(outcome.data.at(2), "good");
    EXPECT_EQ(outcome.outstanding, 0u);
}

TEST(Abandon, InTheMiddleOfAPayloadDropsTheRest) {
    const std::string server =
        simple_reply(1, 0, std::string(200000, 'x')) + simple_reply(2, 0, "good");
    for (const std::size_t after : {1u, 16u, 17u, 1000u, 70000u, 200015u}) {
        const Outcome outcome =
            exchange(kSimple, {{.cookie = 1, .length = 200000}, {.cookie = 2, .length = 4}}, server,
                     Abandon{1, after});
        EXPECT_EQ(outcome.finished, (Finished{{2, 0}}));
        const std::size_t before = after < 16 ? 0 : after - 16;
        EXPECT_EQ(outcome.data.at(1),
                  std::string(before, 'x') + std::string(200000 - before, kUntouched));
    }
}

TEST(Abandon, BetweenChunksDropsTheRest) {
    const std::string first = data_chunk(1, 0, 0, "abcd");
    const Outcome outcome = exchange(
        kStructuredReplies, {{.cookie = 1, .length = 12}},
        first + hole_chunk(1, 0, 4, 4) + data_chunk(1, kDone, 8, "ijkl"), Abandon{1, first.size()});
    EXPECT_EQ(outcome.reason, "");
    EXPECT_EQ(outcome.data.at(1), "abcd" + std::string(8, kUntouched));
    EXPECT_EQ(outcome.outstanding, 0u);
}

TEST(Abandon, OfAReplyThatBreaksTheRulesIsBroken) {
    const Outcome outcome = exchange(kStructuredReplies, {{.cookie = 1, .length = 12}},
                                     hole_chunk(1, kDone, 4, 8), Abandon{1, 0});
    EXPECT_NE(outcome.reason.find("missing"), std::string::npos);
}

TEST(Abandon, OfBlockStatusLeavesTheExtentsAlone) {
    const std::pair<std::uint32_t, std::uint32_t> extent{512, 3};
    const Outcome outcome =
        exchange(kWithStatus, {{.cookie = 1, .command = Command::block_status, .length = 512}},
                 status_chunk(1, kDone, kContext, {&extent, 1}), Abandon{1, 0});
    EXPECT_EQ(outcome.reason, "");
    EXPECT_TRUE(outcome.extents.at(1).empty());
}

TEST(Abandon, OfAFinishedRequestDoesNothing) {
    ReplyReader reader(kSimple);
    reader.abandon(77);
    EXPECT_FALSE(reader.broken());
    EXPECT_EQ(reader.outstanding(), 0u);
}

TEST(Outstanding, CountsAbandonedRequestsToo) {
    ReplyReader reader(kSimple);
    reader.expect(1, {.command = Command::flush});
    reader.expect(2, {.command = Command::flush});
    reader.abandon(1);
    EXPECT_EQ(reader.outstanding(), 2u);
}

TEST(Targets, OfferTheRestOfALargePayloadInPlace) {
    ReplyReader reader(kSimple);
    GuardedBuffer buffer(1 << 20);
    reader.expect(1, {.command = Command::read, .length = 1 << 20, .buffer = buffer.data()});
    std::vector<ReplyReader::Finished> finished;
    const std::string server = simple_reply(1, 0, pattern(1 << 20));
    std::string_view left = server;
    receive(reader, left, 16 + 100, finished);
    const auto targets = reader.targets();
    EXPECT_EQ(targets.first.data(), buffer.data() + 100);
    EXPECT_EQ(targets.first.size(), (1u << 20) - 100);
    EXPECT_FALSE(targets.second.empty());
    EXPECT_EQ(reader.target().data(), targets.first.data());
    receive(reader, left, left.size(), finished);
    EXPECT_EQ(finished.size(), 1u);
    EXPECT_EQ(buffer.content(), pattern(1 << 20));
}

TEST(Targets, AreEmptyOnceBroken) {
    ReplyReader reader(kSimple);
    std::vector<ReplyReader::Finished> finished;
    const std::string garbage = "garbage";
    std::string_view left = garbage;
    receive(reader, left, left.size(), finished);
    EXPECT_TRUE(reader.broken());
    EXPECT_TRUE(reader.target().empty());
    EXPECT_TRUE(reader.targets().second.empty());
}

TEST(Targets, TakeManySmallRepliesAtOnce) {
    ReplyReader reader(kSimple);
    std::string server;
    for (std::uint64_t cookie = 0; cookie < 1000; ++cookie) {
        reader.expect(cookie, {.command = Command::flush});
        server += simple_reply(cookie, 0);
    }
    std::vector<ReplyReader::Finished> finished;
    std::string_view left = server;
    receive(reader, left, left.size(), finished);
    EXPECT_EQ(finished.size(), 1000u);
}

}  // namespace
}  // namespace signpost::wire::test
