// SPDX-License-Identifier: BSD-3-Clause
//
// The server's greeting, and the options that choose an export. The number in a test's name is a
// point of the protocol checklist that the project keeps.
#include "nbd-server/wire/server_handshake.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/server_talk.h"

namespace signpost::wire::test {
namespace {

using Outcome = ServerHandshake::Outcome;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

World world_with(const ExportFacts& facts) {
    World world;
    world.exports["disk"] = facts;
    return world;
}

TEST(ServerHandshake, P001_GreetsWithoutWaiting) {
    ServerHandshake server(kPlain);
    EXPECT_EQ(server.outcome(), Outcome::pending);
    EXPECT_EQ(server.take_output(), greeting(3));
    EXPECT_EQ(server.take_output(), "");
}

TEST(ServerHandshake, P002_P003_TheGreetingHasFixedNewstyleAndNoUnknownFlag) {
    const std::string sent = ServerHandshake(kPlain).take_output();
    ASSERT_EQ(sent.size(), 18u);
    EXPECT_EQ(number_at(sent, 16, 2), 3u);
}

TEST(ServerHandshake, P004_DropsAClientWithAnUnknownFlag) {
    for (const std::uint32_t flags : {4u, 7u, 0x80000003u, 0x00010000u}) {
        const ServerTalk talk = serve(hello(flags) + go("disk"));
        EXPECT_EQ(talk.outcome, Outcome::ended);
        EXPECT_EQ(talk.replies(), "");
        EXPECT_EQ(talk.consumed, 4u);
    }
}

TEST(ServerHandshake, P005_ABadMagicIsNeverTakenForAnOption) {
    std::string client = go("disk");
    client[3] ^= 1;
    const ServerTalk talk = serve(hello() + client + go("disk"));
    EXPECT_EQ(talk.outcome, Outcome::ended);
    EXPECT_EQ(talk.replies(), "");
    EXPECT_NE(talk.reason.find("magic"), std::string::npos);
}

TEST(ServerHandshake, P006_WithNoZeroesTheAnswerToExportNameHas10Bytes) {
    const ServerTalk talk = serve(hello(3) + option(kExportName, "disk"));
    ASSERT_EQ(talk.outcome, Outcome::transmission);
    EXPECT_EQ(talk.replies(), Bytes().u64(kGiB).u16(0x0d6d).str());
}

TEST(ServerHandshake, P007_OtherwiseItHas134WithZeroes) {
    const ServerTalk talk = serve(hello(1) + option(kExportName, "disk"));
    ASSERT_EQ(talk.outcome, Outcome::transmission);
    EXPECT_EQ(talk.replies(), Bytes().u64(kGiB).u16(0x0d6d).fill(124, '\0').str());
}

TEST(ServerHandshake, P008_ClientFlags0AndExportNameWork) {
    const ServerTalk talk = serve(hello(0) + option(kExportName, "disk"));
    EXPECT_EQ(talk.outcome, Outcome::transmission);
    EXPECT_EQ(talk.replies().size(), 134u);
    EXPECT_EQ(talk.settled.style, ReplyStyle::simple);
}

const std::string kEverything =
    hello() + option(99, "what is this") + option(kList) + option(kStructured) +
    list_meta("disk", {}) + set_meta("disk", {"base:allocation"}) +
    option(kInfoOption, info_data("disk", {0, 1, 2, 3})) + option(kInfoOption, info_data("no")) +
    go("nor this", {3}) + go("disk", {3, 2, 1});

TEST(ServerHandshake, P009_AClientThatSendsByteByByteIsServedAlike) {
    const ServerTalk talk = serve(kEverything);  // compares with pieces of 1, 7 and 1000 bytes
    EXPECT_EQ(talk.outcome, Outcome::transmission);
    EXPECT_EQ(talk.consumed, kEverything.size());
}

TEST(ServerHandshake, P010_AClientMayLeaveAtAnyByte) {
    const World world = World::usual();
    for (std::size_t n = 0; n < kEverything.size(); ++n) {
        ServerHandshake server(kPlain);
        const ServerTalk talk = serve_in_pieces(server, world, kEverything.substr(0, n), {}, n + 1);
        ASSERT_EQ(talk.outcome, Outcome::pending) << "after " << n << " bytes";
        ASSERT_EQ(talk.consumed, n);
    }
}

TEST(ServerHandshake, LeavesTheBytesBehindGoToTheTransmission) {
    const std::string client = hello() + go("disk");
    const ServerTalk talk = serve(client + "a first request");
    EXPECT_EQ(talk.outcome, Outcome::transmission);
    EXPECT_EQ(talk.consumed, client.size());
}

TEST(ServerHandshake, P014_RepliesEchoMagicAndOption) {
    const ServerTalk talk = serve(hello() + option(kStructured) + option(0xdeadbeef));
    const auto answers = option_answers(talk.replies());  // checks the magic
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers[0], (OptionAnswer{kStructured, kAck, ""}));
    EXPECT_EQ(answers[1].option, 0xdeadbeefu);
}

TEST(ServerHandshake, P020_InfoGives12BytesOfExportThenAck) {
    const ServerTalk talk = serve(hello() + option(kInfoOption, info_data("disk")));
    EXPECT_EQ(talk.outcome, Outcome::pending);
    const auto answers = option_answers(talk.replies());
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers[0], (OptionAnswer{kInfoOption, kInfo, Bytes().u16(0).u64(kGiB).u16(0x0d6d)}));
    EXPECT_EQ(answers[1], (OptionAnswer{kInfoOption, kAck, ""}));
}

