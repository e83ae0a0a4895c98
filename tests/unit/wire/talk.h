// SPDX-License-Identifier: BSD-3-Clause
//
// A conversation of ClientHandshake with a scripted server. Each is held twice, with the bytes in
// one piece and byte by byte, and both must agree.

#pragma once

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "nbd-server/wire/client_handshake.h"
#include "tests/unit/wire/bytes.h"

namespace signpost::wire::test {

struct Talk {
    ClientHandshake::Outcome outcome;
    ExportInfo info;
    std::string reason;
    std::string sent;
    std::size_t consumed = 0;
};

inline Talk converse_in_pieces(ClientHandshake& handshake, std::string_view server,
                               std::size_t piece) {
    Talk talk;
    auto left = as_span(server);
    while (!left.empty()) {
        const auto bytes = left.first(std::min(piece, left.size()));
        std::size_t consumed = 0;
        handshake.feed(bytes, consumed);
        talk.consumed += consumed;
        talk.sent += handshake.take_output();
        if (handshake.outcome() != ClientHandshake::Outcome::pending &&
            handshake.outcome() != ClientHandshake::Outcome::start_tls) {
            break;
        }
        left = left.subspan(bytes.size());
    }
    talk.outcome = handshake.outcome();
    talk.info = handshake.info();
    talk.reason = handshake.reason();
    return talk;
}

inline void expect_same(const Talk& a, const Talk& b) {
    EXPECT_EQ(a.outcome, b.outcome);
    EXPECT_EQ(a.reason, b.reason);
    EXPECT_EQ(a.consumed, b.consumed);
    EXPECT_EQ(a.info.size, b.info.size);
    EXPECT_EQ(a.info.flags, b.info.flags);
    EXPECT_EQ(a.info.minimum_block, b.info.minimum_block);
    EXPECT_EQ(a.info.preferred_block, b.info.preferred_block);
    EXPECT_EQ(a.info.maximum_payload, b.info.maximum_payload);
    EXPECT_EQ(a.info.structured_replies, b.info.structured_replies);
    EXPECT_EQ(a.info.allocation_context, b.info.allocation_context);
    EXPECT_EQ(a.info.description, b.info.description);
}

inline Talk converse(const ClientHandshake::Wish& wish, std::string_view server) {
    ClientHandshake at_once(wish);
    const Talk talk = converse_in_pieces(at_once, server, server.size());
    ClientHandshake byte_by_byte(wish);
    const Talk slow = converse_in_pieces(byte_by_byte, server, 1);
    expect_same(talk, slow);
    if (talk.outcome != ClientHandshake::Outcome::broken) {
        EXPECT_EQ(talk.sent, slow.sent);  // what was queued when the server broke off is not sent
    }
    return talk;
}

}  // namespace signpost::wire::test
