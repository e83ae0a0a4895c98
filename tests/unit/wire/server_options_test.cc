// SPDX-License-Identifier: BSD-3-Clause
//
// The options that choose no export: what is unknown, too long or too many, ABORT, LIST, STARTTLS,
// replies and headers, metadata, tickets, shutdown. Numbers as in server_handshake_test.cc.
#include <gtest/gtest.h>

#include <chrono>

#include "nbd-server/wire/server_handshake.h"
#include "nbd-server/wire/text.h"
#include "tests/unit/wire/server_talk.h"

namespace signpost::wire::test {
namespace {

using Outcome = ServerHandshake::Outcome;
using Contexts = std::vector<ServerHandshake::Context>;

std::string header(std::uint32_t number, std::uint32_t length) {
    return Bytes().text("IHAVEOPT").u32(number).u32(length);
}

TEST(ServerHandshake, P012_UnknownOptionGivesUnsup) {
    for (const std::uint32_t number : {0u, 12u, 1000u, 0xffffffffu}) {
        const auto answers = option_answers(serve(hello() + option(number)).replies());
        ASSERT_EQ(answers.size(), 1u);
        EXPECT_EQ(answers[0].option, number);
        EXPECT_EQ(answers[0].type, kUnsup);
    }
}

TEST(ServerHandshake, P013_ItsPayloadIsSkipped) {
    for (const std::size_t size : {1u, 16u, 65'536u, 65'537u, 200'000u}) {
        const ServerTalk talk = serve(hello() + option(1000, std::string(size, 'I')) + go("disk"));
        EXPECT_EQ(types_of(talk), (Types{kUnsup, kInfo, kAck})) << size;
    }
}

TEST(ServerHandshake, P015_AbortIsAcknowledged) {
    const ServerTalk talk = serve(hello() + option(kAbort) + go("disk"));
    EXPECT_EQ(talk.outcome, Outcome::ended);
    EXPECT_TRUE(talk.aborted);
    EXPECT_EQ(types_of(talk), (Types{kAck}));
}

TEST(ServerHandshake, P016_DataOfAbortIsIgnored) {
    for (const std::size_t size : {1u, 65'536u, 65'537u}) {
        const ServerTalk talk = serve(hello() + option(kAbort, std::string(size, 'x')));
        EXPECT_TRUE(talk.aborted);
        EXPECT_EQ(types_of(talk), (Types{kAck}));
    }
    EXPECT_EQ(types_of(serve(hello() + header(kAbort, 0xffffffff))), (Types{kAck}));
}

TEST(ServerHandshake, P017_ListGivesTheServersThenAck) {
    const ServerTalk talk = serve(hello() + option(kList) + go("disk"));
    const auto answers = option_answers(talk.replies());
    ASSERT_EQ(answers.size(), 5u);
    EXPECT_EQ(answers[0],
              (OptionAnswer{kList, kServerReply, Bytes().u32(4).text("disk").text("a disk")}));
    EXPECT_EQ(answers[1], (OptionAnswer{kList, kServerReply, Bytes().u32(5).text("other")}));
    EXPECT_EQ(answers[2], (OptionAnswer{kList, kAck, ""}));
}

TEST(ServerHandshake, P017_ListMayBeRefused) {
    World world = World::usual();
    world.list_refusal = Refusal{OptionReply::err_policy, "lists are for administrators"};
    const auto answers = option_answers(serve(hello() + option(kList), world).replies());
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0], (OptionAnswer{kList, kPolicy, "lists are for administrators"}));
}

TEST(ServerHandshake, P018_EntriesAreWellFormedWhateverTheCatalogHolds) {
    World world;
    world.list = {{std::string("n\0l", 3), ""},
                  {"\xff", ""},
                  {std::string(4097, 'n'), ""},
                  {std::string(4096, 'n'), std::string(5000, 'd')},
                  {"tab", "a\tb\x80"}};
    const auto answers = option_answers(serve(hello() + option(kList), world).replies());
    ASSERT_EQ(answers.size(), 3u);
    EXPECT_EQ(answers[0].data.size(), 4u + 4096 + 4096);
    EXPECT_EQ(answers[1].data.substr(4), "taba\\x09b\\x80");
    EXPECT_EQ(answers[2].type, kAck);
}

TEST(ServerHandshake, P017_AListOfAnyLengthIsGivenInPages) {
    ServerHandshake server(kPlain);
    std::size_t consumed = 0;
    server.feed(as_span(hello() + option(kList)), consumed);
    std::size_t bytes = server.take_output().size() - 18;
    std::size_t largest = 0;
    const std::vector<ListEntry> page(1000, ListEntry{"a name", ""});
    for (int i = 0; i < 1000; ++i) {
        ASSERT_EQ(server.answer_list(page, false), Outcome::ask);
        const std::size_t size = server.take_output().size();
        bytes += size;
        largest = std::max(largest, size);
    }
    EXPECT_EQ(server.answer_list({}, true), Outcome::pending);
    EXPECT_EQ(bytes, 1'000'000u * 30);
    EXPECT_EQ(largest, 1000u * 30);
    EXPECT_EQ(server.take_output(), option_reply(kList, kAck));
}

TEST(ServerHandshake, P017_ARefusalMayFollowPages) {
    ServerHandshake server(kPlain);
    std::size_t consumed = 0;
    server.feed(as_span(hello() + option(kList)), consumed);
    server.take_output();
    const std::vector<ListEntry> page(1, ListEntry{"a", ""});
    server.answer_list(page, false);
    EXPECT_EQ(server.refuse_list(OptionReply::err_policy, "the catalog is gone"), Outcome::pending);
    const auto answers = option_answers(server.take_output());
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers[1].type, kPolicy);
}