TEST(ServerHandshake, P021_AnUnknownExportGivesErrUnknownAlone) {
    const ServerTalk talk = serve(hello() + option(kInfoOption, info_data("no", {0, 1, 2, 3})));
    const auto answers = option_answers(talk.replies());
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0], (OptionAnswer{kInfoOption, kUnknown, "no disk of that name"}));
}

TEST(ServerHandshake, P022_AFailedGoKeepsHaggling) {
    const ServerTalk talk = serve(hello() + go("no") + go("neither") + go("disk"));
    EXPECT_EQ(talk.outcome, Outcome::transmission);
    EXPECT_EQ(types_of(talk), (Types{kUnknown, kUnknown, kInfo, kAck}));
    EXPECT_EQ(talk.settled.name, "disk");
}

TEST(ServerHandshake, P023_GoIsNeverPaddedWithZeroes) {
    for (const std::uint32_t flags : {0u, 1u, 3u}) {
        const ServerTalk talk = serve(hello(flags) + go("disk"));
        EXPECT_EQ(talk.outcome, Outcome::transmission);
        EXPECT_EQ(talk.replies().size(), 20u + 12 + 20);
    }
}

TEST(ServerHandshake, P024_InfoThenGoSayTheSame) {
    const std::string setup = hello() + option(kStructured) + set_meta("disk", {kBaseAllocation});
    const std::string data = info_data("disk", {0, 1, 2, 3});
    auto answers =
        option_answers(serve(setup + option(kInfoOption, data) + option(kGo, data)).replies());
    ASSERT_EQ(answers.size(), 3u + 5 + 5);
    for (std::size_t i = 3; i < 8; ++i) {
        EXPECT_EQ(answers[i].type, answers[i + 5].type);
        EXPECT_EQ(answers[i].data, answers[i + 5].data);
    }
}

TEST(ServerHandshake, P025_UnknownInfoRequestsAreIgnored) {
    const ServerTalk talk = serve(hello() + go("disk", {0xffff, 4, 1000}));
    EXPECT_EQ(talk.outcome, Outcome::transmission);
    EXPECT_EQ(types_of(talk), (Types{kInfo, kAck}));
}

std::string block_sizes_of(const ExportFacts& facts) {
    const auto answers =
        option_answers(serve(hello() + go("disk", {3}), world_with(facts)).replies());
    return answers.size() == 3 ? answers[1].data : "no block size";
}

TEST(ServerHandshake, P026_BlockSizesAreSaneWhateverTheDiskSays) {
    EXPECT_EQ(block_sizes_of({.size = kGiB}), Bytes().u16(3).u32(1).u32(4096).u32(1 << 25).str());
    EXPECT_EQ(block_sizes_of(
                  {.size = kGiB, .minimum_block = 0, .preferred_block = 0, .maximum_payload = 0}),
              Bytes().u16(3).u32(1).u32(512).u32(512).str());
    EXPECT_EQ(block_sizes_of({.size = kGiB,
                              .minimum_block = 0xffffffff,
                              .preferred_block = 5000,
                              .maximum_payload = 0xffffffff}),
              Bytes().u16(3).u32(65536).u32(65536).u32(1 << 26).str());
    EXPECT_EQ(block_sizes_of({.size = kGiB, .preferred_block = 0xffffffff}),
              Bytes().u16(3).u32(1).u32(1 << 26).u32(1 << 26).str());
}

