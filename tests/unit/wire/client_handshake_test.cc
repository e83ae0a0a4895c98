// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/wire/client_handshake.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/talk.h"

namespace signpost::wire::test {
namespace {

using Outcome = ClientHandshake::Outcome;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint16_t kHasFlags = 1;

std::string good_end(std::uint64_t size = kGiB, std::uint16_t flags = kHasFlags) {
    return export_info(size, flags) + option_reply(kGo, kAck);
}

std::string good_options() {
    return option_reply(kStructured, kAck) + meta_context(7, "base:allocation") +
           option_reply(kSetMeta, kAck);
}

TEST(ClientHandshake, NegotiatesEverythingWithAModernServer) {
    const Talk talk =
        converse({.export_name = "web01/vda"},
                 greeting() + good_options() + block_size_info(512, 4096, 1 << 25) +
                     description_info("40 GiB raw on beta") + good_end(40 * kGiB, 0x18f));
    ASSERT_EQ(talk.outcome, Outcome::ready) << talk.reason;
    EXPECT_EQ(talk.info.size, 40 * kGiB);
    EXPECT_EQ(talk.info.flags, 0x18f);
    EXPECT_EQ(talk.info.minimum_block, 512u);
    EXPECT_EQ(talk.info.preferred_block, 4096u);
    EXPECT_EQ(talk.info.maximum_payload, 1u << 25);
    EXPECT_TRUE(talk.info.structured_replies);
    EXPECT_EQ(talk.info.allocation_context, 7u);
    EXPECT_EQ(talk.info.description, "40 GiB raw on beta");
}

TEST(ClientHandshake, SendsExactlyTheseBytes) {
    const Talk talk =
        converse({.export_name = "web01/vda"}, greeting() + good_options() + good_end());
    const std::string flags = Bytes().u32(3);
    EXPECT_EQ(talk.sent,
              flags + option(kStructured) + set_meta_option("web01/vda") + go_option("web01/vda"));
}

TEST(ClientHandshake, SendsNothingBeforeTheGreetingIsComplete) {
    ClientHandshake handshake({.export_name = "a"});
    EXPECT_EQ(handshake.take_output(), "");
    const std::string server = greeting();
    std::size_t consumed = 0;
    EXPECT_EQ(handshake.feed(as_span(server).first(17), consumed), Outcome::pending);
    EXPECT_EQ(consumed, 17u);
    EXPECT_EQ(handshake.take_output(), "");
    handshake.feed(as_span(server).subspan(17), consumed);
    EXPECT_NE(handshake.take_output(), "");
}

TEST(ClientHandshake, AServerThatDiesAtAnyByteLeavesItPending) {
    const std::string server = greeting() + good_options() + good_end();
    for (std::size_t n = 0; n < server.size(); ++n) {
        const Talk talk = converse({.export_name = "a"}, server.substr(0, n));
        ASSERT_EQ(talk.outcome, Outcome::pending) << "after " << n << " bytes";
        ASSERT_EQ(talk.consumed, n);
    }
}

TEST(ClientHandshake, LeavesTheBytesBehindTheLastReplyToTheTransmission) {
    ClientHandshake handshake({.export_name = "a"});
    const std::string server = greeting() + good_options() + good_end();
    const std::string both = server + "transmission";
    std::size_t consumed = 0;
    EXPECT_EQ(handshake.feed(as_span(both), consumed), Outcome::ready);
    EXPECT_EQ(consumed, server.size());
    EXPECT_EQ(handshake.feed(as_span("more"), consumed), Outcome::ready);
    EXPECT_EQ(consumed, 0u);
}

TEST(ClientHandshake, DefaultBlockSizesHoldWhenTheServerGivesNone) {
    const Talk talk = converse({}, greeting() + good_options() + good_end());
    ASSERT_EQ(talk.outcome, Outcome::ready);
    EXPECT_EQ(talk.info.minimum_block, 1u);
    EXPECT_EQ(talk.info.preferred_block, 4096u);
    EXPECT_EQ(talk.info.maximum_payload, 32u * 1024 * 1024);
}

TEST(ClientHandshake, DoesNotSetFlagsThatTheServerDidNotOffer) {
    const Talk talk = converse({}, greeting(1) + good_options() + good_end());
    EXPECT_EQ(talk.sent.substr(0, 4), Bytes().u32(1).str());
}

TEST(ClientHandshake, IgnoresUnknownServerFlags) {
    const Talk talk = converse({}, greeting(0x8003) + good_options() + good_end());
    EXPECT_EQ(talk.outcome, Outcome::ready);
    EXPECT_EQ(talk.sent.substr(0, 4), Bytes().u32(3).str());
}

TEST(ClientHandshake, AsksForNothingThatIsNotWished) {
    const Talk talk =
        converse({.export_name = "a", .structured_replies = false}, greeting() + good_end());
    EXPECT_EQ(talk.outcome, Outcome::ready);
    EXPECT_EQ(talk.sent, Bytes().u32(3).str() + go_option("a"));
    EXPECT_FALSE(talk.info.structured_replies);
}

TEST(ClientHandshake, AsksForNoContextThatIsNotWished) {
    const Talk talk = converse({.export_name = "a", .allocation_context = false},
                               greeting() + option_reply(kStructured, kAck) + good_end());
    EXPECT_EQ(talk.outcome, Outcome::ready);
    EXPECT_EQ(talk.sent, Bytes().u32(3).str() + option(kStructured) + go_option("a"));
}

TEST(ClientHandshake, GoesOnWithoutStructuredRepliesAndAsksForNoContextThen) {
    for (const std::uint32_t error : {kUnsup, kPolicy, kInvalid, kPlatform, 0x8000ffffu}) {
        const Talk talk = converse(
            {.export_name = "a"}, greeting() + option_reply(kStructured, error, "no") + good_end());
        ASSERT_EQ(talk.outcome, Outcome::ready) << talk.reason;
        EXPECT_FALSE(talk.info.structured_replies);
        EXPECT_FALSE(talk.info.allocation_context);
        EXPECT_EQ(talk.sent, Bytes().u32(3).str() + option(kStructured) + go_option("a"));
    }
}

TEST(ClientHandshake, GoesOnWhenTheMetaContextIsRefused) {
    for (const std::uint32_t error : {kUnsup, kPolicy, kInvalid, kUnknown, 0x8000ffffu}) {
        const Talk talk = converse({}, greeting() + option_reply(kStructured, kAck) +
                                           option_reply(kSetMeta, error) + good_end());
        ASSERT_EQ(talk.outcome, Outcome::ready) << talk.reason;
        EXPECT_TRUE(talk.info.structured_replies);
        EXPECT_FALSE(talk.info.allocation_context);
    }
}

TEST(ClientHandshake, GoesOnWhenNoMetaContextIsSelected) {
    const Talk talk = converse({}, greeting() + option_reply(kStructured, kAck) +
                                       option_reply(kSetMeta, kAck) + good_end());
    ASSERT_EQ(talk.outcome, Outcome::ready);
    EXPECT_FALSE(talk.info.allocation_context);
}

TEST(ClientHandshake, ForgetsAContextThatAnErrorFollows) {
    const Talk talk = converse({}, greeting() + option_reply(kStructured, kAck) +
                                       meta_context(7, "base:allocation") +
                                       option_reply(kSetMeta, kPolicy) + good_end());
    ASSERT_EQ(talk.outcome, Outcome::ready);
    EXPECT_FALSE(talk.info.allocation_context);
}

TEST(ClientHandshake, FallsBackToExportNameWhenGoIsUnknown) {
    const Talk talk =
        converse({.export_name = "a"}, greeting() + good_options() + option_reply(kGo, kUnsup) +
                                           Bytes().u64(kGiB).u16(0x85).str());
    ASSERT_EQ(talk.outcome, Outcome::ready) << talk.reason;
    EXPECT_EQ(talk.info.size, kGiB);
    EXPECT_EQ(talk.info.flags, 0x85);
    EXPECT_TRUE(talk.info.structured_replies);
    EXPECT_EQ(talk.info.allocation_context, 7u);
    EXPECT_EQ(talk.sent, Bytes().u32(3).str() + option(kStructured) + set_meta_option("a") +
                             go_option("a") + option(kExportName, "a"));
}

TEST(ClientHandshake, ForgetsTheInfosOfAGoThatFailed) {
    const Talk talk =
        converse({}, greeting() + good_options() + block_size_info(4096, 4096, 65536) +
                         export_info(2 * kGiB, kHasFlags) + option_reply(kGo, kUnsup) +
                         Bytes().u64(kGiB).u16(kHasFlags).str());
    ASSERT_EQ(talk.outcome, Outcome::ready) << talk.reason;
    EXPECT_EQ(talk.info.size, kGiB);
    EXPECT_EQ(talk.info.minimum_block, 1u);
}

TEST(ClientHandshake, WaitsForTheZeroesBehindExportName) {
    const std::string answer = Bytes().u64(kGiB).u16(kHasFlags).fill(124, '\0');
    const std::string server = greeting(1) + good_options() + option_reply(kGo, kUnsup) + answer;
    const Talk talk = converse({}, server);
    EXPECT_EQ(talk.outcome, Outcome::ready);
    EXPECT_EQ(talk.consumed, server.size());
    EXPECT_EQ(converse({}, server.substr(0, server.size() - 1)).outcome, Outcome::pending);
}

TEST(ClientHandshake, UsesOnlyExportNameWithANonFixedServer) {
    const Talk talk = converse({.export_name = "a", .tls = TlsMode::prefer},
                               greeting(2) + Bytes().u64(kGiB).u16(kHasFlags).str());
    ASSERT_EQ(talk.outcome, Outcome::ready) << talk.reason;
    EXPECT_EQ(talk.sent, Bytes().u32(2).str() + option(kExportName, "a"));
    EXPECT_FALSE(talk.info.structured_replies);
}

TEST(ClientHandshake, AcceptsAnInfoThatIsRepeatedUnchanged) {
    const Talk talk = converse({}, greeting() + good_options() + block_size_info(1, 4096, 65536) +
                                       export_info(kGiB, kHasFlags) +
                                       block_size_info(1, 4096, 65536) + good_end());
    EXPECT_EQ(talk.outcome, Outcome::ready) << talk.reason;
}

TEST(ClientHandshake, IgnoresInfosThatItDoesNotKnow) {
    const std::string odd = option_reply(kGo, kInfo, Bytes().u16(0xbeef).fill(99, 'x').str());
    const std::string name = option_reply(kGo, kInfo, Bytes().u16(1).text("canonical").str());
    const Talk talk = converse({}, greeting() + good_options() + odd + name + good_end());
    EXPECT_EQ(talk.outcome, Outcome::ready);
}

TEST(ClientHandshake, LeavesOutADescriptionThatIsNoProtocolString) {
    for (const std::string& text :
         {std::string("\xff\xfe"), std::string("nul\0inside", 10), std::string(4097, 'x')}) {
        const Talk talk =
            converse({}, greeting() + good_options() + description_info(text) + good_end());
        EXPECT_EQ(talk.outcome, Outcome::ready);
        EXPECT_EQ(talk.info.description, "");
    }
}

TEST(ClientHandshake, KeepsADescriptionOfTheGreatestLength) {
    const Talk talk = converse(
        {}, greeting() + good_options() + description_info(std::string(4096, 'x')) + good_end());
    EXPECT_EQ(talk.info.description.size(), 4096u);
}

TEST(ClientHandshake, DropsFlagsThatContradictTheNegotiation) {
    const Talk talk = converse({.export_name = "a", .structured_replies = false},
                               greeting() + good_end(kGiB, 1 | 1 << 7 | 1 << 11));
    ASSERT_EQ(talk.outcome, Outcome::ready);
    EXPECT_EQ(talk.info.flags, 1);
}

TEST(ClientHandshake, AcceptsTheLargestSize) {
    const std::uint64_t largest = (std::uint64_t{1} << 63) - 1;
    const Talk talk = converse({}, greeting() + good_options() + good_end(largest));
    EXPECT_EQ(talk.outcome, Outcome::ready);
    EXPECT_EQ(talk.info.size, largest);
}

TEST(ClientHandshake, AcceptsTheLimitsOfBlockSizes) {
    for (const auto& [minimum, preferred, maximum] :
         {std::array{1u, 1u, 1u}, std::array{65536u, 65536u, 65536u},
          std::array{1u, 4096u, 0xffffffffu}, std::array{4096u, 65536u, 4096u}}) {
        const Talk talk =
            converse({}, greeting() + good_options() +
                             block_size_info(minimum, preferred, maximum) + good_end());
        EXPECT_EQ(talk.outcome, Outcome::ready) << talk.reason;
        EXPECT_EQ(talk.info.maximum_payload, maximum);
    }
}

TEST(ClientHandshake, TakesANameOfTheGreatestLength) {
    const std::string name(4096, 'n');
    const Talk talk = converse({.export_name = name}, greeting() + good_options() + good_end());
    EXPECT_EQ(talk.outcome, Outcome::ready);
    EXPECT_NE(talk.sent.find(go_option(name)), std::string::npos);
}

TEST(ClientHandshake, RefusesToSendALongerName) {
    ClientHandshake handshake({.export_name = std::string(4097, 'n')});
    EXPECT_EQ(handshake.outcome(), Outcome::refused);
    std::size_t consumed = 1;
    EXPECT_EQ(handshake.feed(as_span("x"), consumed), Outcome::refused);
    EXPECT_EQ(consumed, 0u);
    EXPECT_EQ(handshake.take_output(), "");
}

}  // namespace
}  // namespace signpost::wire::test
