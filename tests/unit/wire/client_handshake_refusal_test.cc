// SPDX-License-Identifier: BSD-3-Clause
//
// TLS, refusals, and servers that break the protocol.
#include <gtest/gtest.h>

#include "nbd-server/wire/client_handshake.h"
#include "tests/unit/wire/talk.h"

namespace signpost::wire::test {
namespace {

using Outcome = ClientHandshake::Outcome;

const std::string kFlagsSent = Bytes().u32(3);

std::string good_options() {
    return option_reply(kStructured, kAck) + meta_context(7, "base:allocation") +
           option_reply(kSetMeta, kAck);
}

std::string good_end() {
    return export_info(1 << 20, 1) + option_reply(kGo, kAck);
}

void expect_broken(std::string_view server, std::string_view why) {
    const Talk talk = converse({.export_name = "a"}, server);
    EXPECT_EQ(talk.outcome, Outcome::broken);
    EXPECT_NE(talk.reason.find(why), std::string::npos) << talk.reason;
    EXPECT_EQ(talk.reason.find('\n'), std::string::npos);
}

// TLS.

TEST(ClientHandshakeTls, AsksForTlsFirstAndStopsThere) {
    for (const TlsMode mode : {TlsMode::prefer, TlsMode::require}) {
        const Talk talk =
            converse({.export_name = "a", .tls = mode}, greeting() + option_reply(kStarttls, kAck));
        EXPECT_EQ(talk.outcome, Outcome::start_tls);
        EXPECT_EQ(talk.sent, kFlagsSent + option(kStarttls));
    }
}

TEST(ClientHandshakeTls, NegotiatesAfreshInsideTls) {
    ClientHandshake handshake({.export_name = "a", .tls = TlsMode::require});
    converse_in_pieces(handshake, greeting() + option_reply(kStarttls, kAck), 1);
    handshake.tls_started();
    EXPECT_EQ(handshake.outcome(), Outcome::pending);
    EXPECT_EQ(handshake.take_output(), option(kStructured));
    const Talk talk = converse_in_pieces(handshake, good_options() + good_end(), 1);
    EXPECT_EQ(talk.outcome, Outcome::ready);
    EXPECT_EQ(talk.sent, set_meta_option("a") + go_option("a"));
}

TEST(ClientHandshakeTls, PlaintextBehindTheAnswerToStarttlsIsBroken) {
    const Talk talk =
        converse({.export_name = "a", .tls = TlsMode::require},
                 greeting() + option_reply(kStarttls, kAck) + option_reply(kStructured, kAck));
    EXPECT_EQ(talk.outcome, Outcome::broken);
    EXPECT_NE(talk.reason.find("plaintext"), std::string::npos);
}

TEST(ClientHandshakeTls, RequireNeverGoesOnInPlaintext) {
    for (const std::uint32_t error : {kUnsup, kPolicy, kInvalid, kPlatform, kShutdown, kTlsReqd}) {
        const Talk talk = converse({.export_name = "secret", .tls = TlsMode::require},
                                   greeting() + option_reply(kStarttls, error));
        EXPECT_EQ(talk.outcome, Outcome::refused);
        EXPECT_EQ(talk.sent, kFlagsSent + option(kStarttls) + option(kAbort));
    }
}

TEST(ClientHandshakeTls, RequireRefusesAServerWithoutOptions) {
    const Talk talk = converse({.export_name = "secret", .tls = TlsMode::require}, greeting(2));
    EXPECT_EQ(talk.outcome, Outcome::refused);
    EXPECT_EQ(talk.sent, "");
}

TEST(ClientHandshakeTls, RequireRefusesAnOldstyleServer) {
    const Talk talk =
        converse({.export_name = "a", .tls = TlsMode::require},
                 Bytes().text("NBDMAGIC").u64(0x00420281861253).fill(136, '\0').str());
    EXPECT_EQ(talk.outcome, Outcome::refused);
    EXPECT_EQ(talk.sent, "");
}

TEST(ClientHandshakeTls, PreferGoesOnInPlaintextWhenTheServerHasNoTls) {
    for (const std::uint32_t error : {kUnsup, kPolicy, kPlatform}) {
        const Talk talk =
            converse({.export_name = "a", .tls = TlsMode::prefer},
                     greeting() + option_reply(kStarttls, error) + good_options() + good_end());
        EXPECT_EQ(talk.outcome, Outcome::ready) << talk.reason;
    }
}

TEST(ClientHandshakeTls, PreferStopsAtAnyOtherError) {
    for (const std::uint32_t error : {kInvalid, kShutdown, kTlsReqd, 0x8000ffffu}) {
        const Talk talk = converse({.export_name = "a", .tls = TlsMode::prefer},
                                   greeting() + option_reply(kStarttls, error));
        EXPECT_EQ(talk.outcome, Outcome::refused);
    }
}

TEST(ClientHandshakeTls, OffNamesTheRemedyWhenTheServerRequiresTls) {
    for (const std::string& server :
         {option_reply(kStructured, kTlsReqd, "TLS first"),
          option_reply(kStructured, kAck) + option_reply(kSetMeta, kTlsReqd),
          good_options() + option_reply(kGo, kTlsReqd)}) {
        const Talk talk = converse({}, greeting() + server);
        EXPECT_EQ(talk.outcome, Outcome::refused);
        EXPECT_NE(talk.reason.find("tls=require"), std::string::npos) << talk.reason;
    }
}

TEST(ClientHandshakeTls, ADemandForTlsInsideTlsIsBroken) {
    ClientHandshake handshake({.export_name = "a", .tls = TlsMode::require});
    converse_in_pieces(handshake, greeting() + option_reply(kStarttls, kAck), 64);
    handshake.tls_started();
    EXPECT_EQ(converse_in_pieces(handshake, option_reply(kStructured, kTlsReqd), 64).outcome,
              Outcome::broken);
}

TEST(ClientHandshakeTls, AnAnswerThatIsNeitherAckNorErrorIsBroken) {
    const Talk talk = converse({.export_name = "a", .tls = TlsMode::prefer},
                               greeting() + option_reply(kStarttls, 2));
    EXPECT_EQ(talk.outcome, Outcome::broken);
}

// Refusals.

TEST(ClientHandshakeRefusal, UnknownExportIsItsOwnOutcome) {
    const Talk talk =
        converse({.export_name = "no\nsuch"},
                 greeting() + good_options() + option_reply(kGo, kUnknown, "who is \x1b[31mthat?"));
    EXPECT_EQ(talk.outcome, Outcome::unknown);
    EXPECT_EQ(talk.reason, R"(the server has no export "no\x0asuch": "who is \x1b[31mthat?")");
}

TEST(ClientHandshakeRefusal, LeavesPolitely) {
    const Talk talk =
        converse({.export_name = "a"}, greeting() + good_options() + option_reply(kGo, kUnknown));
    EXPECT_TRUE(talk.sent.ends_with(option(kAbort)));
}

TEST(ClientHandshakeRefusal, OtherErrorsToGoAreRefusals) {
    for (const std::uint32_t error :
         {kPolicy, kInvalid, kPlatform, kShutdown, kBlockSizeReqd, 0x8000000au, 0xffffffffu}) {
        const Talk talk =
            converse({}, greeting() + good_options() + option_reply(kGo, error, "words"));
        EXPECT_EQ(talk.outcome, Outcome::refused);
        EXPECT_NE(talk.reason.find("\"words\""), std::string::npos) << talk.reason;
    }
}

TEST(ClientHandshakeRefusal, ShutdownEndsTheNegotiationAtAnyOption) {
    EXPECT_EQ(converse({}, greeting() + option_reply(kStructured, kShutdown)).outcome,
              Outcome::refused);
    EXPECT_EQ(converse({}, greeting() + option_reply(kStructured, kAck) +
                               option_reply(kSetMeta, kShutdown))
                  .outcome,
              Outcome::refused);
}

TEST(ClientHandshakeRefusal, OldstyleServerIsNamedAsSuch) {
    const Talk talk =
        converse({}, Bytes().text("NBDMAGIC").u64(0x00420281861253).fill(136, '\0').str());
    EXPECT_EQ(talk.outcome, Outcome::refused);
    EXPECT_NE(talk.reason.find("oldstyle"), std::string::npos);
    EXPECT_EQ(talk.sent, "");
}

TEST(ClientHandshakeRefusal, LongServerWordsAreCut) {
    const Talk talk = converse(
        {}, greeting() + good_options() + option_reply(kGo, kPolicy, std::string(65536, '\n')));
    EXPECT_EQ(talk.outcome, Outcome::refused);
    EXPECT_LT(talk.reason.size(), 1000u);
    EXPECT_EQ(talk.reason.find('\n'), std::string::npos);
}

// Broken servers.

TEST(ClientHandshakeBroken, OtherProtocol) {
    expect_broken("SSH-2.0-OpenSSH_9.2p1\r\n", "no NBD server");
}

TEST(ClientHandshakeBroken, OtherStyle) {
    expect_broken(Bytes().text("NBDMAGIC").text("IHAVEOPS").u16(3).str(), "greeting");
}

TEST(ClientHandshakeBroken, ReplyMagic) {
    expect_broken(greeting() + Bytes().u64(0x3e889045565aa).u32(8).u32(1).u32(0).str(), "magic");
}

TEST(ClientHandshakeBroken, ReplyToAnotherOption) {
    expect_broken(greeting() + option_reply(kGo, kAck), "option 7 instead of STRUCTURED_REPLY");
}

TEST(ClientHandshakeBroken, ReplyOfMoreThanTheLimit) {
    const std::string at_limit =
        greeting() + option_reply(kStructured, kUnsup, std::string(65536, 'x'));
    EXPECT_EQ(converse({}, at_limit).outcome, Outcome::pending);
    expect_broken(greeting() + Bytes().u64(0x3e889045565a9).u32(8).u32(kUnsup).u32(65537).str(),
                  "65537");
    expect_broken(greeting() + Bytes().u64(0x3e889045565a9).u32(8).u32(kUnsup).u32(~0u).str(),
                  "4294967295");
}

TEST(ClientHandshakeBroken, MoreRepliesThanTheLimit) {
    std::string server = greeting() + good_options();
    for (std::uint32_t i = 3; i < ClientHandshake::kMaxOptionReplies; ++i) {
        server += option_reply(kGo, kInfo, Bytes().u16(0xbeef).str());
    }
    EXPECT_EQ(converse({}, server).outcome, Outcome::pending);
    expect_broken(server + option_reply(kGo, kInfo, Bytes().u16(0xbeef).str()),
                  "more than 64 option replies");
}

TEST(ClientHandshakeBroken, AckWithData) {
    expect_broken(greeting() + option_reply(kStructured, kAck, "x"), "carries data");
}

TEST(ClientHandshakeBroken, UnexpectedReplyTypes) {
    expect_broken(greeting() + option_reply(kStructured, kInfo), "STRUCTURED_REPLY");
    expect_broken(greeting() + option_reply(kStructured, kAck) + option_reply(kSetMeta, 2),
                  "SET_META_CONTEXT");
    expect_broken(greeting() + good_options() + option_reply(kGo, kMetaContext), "GO");
}

TEST(ClientHandshakeBroken, MetaContextThatWasNotAskedFor) {
    expect_broken(greeting() + option_reply(kStructured, kAck) + meta_context(1, "qemu:dirty"),
                  "not asked for");
    expect_broken(greeting() + option_reply(kStructured, kAck) + meta_context(1, ""),
                  "not asked for");
}

TEST(ClientHandshakeBroken, MetaContextTwice) {
    expect_broken(greeting() + option_reply(kStructured, kAck) +
                      meta_context(1, "base:allocation") + meta_context(2, "base:allocation"),
                  "not asked for");
}

TEST(ClientHandshakeBroken, MetaContextTooShort) {
    expect_broken(
        greeting() + option_reply(kStructured, kAck) + option_reply(kSetMeta, kMetaContext, "abc"),
        "SET_META_CONTEXT");
}

TEST(ClientHandshakeBroken, GoWithoutExportInfo) {
    expect_broken(
        greeting() + good_options() + block_size_info(1, 4096, 65536) + option_reply(kGo, kAck),
        "without the export's size");
}

TEST(ClientHandshakeBroken, InfosOfTheWrongLength) {
    const std::string start = greeting() + good_options();
    expect_broken(start + option_reply(kGo, kInfo, ""), "without a type");
    expect_broken(start + option_reply(kGo, kInfo, "x"), "without a type");
    expect_broken(start + option_reply(kGo, kInfo, Bytes().u16(0).u64(1).u16(1).text("x").str()),
                  "INFO_EXPORT");
    expect_broken(start + option_reply(kGo, kInfo, Bytes().u16(0).u64(1).text("x").str()),
                  "INFO_EXPORT");
    expect_broken(start + option_reply(kGo, kInfo, Bytes().u16(3).u64(1).str()), "BLOCK_SIZE");
    expect_broken(start + option_reply(kGo, kInfo, Bytes().u16(3).u64(1).u64(1).str()),
                  "BLOCK_SIZE");
}

TEST(ClientHandshakeBroken, ContradictingInfos) {
    const std::string start = greeting() + good_options();
    expect_broken(start + export_info(1024, 1) + export_info(2048, 1), "differently");
    expect_broken(start + export_info(1024, 1) + export_info(1024, 3), "differently");
    expect_broken(start + block_size_info(1, 4096, 65536) + block_size_info(1, 4096, 4096),
                  "differently");
}

TEST(ClientHandshakeBroken, SizeOf2To63AndMore) {
    const std::string start = greeting() + good_options();
    expect_broken(start + export_info(std::uint64_t{1} << 63, 1), "2^63");
    expect_broken(start + export_info(~std::uint64_t{0}, 1), "2^63");
    expect_broken(
        start + option_reply(kGo, kUnsup) + Bytes().u64(std::uint64_t{1} << 63).u16(1).str(),
        "2^63");
}

TEST(ClientHandshakeBroken, FlagsWithoutHasFlags) {
    expect_broken(greeting() + good_options() + export_info(1024, 2), "HAS_FLAGS");
}

TEST(ClientHandshakeBroken, ImpossibleBlockSizes) {
    for (const auto& [minimum, preferred, maximum] :
         {std::array{0u, 4096u, 65536u}, std::array{3u, 4096u, 65536u},
          std::array{131072u, 131072u, 1u << 25}, std::array{4096u, 512u, 65536u},
          std::array{4096u, 4096u, 512u}, std::array{512u, 512u, 0u}}) {
        expect_broken(greeting() + good_options() + block_size_info(minimum, preferred, maximum),
                      "impossible block sizes");
    }
}

TEST(ClientHandshakeBroken, StaysBrokenAndTakesNothingMore) {
    ClientHandshake handshake({});
    converse_in_pieces(handshake, "not an NBD server", 64);
    std::size_t consumed = 1;
    EXPECT_EQ(handshake.feed(as_span(greeting()), consumed), Outcome::broken);
    EXPECT_EQ(consumed, 0u);
    EXPECT_EQ(handshake.take_output(), "");
}

}  // namespace
}  // namespace signpost::wire::test