TEST(ServerHandshake, P027_TheSizeIsAMultipleOfTheMinimumBlock) {
    const ServerTalk talk =
        serve(hello() + go("disk", {3}), world_with({.size = kGiB + 513, .minimum_block = 512}));
    EXPECT_EQ(talk.settled.size, kGiB + 512);
    EXPECT_GE(talk.settled.maximum_payload, 1u << 20);
    EXPECT_EQ(number_at(option_answers(talk.replies())[0].data, 2, 8), kGiB + 512);
}

TEST(ServerHandshake, P028_DemandsNoBlockSizeRequestUnlessTold) {
    EXPECT_EQ(types_of(serve(hello() + go("disk"))), (Types{kInfo, kAck}));
    const World strict =
        world_with({.size = kGiB, .minimum_block = 512, .demand_block_size = true});
    const ServerTalk refused = serve(hello() + go("disk"), strict);
    EXPECT_EQ(refused.outcome, Outcome::pending);
    const auto answers = option_answers(refused.replies());
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(number_at(answers[0].data, 0, 2), 3u);
    EXPECT_EQ(answers[1].type, kBlockSizeReqd);
    EXPECT_EQ(serve(hello() + go("disk", {3}), strict).outcome, Outcome::transmission);
    EXPECT_EQ(serve(hello() + option(kExportName, "disk"), strict).outcome, Outcome::ended);
}

TEST(ServerHandshake, UnusualBlockSizesAreToldUnasked) {
    const ServerTalk talk =
        serve(hello() + go("disk"), world_with({.size = kGiB, .minimum_block = 4096}));
    EXPECT_EQ(types_of(talk), (Types{kInfo, kInfo, kAck}));
    EXPECT_FALSE(talk.settled.knows_block_size);
}

TEST(ServerHandshake, P029_NameAndDescriptionAreValidStrings) {
    const auto answers = option_answers(serve(hello() + go("disk", {1, 2})).replies());
    ASSERT_EQ(answers.size(), 4u);
    EXPECT_EQ(answers[1].data, Bytes().u16(1).text("web01/disk").str());
    EXPECT_EQ(answers[2].data, Bytes().u16(2).text("1 GiB raw on beta").str());
}

TEST(ServerHandshake, P029_WordsOfTheCatalogAreEscapedAndCut) {
    const World world = world_with({.size = 1,
                                    .name = std::string("\xff", 1),
                                    .description = "a\x1b[2J\xff" + std::string(5000, 'x')});
    const auto answers = option_answers(serve(hello() + go("disk", {1, 2}), world).replies());
    ASSERT_EQ(answers.size(), 4u);
    EXPECT_EQ(answers[1].data.substr(2), "disk");
    EXPECT_EQ(answers[2].data.substr(2, 15), "a\\x1b[2J\\xffxxx");
    EXPECT_EQ(answers[2].data.size(), 2u + 4096);
    EXPECT_TRUE(answers[2].data.ends_with("x..."));
}

void expect_invalid(std::uint32_t number, std::string_view data) {
    const ServerTalk talk =
        serve(hello() + option(kStructured) + option(number, data) + go("disk"));
    EXPECT_EQ(types_of(talk), (Types{kAck, kInvalid, kInfo, kAck}));
    EXPECT_EQ(talk.outcome, Outcome::transmission);  // and the stream is in step
    EXPECT_EQ(talk.asked, std::vector<std::string>{"disk"});
}

TEST(ServerHandshake, P030_ANameLongerThanTheData) {
    for (const std::uint32_t number : {kInfoOption, kGo}) {
        expect_invalid(number, Bytes().u32(5).text("disk").u16(0).str());
        expect_invalid(number, Bytes().u32(6).text("disk").u16(0).str());
        expect_invalid(number, Bytes().u32(7).text("disk").u16(0).str());
    }
}

TEST(ServerHandshake, P031_ANameOf4GiB) {
    for (const std::uint32_t number : {kInfoOption, kGo, kListMeta, kSetMeta}) {
        expect_invalid(number, Bytes().u32(0xffffffff).text("disk").u16(0).str());
        expect_invalid(number, Bytes().u32(0xfffffffe).text("disk").u32(0).str());
    }
}

TEST(ServerHandshake, P032_MoreInfosThanDataAndShortOptions) {
    for (const std::uint32_t number : {kInfoOption, kGo}) {
        expect_invalid(number, Bytes().u32(4).text("disk").u16(1).str());
        expect_invalid(number, Bytes().u32(4).text("disk").u16(0xffff).u16(0).str());
        for (const std::size_t length : {0u, 1u, 3u, 4u, 5u}) {
            expect_invalid(number, std::string(length, '\0'));
        }
    }
}