void expect_invalid(std::string_view setup, std::string_view client,
                    ServerHandshake::Settings settings = kPlain) {
    const std::string before = hello() + std::string(setup);
    const Types expected = [&] {
        Types types = types_of(serve(before, World::usual(), settings));
        types.insert(types.end(), {kInvalid, kInfo, kAck});
        return types;
    }();
    const ServerTalk talk =
        serve(before + std::string(client) + go("disk"), World::usual(), settings);
    EXPECT_EQ(types_of(talk), expected);
}

TEST(ServerHandshake, P019_ListWithDataIsInvalid) {
    expect_invalid("", option(kList, "x"));
}

TEST(ServerHandshake, P040_AnOptionOf4GiBCutOffIsRefusedAtOnce) {
    for (const std::uint32_t number : {kGo, kInfoOption, kSetMeta, kList, 1000u}) {
        const ServerTalk talk = serve(hello() + header(number, 0xffffffff) + "a few bytes");
        EXPECT_EQ(talk.outcome, Outcome::ended);
        EXPECT_EQ(talk.consumed, 4u + 16);
        EXPECT_EQ(types_of(talk), (Types{number == 1000 ? kUnsup : kTooBig}));
        EXPECT_NE(talk.reason.find("4294967295"), std::string::npos);
    }
}

TEST(ServerHandshake, DataAtTheLimitIsReadAndAboveItSkipped) {
    const auto with_size = [](std::size_t size) {
        return types_of(serve(hello() + option(kGo, std::string(size, '\0')) + go("disk")));
    };
    EXPECT_EQ(with_size(ServerHandshake::kMaxOptionData), (Types{kInvalid, kInfo, kAck}));
    EXPECT_EQ(with_size(ServerHandshake::kMaxOptionData + 1), (Types{kTooBig, kInfo, kAck}));
    EXPECT_EQ(serve(hello() + header(kGo, ServerHandshake::kMaxSkipped)).outcome, Outcome::pending);
    EXPECT_EQ(serve(hello() + header(kGo, ServerHandshake::kMaxSkipped + 1)).outcome,
              Outcome::ended);
}

TEST(ServerHandshake, P041_StructuredReplyIsAcknowledgedAndSettled) {
    const ServerTalk talk = serve(hello() + option(kStructured) + go("disk"));
    EXPECT_EQ(types_of(talk), (Types{kAck, kInfo, kAck}));
    EXPECT_EQ(talk.settled.style, ReplyStyle::structured);
    EXPECT_EQ(serve(hello() + go("disk")).settled.style, ReplyStyle::simple);
}