TEST(ServerHandshake, P033_TrailingGarbage) {
    for (const std::uint32_t number : {kInfoOption, kGo}) {
        expect_invalid(number, info_data("disk") + "x");
        expect_invalid(number, info_data("disk", {3}) + "more");
    }
}

TEST(ServerHandshake, P034_ANameOf4096BytesIsAskedAndTheErrorFits) {
    const std::string name(4096, 'n');
    World world = World::usual();
    world.exports[name] = Refusal{OptionReply::err_unknown, std::string(10'000, 'w')};
    const ServerTalk talk = serve(hello() + go(name), world);
    EXPECT_EQ(talk.asked, std::vector<std::string>{name});
    const auto answers = option_answers(talk.replies());
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0].type, kUnknown);
    EXPECT_EQ(answers[0].data.size(), 4096u);
    EXPECT_EQ(answers[0].data.find(name.substr(0, 20)), std::string::npos);
}

TEST(ServerHandshake, P035_ANameOf4097BytesIsInvalid) {
    for (const std::uint32_t number : {kInfoOption, kGo}) {
        expect_invalid(number, info_data(std::string(4097, 'n')));
    }
    expect_invalid(kSetMeta, meta_data(std::string(4097, 'n'), {}));
}

TEST(ServerHandshake, P036_NulAndInvalidUtf8AreInvalid) {
    for (const std::string& name :
         {std::string("di\0k", 4), std::string("\xff"), std::string("\xc0\x80"),
          std::string("disk\xe2\x82"), std::string("\xed\xa0\x80")}) {
        expect_invalid(kGo, info_data(name));
        expect_invalid(kInfoOption, info_data(name));
        expect_invalid(kListMeta, meta_data(name, {}));
    }
}

TEST(ServerHandshake, P037_AnUnknownExportNameEndsTheSessionSilently) {
    const ServerTalk talk = serve(hello() + option(kExportName, "no"));
    EXPECT_EQ(talk.outcome, Outcome::ended);
    EXPECT_EQ(talk.replies(), "");
    EXPECT_EQ(talk.reason, "EXPORT_NAME refused: no disk of that name");
    EXPECT_FALSE(talk.aborted);
}

TEST(ServerHandshake, P038_ALongExportName) {
    World world;
    world.exports[std::string(4096, 'n')] = ExportFacts{.size = 1};
    EXPECT_EQ(serve(hello() + option(kExportName, std::string(4096, 'n')), world).outcome,
              Outcome::transmission);
    const ServerTalk talk = serve(hello() + option(kExportName, std::string(4097, 'n')), world);
    EXPECT_EQ(talk.outcome, Outcome::ended);
    EXPECT_EQ(talk.replies(), "");
}

TEST(ServerHandshake, P039_AnExportNameOf4GiBEndsAtItsHeader) {
    const std::string client =
        hello() + Bytes().text("IHAVEOPT").u32(kExportName).u32(0xffffffff).str();
    const ServerTalk talk = serve(client + "disk");
    EXPECT_EQ(talk.outcome, Outcome::ended);
    EXPECT_EQ(talk.consumed, client.size());
}

TEST(ServerHandshake, P036_AMalformedExportNameEndsTheSession) {
    const ServerTalk talk = serve(hello() + option(kExportName, "\x1b[2J\xff"));
    EXPECT_EQ(talk.outcome, Outcome::ended);
    EXPECT_TRUE(talk.asked.empty());
}

TEST(ServerHandshake, P061_TheEmptyNameIsTheSessionsToJudge) {
    World world = World::usual();
    EXPECT_EQ(types_of(serve(hello() + go(""), world)), (Types{kUnknown}));
    world.exports[""] = ExportFacts{.size = 512};
    for (const std::string& client : {go(""), option(kExportName)}) {
        const ServerTalk talk = serve(hello() + client, world);
        EXPECT_EQ(talk.outcome, Outcome::transmission);
        EXPECT_EQ(talk.settled.size, 512u);
    }
}

TEST(ServerHandshake, P062_NamesLikePathsAreAskedAsTheyAreAndNotServed) {
    for (const std::string name : {"../../etc/passwd", "/dev/zero", "./disk", "a//b", "disk/"}) {
        const ServerTalk talk = serve(hello() + go(name));
        EXPECT_EQ(talk.asked, std::vector<std::string>{name});
        EXPECT_EQ(types_of(talk), (Types{kUnknown}));
    }
}