TEST(ServerHandshake, P042_StructuredReplyWithDataIsInvalid) {
    expect_invalid("", option(kStructured, "x"));
    EXPECT_EQ(serve(hello() + option(kStructured, "x") + go("disk")).settled.style,
              ReplyStyle::simple);
}

TEST(ServerHandshake, P043_StructuredReplyTwice) {
    const ServerTalk talk = serve(hello() + option(kStructured) + option(kStructured) + go("disk"));
    EXPECT_EQ(types_of(talk), (Types{kAck, kAck, kInfo, kAck}));
}

TEST(ServerHandshake, P044_ExtendedHeadersAreAcknowledgedOrAnError) {
    const ServerTalk talk = serve(hello() + option(kExtended) + go("disk"));
    EXPECT_EQ(types_of(talk), (Types{kAck, kInfo, kAck}));
    EXPECT_EQ(talk.settled.style, ReplyStyle::extended);
    expect_invalid("", option(kExtended, "x"));
    const ServerTalk without = serve(hello() + option(kExtended) + go("disk"), World::usual(),
                                     {.extended_headers = false});
    EXPECT_EQ(types_of(without), (Types{kUnsup, kInfo, kAck}));
}

TEST(ServerHandshake, P044_ExtendedHeadersTakePrecedence) {
    const ServerTalk talk =
        serve(hello() + option(kStructured) + option(kExtended) + option(kStructured) + go("disk"));
    EXPECT_EQ(types_of(talk), (Types{kAck, kAck, kExtHeaderReqd, kInfo, kAck}));
    EXPECT_EQ(talk.settled.style, ReplyStyle::extended);
    EXPECT_EQ(serve(hello() + option(kExtended) + option(kExportName, "disk")).outcome,
              Outcome::ended);
}

TEST(ServerHandshake, P045_PeekExportIsUnsupported) {
    EXPECT_EQ(types_of(serve(hello() + option(kPeekExport, "disk"))), (Types{kUnsup}));
}

TEST(ServerHandshake, P046_WithoutTlsNobodyIsToldToUseIt) {
    World world = World::usual();
    world.exports["secret"] = Refusal{OptionReply::err_tls_reqd, "only inside TLS"};
    const ServerTalk talk = serve(hello() + option(kStarttls) + go("secret") + go("disk"), world);
    EXPECT_EQ(types_of(talk), (Types{kPolicy, kPolicy, kInfo, kAck}));
}

TEST(ServerHandshake, P047_MetadataBeforeStructuredRepliesIsInvalid) {
    expect_invalid("", set_meta("disk", {kBaseAllocation}));
    expect_invalid("", list_meta("disk", {}));
}

// The names that LIST_META_CONTEXT gives for QUERIES, and the final type.
std::vector<std::string> listed(const std::vector<std::string>& queries) {
    std::vector<std::string> names;
    for (const OptionAnswer& answer : option_answers(
             serve(hello() + option(kStructured) + list_meta("disk", queries)).replies())) {
        if (answer.type == kMetaContext) {
            EXPECT_EQ(number_at(answer.data, 0, 4), 0u);
            names.push_back(answer.data.substr(4));
        }
    }
    return names;
}

using Names = std::vector<std::string>;

TEST(ServerHandshake, P048_ListMetaWithoutQueriesListsAll) {
    EXPECT_EQ(listed({}), (Names{kBaseAllocation, kPlacement}));
}

TEST(ServerHandshake, P049_ANamespaceIsAWildcardInList) {
    EXPECT_EQ(listed({"base:"}), (Names{kBaseAllocation}));
    EXPECT_EQ(listed({"x-signpost:"}), (Names{kPlacement}));
    EXPECT_EQ(listed({"x-signpost:", "base:", "base:"}), (Names{kBaseAllocation, kPlacement}));
    EXPECT_EQ(listed({"base:allocation"}), (Names{kBaseAllocation}));
}

// What the server is asked to compare with when the client says OPTION.
std::vector<std::string> compared_with(const std::string& options) {
    ServerHandshake server({});
    std::size_t consumed = 0;
    const std::string bytes = hello() + option(kStructured) + options;
    EXPECT_EQ(server.feed(as_span(bytes), consumed), ServerHandshake::Outcome::ask);
    return server.question().diffs;
}

TEST(ServerHandshake, DisksToCompareWithAreAskedForByName) {
    const Names names{"x-signpost:diff:a", "x-signpost:diff:b"};
    EXPECT_EQ(compared_with(set_meta("disk", {names[0], kBaseAllocation, names[1], names[0]})),
              names);
    EXPECT_EQ(compared_with(list_meta("disk", {"x-signpost:diff:", "x-signpost:"})), Names{});
    EXPECT_EQ(compared_with(set_meta("disk", {std::string("x-signpost:diff:a\0b", 19)})), Names{});
    EXPECT_EQ(compared_with(
                  set_meta("disk", {"x-signpost:diff:1", "x-signpost:diff:2", "x-signpost:diff:3",
                                    "x-signpost:diff:4", "x-signpost:diff:5"}))
                  .size(),
              ServerHandshake::kMaxDiffs);
}

Contexts selected(const std::string& options) {
    return serve(hello() + option(kStructured) + options + go("disk")).settled.contexts;
}

TEST(ServerHandshake, P050_EachContextIsSelectedOnceWithAnIdOfItsOwn) {
    const ServerTalk talk =
        serve(hello() + option(kStructured) +
              set_meta("disk", {kBaseAllocation, kPlacement, kBaseAllocation}) + go("disk"));
    EXPECT_EQ(types_of(talk), (Types{kAck, kMetaContext, kMetaContext, kAck, kInfo, kAck}));
    ASSERT_EQ(talk.settled.contexts.size(), 2u);
    EXPECT_EQ(talk.settled.contexts[0].name, kBaseAllocation);
    EXPECT_EQ(talk.settled.contexts[1].name, kPlacement);
    EXPECT_NE(talk.settled.contexts[0].id, talk.settled.contexts[1].id);
    const auto answers = option_answers(talk.replies());
    EXPECT_EQ(answers[1].data,
              Bytes().u32(talk.settled.contexts[0].id).text(kBaseAllocation).str());
}

TEST(ServerHandshake, P050_IdsAreNotUsedTwiceInAConnection) {
    const auto answers =
        option_answers(serve(hello() + option(kStructured) + set_meta("disk", {kBaseAllocation}) +
                             set_meta("disk", {kPlacement}))
                           .replies());
    ASSERT_EQ(answers.size(), 5u);
    EXPECT_NE(answers[1].data.substr(0, 4), answers[3].data.substr(0, 4));
}

TEST(ServerHandshake, P051_UnknownNamespacesAndLeavesAreIgnored) {
    EXPECT_EQ(selected(set_meta("disk", {"qemu:dirty-bitmap:x", "base:nothing", "nonsense", "",
                                         "\xff", std::string(5000, 'q')})),
              Contexts{});
    EXPECT_EQ(listed({"qemu:", "base:allocation:", "base", ":", ""}), Names{});
}

TEST(ServerHandshake, P052_ANamespaceSelectsNothingInSet) {
    const ServerTalk talk =
        serve(hello() + option(kStructured) + set_meta("disk", {"base:", "x-signpost:"}));
    EXPECT_EQ(types_of(talk), (Types{kAck, kAck}));
}

TEST(ServerHandshake, P053_NoQueriesSelectNothing) {
    EXPECT_EQ(selected(set_meta("disk", {})), Contexts{});
    EXPECT_EQ(selected(set_meta("disk", {kBaseAllocation}) + set_meta("disk", {})), Contexts{});
}

TEST(ServerHandshake, P054_AQueryLongerThanTheDataIsInvalid) {
    for (const std::uint32_t length : {16u, 0x7fffffffu, 0xffffffffu}) {
        const std::string data =
            Bytes().u32(4).text("disk").u32(1).u32(length).text("base:allocation");
        expect_invalid(option(kStructured), option(kSetMeta, data));
        expect_invalid(option(kStructured), option(kListMeta, data));
    }
}