std::uint64_t flags_for(std::string_view setup, std::uint16_t disk) {
    World world = world_with({.size = kGiB, .flags = disk, .contexts = {kBaseAllocation}});
    return serve(hello() + std::string(setup) + go("disk"), world).settled.flags;
}

TEST(ServerHandshake, P065_HasFlagsIsAlwaysSet) {
    EXPECT_EQ(flags_for("", 0), 1u);
    EXPECT_EQ(flags_for("", 4), 5u);
}

TEST(ServerHandshake, P066_DfOnlyWithStructuredReplies) {
    EXPECT_EQ(flags_for("", kFlagSendDf), 1u);
    EXPECT_EQ(flags_for(option(kStructured), kFlagSendDf), 1u | kFlagSendDf);
    EXPECT_EQ(flags_for(option(kExtended), kFlagSendDf), 1u | kFlagSendDf);
    EXPECT_EQ(flags_for(option(kStructured), 0), 1u);
}

TEST(ServerHandshake, P067_FastZeroImpliesWriteZeroes) {
    EXPECT_EQ(flags_for("", kFlagSendFastZero), 1u);
    EXPECT_EQ(flags_for("", kFlagSendFastZero | kFlagSendWriteZeroes),
              1u | kFlagSendFastZero | kFlagSendWriteZeroes);
    EXPECT_EQ(flags_for("", kFlagReadOnly | kFlagSendFastZero | kFlagSendWriteZeroes |
                                kFlagSendTrim | kFlagSendFlush),
              1u | kFlagReadOnly | kFlagSendFlush);
}

TEST(ServerHandshake, BlockStatusPayloadOnlyWithExtendedHeadersAndAContext) {
    const std::string select = set_meta("disk", {kBaseAllocation});
    EXPECT_EQ(flags_for(option(kExtended), kFlagBlockStatusPayload), 1u);
    EXPECT_EQ(flags_for(option(kStructured) + select, kFlagBlockStatusPayload), 1u);
    EXPECT_EQ(flags_for(option(kExtended) + select, kFlagBlockStatusPayload),
              1u | kFlagBlockStatusPayload);
}

TEST(ServerHandshake, UnknownTransmissionFlagsAreNotPassedOn) {
    EXPECT_EQ(flags_for("", 0xe200), 1u);
}

TEST(ServerHandshake, ADiskOf2To63BytesIsRefused) {
    const World world = world_with({.size = std::uint64_t{1} << 63});
    EXPECT_EQ(types_of(serve(hello() + go("disk"), world)), (Types{kPlatform}));
    EXPECT_EQ(serve(hello() + option(kExportName, "disk"), world).outcome, Outcome::ended);
    const World largest = world_with({.size = (std::uint64_t{1} << 63) - 1});
    EXPECT_EQ(serve(hello() + go("disk"), largest).outcome, Outcome::transmission);
}

TEST(ServerHandshake, RefusalsCarryTheSessionsSentence) {
    World world;
    world.exports["disk"] = Refusal{OptionReply::err_policy,
                                    "disk web01/vda is on beta, which has not answered for 42 s"};
    const auto answers = option_answers(serve(hello() + go("disk"), world).replies());
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(
        answers[0],
        (OptionAnswer{kGo, kPolicy, "disk web01/vda is on beta, which has not answered for 42 s"}));
}

TEST(ServerHandshake, ARefusalWithoutAnErrorCodeIsARefusal) {
    World world;
    world.exports["disk"] = Refusal{OptionReply::ack, "a slip"};
    EXPECT_EQ(types_of(serve(hello() + go("disk"), world)), (Types{kPolicy}));
}

TEST(ServerHandshake, AnswersToNoQuestionDoNothing) {
    ServerHandshake server(kPlain);
    server.take_output();
    EXPECT_EQ(server.answer_export(ExportFacts{}), Outcome::pending);
    EXPECT_EQ(server.answer_list({}, true), Outcome::pending);
    EXPECT_EQ(server.refuse_list(OptionReply::err_policy, ""), Outcome::pending);
    EXPECT_EQ(server.accept_ticket(), Outcome::pending);
    EXPECT_EQ(server.refuse_ticket(""), Outcome::pending);
    EXPECT_EQ(server.take_output(), "");
}

}  // namespace
}  // namespace signpost::wire::test