TEST(ServerHandshake, P055_DataBehindTheQueriesIsInvalid) {
    for (const std::uint32_t number : {kSetMeta, kListMeta}) {
        expect_invalid(option(kStructured), option(number, meta_data("disk", {"base:"}) + "x"));
        expect_invalid(option(kStructured), option(number, meta_data("disk", {}) + "1234"));
    }
}

TEST(ServerHandshake, P056_AnAbsurdCountIsBoundedInTime) {
    expect_invalid(option(kStructured),
                   option(kSetMeta, Bytes().u32(4).text("disk").u32(0xffffffff).str()));
    const std::vector<std::string> many((65'536 - 12) / 4, "");
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(selected(set_meta("disk", many)), Contexts{});
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(ServerHandshake, P057_MetadataOfAnUnknownExportIsRefused) {
    const ServerTalk talk = serve(hello() + option(kStructured) + list_meta("no", {}) +
                                  set_meta("no", {kBaseAllocation}));
    EXPECT_EQ(types_of(talk), (Types{kAck, kUnknown, kUnknown}));
}

TEST(ServerHandshake, P058_ALaterSetReplacesAnEarlierAlsoWhenItFails) {
    const std::string good = set_meta("disk", {kBaseAllocation});
    EXPECT_EQ(selected(good).size(), 1u);
    EXPECT_EQ(selected(good + set_meta("no", {kBaseAllocation})), Contexts{});
    EXPECT_EQ(selected(good + option(kSetMeta, "x")), Contexts{});
    EXPECT_EQ(selected(good + option(kSetMeta, std::string(70'000, 'x'))), Contexts{});
    const Contexts second = selected(good + set_meta("disk", {kPlacement}));
    ASSERT_EQ(second.size(), 1u);
    EXPECT_EQ(second[0].name, kPlacement);
}

TEST(ServerHandshake, ContextsCountOnlyForTheExportThatGoNames) {
    World world = World::usual();
    world.exports["other"] = world.exports["disk"];
    const std::string client = hello() + option(kStructured) + set_meta("disk", {kBaseAllocation});
    EXPECT_EQ(serve(client + go("other"), world).settled.contexts, Contexts{});
    EXPECT_EQ(serve(client + go("disk"), world).settled.contexts.size(), 1u);
    EXPECT_EQ(serve(client + option(kExportName, "disk"), world).settled.contexts.size(), 1u);
    EXPECT_EQ(serve(client + list_meta("other", {}) + go("disk"), world).settled.contexts.size(),
              1u);
}

TEST(ServerHandshake, P059_AFloodOfOptionsEndsTheSession) {
    std::string client = hello();
    for (std::uint32_t i = 0; i < ServerHandshake::kMaxOptions - 1; ++i) {
        client += option(1000);
    }
    EXPECT_EQ(serve(client + go("disk")).outcome, Outcome::transmission);
    const ServerTalk talk = serve(client + option(1000) + go("disk"));
    EXPECT_EQ(talk.outcome, Outcome::ended);
    EXPECT_EQ(talk.reason, "more than 64 options");
    EXPECT_EQ(types_of(talk).size(), 64u);
}

TEST(ServerHandshake, P060_GluedOptionsAreAnsweredInOrder) {
    const ServerTalk talk =
        serve(hello() + option(1000) + option(kStructured) + go("no") + option(kList) +
              option(kInfoOption, info_data("disk")) + go("disk"));
    EXPECT_EQ(types_of(talk), (Types{kUnsup, kAck, kUnknown, kServerReply, kServerReply, kAck,
                                     kInfo, kAck, kInfo, kAck}));
}

const std::string kUnlock = hello() + option(kStarttls);

TEST(ServerHandshake, P063_StarttlsForgetsEarlierState) {
    const ServerTalk talk = serve(
        hello() + option(kTicket, "good") + option(kStructured) +
            set_meta("disk", {kBaseAllocation}) + option(kStarttls),
        World::usual(), {.tls = ServerHandshake::Tls::available, .tickets = true}, go("disk"));
    EXPECT_EQ(talk.outcome, Outcome::transmission);
    EXPECT_EQ(talk.settled.style, ReplyStyle::simple);
    EXPECT_EQ(talk.settled.contexts, Contexts{});
    EXPECT_EQ(talk.settled.flags & kFlagSendDf, 0);
    EXPECT_EQ(talk.ticket, "");
}

TEST(ServerHandshake, P063_ExtendedHeadersAreForgottenToo) {
    const ServerTalk talk = serve(hello() + option(kExtended) + option(kStarttls), World::usual(),
                                  kHasTls, option(kStructured) + go("disk"));
    EXPECT_EQ(talk.settled.style, ReplyStyle::structured);
}

TEST(ServerHandshake, P063_PlaintextBehindStarttlsEndsTheSession) {
    for (const std::size_t piece : {1u, 1000u}) {
        ServerHandshake server(kHasTls);
        const ServerTalk talk =
            serve_in_pieces(server, World::usual(), kUnlock + option(kStructured), {}, piece);
        EXPECT_EQ(talk.outcome, Outcome::ended);
        EXPECT_EQ(talk.reason, "the client sent plaintext behind STARTTLS");
    }
}

TEST(ServerHandshake, P064_OptionsDuringShutdownGetErrShutdown) {
    ServerHandshake server(kHasTls);
    server.shutting_down();
    const ServerTalk talk = serve_in_pieces(
        server, World::usual(),
        hello() + go("disk") + option(kList) + option(kStarttls) + option(1000) + option(kAbort),
        {}, 1000);
    EXPECT_EQ(types_of(talk), (Types{kShutdown, kShutdown, kShutdown, kShutdown, kAck}));
    EXPECT_TRUE(talk.aborted);
    EXPECT_TRUE(talk.asked.empty());
}

TEST(ServerHandshake, P064_StarttlsIsRefusedDuringShutdownAlsoWhereTlsIsRequired) {
    ServerHandshake server(kForcesTls);
    server.shutting_down();
    const ServerTalk talk =
        serve_in_pieces(server, World::usual(), kUnlock + go("disk") + option(kAbort), {}, 1000);
    EXPECT_EQ(types_of(talk), (Types{kShutdown, kTlsReqd, kAck}));
}

TEST(ServerHandshake, P064_ExportNameDuringShutdownEndsTheSession) {
    ServerHandshake server(kPlain);
    server.shutting_down();
    const ServerTalk talk =
        serve_in_pieces(server, World::usual(), hello() + option(kExportName, "disk"), {}, 1000);
    EXPECT_EQ(talk.outcome, Outcome::ended);
    EXPECT_EQ(talk.replies(), "");
}

TEST(ServerHandshake, P064_TheOptionInQuestionIsRefusedAtShutdown) {
    ServerHandshake server(kPlain);
    std::size_t consumed = 0;
    EXPECT_EQ(server.feed(as_span(hello() + go("disk")), consumed), Outcome::ask);
    server.take_output();
    server.shutting_down();
    EXPECT_EQ(server.outcome(), Outcome::pending);
    EXPECT_EQ(server.answer_export(ExportFacts{.size = 1}), Outcome::pending);
    const auto answers = option_answers(server.take_output());
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0].type, kShutdown);
}

TEST(ServerHandshake, P119_BeforeRequiredTlsNothingIsServed) {
    const ServerTalk talk =
        serve(hello() + go("disk") + option(kList) + option(kStructured) + option(1000, "data") +
                  option(kGo, std::string(100'000, 'x')) + option(kListMeta, "nonsense") +
                  option(kTicket, "good") + option(kAbort),
              World::usual(), kForcesTls);
    EXPECT_EQ(types_of(talk),
              (Types{kTlsReqd, kTlsReqd, kTlsReqd, kTlsReqd, kTlsReqd, kTlsReqd, kTlsReqd, kAck}));
    EXPECT_TRUE(talk.asked.empty()) << "the catalog was asked for a stranger";
}

TEST(ServerHandshake, P119_StarttlsOpensTheDoor) {
    const ServerTalk talk =
        serve(kUnlock, World::usual(), kForcesTls, option(kStructured) + go("disk"));
    EXPECT_EQ(types_of(talk), (Types{kAck, kAck, kInfo, kAck}));
    EXPECT_EQ(talk.outcome, Outcome::transmission);
}

TEST(ServerHandshake, P120_ExportNameBeforeRequiredTlsEndsTheSession) {
    const ServerTalk talk =
        serve(hello() + option(kExportName, "disk"), World::usual(), kForcesTls);
    EXPECT_EQ(talk.outcome, Outcome::ended);
    EXPECT_EQ(talk.replies(), "");
    EXPECT_TRUE(talk.asked.empty());
}

TEST(ServerHandshake, P121_ASecondStarttlsIsInvalid) {
    const ServerTalk talk = serve(kUnlock, World::usual(), kHasTls, option(kStarttls) + go("disk"));
    EXPECT_EQ(types_of(talk), (Types{kAck, kInvalid, kInfo, kAck}));
    expect_invalid("", option(kStarttls, "x"), kHasTls);
}

TEST(ServerHandshake, P122_NoTlsReqdOnceTlsIsUp) {
    World world = World::usual();
    world.exports["secret"] = Refusal{OptionReply::err_tls_reqd, "a slip"};
    for (const auto& settings : {kHasTls, kForcesTls}) {
        const ServerTalk talk = serve(kUnlock, world, settings, go("secret") + go("disk"));
        EXPECT_EQ(types_of(talk), (Types{kAck, kPolicy, kInfo, kAck}));
    }
}

TEST(ServerHandshake, WhereTlsIsAvailableOneDiskMayDemandIt) {
    World world = World::usual();
    world.exports["secret"] = Refusal{OptionReply::err_tls_reqd, "only inside TLS"};
    const ServerTalk talk =
        serve(hello() + option(kStructured) + go("secret") +
                  option(kInfoOption, info_data("secret")) + list_meta("secret", {}) + go("disk"),
              world, kHasTls);
    EXPECT_EQ(types_of(talk), (Types{kAck, kTlsReqd, kTlsReqd, kPolicy, kInfo, kAck}));
}

TEST(ServerHandshake, ATicketIsAcceptedAndInForce) {
    const ServerTalk talk =
        serve(hello() + option(kTicket, "good") + go("disk"), World::usual(), kTakesTickets);
    EXPECT_EQ(types_of(talk), (Types{kAck, kInfo, kAck}));
    EXPECT_EQ(talk.ticket, "good");
    EXPECT_EQ(talk.asked, (std::vector<std::string>{"good", "disk"}));
}

TEST(ServerHandshake, ARefusedTicketLeavesNoneInForce) {
    const ServerTalk talk = serve(hello() + option(kTicket, "good") + option(kTicket, "bad"),
                                  World::usual(), kTakesTickets);
    const auto answers = option_answers(talk.replies());
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers[1], (OptionAnswer{kTicket, kPolicy, "the ticket is no good"}));
    EXPECT_EQ(talk.ticket, "");
}

TEST(ServerHandshake, ATicketMustBeATextOfAtMost4096Bytes) {
    for (const std::string& bad :
         {std::string(), std::string(4097, 't'), std::string("\0", 1), std::string("\xff")}) {
        expect_invalid("", option(kTicket, bad), kTakesTickets);
    }
    World world = World::usual();
    world.tickets[std::string(4096, 't')] = true;
    EXPECT_EQ(
        types_of(serve(hello() + option(kTicket, std::string(4096, 't')), world, kTakesTickets)),
        (Types{kAck}));
}

TEST(ServerHandshake, WithoutTicketsTheOptionIsUnknown) {
    EXPECT_EQ(types_of(serve(hello() + option(kTicket, "good"))), (Types{kUnsup}));
}

}  // namespace
}  // namespace signpost::wire::test
