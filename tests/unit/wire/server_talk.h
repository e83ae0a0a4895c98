// SPDX-License-Identifier: BSD-3-Clause
//
// A conversation of a scripted client with ServerHandshake, whose questions a small world answers.
// Each is held several times, with the client's bytes cut in different ways, and all must agree.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nbd-server/wire/server_handshake.h"
#include "tests/unit/wire/bytes.h"

namespace signpost::wire::test {

inline constexpr std::uint32_t kList = 3;
inline constexpr std::uint32_t kPeekExport = 4;
inline constexpr std::uint32_t kInfoOption = 6;
inline constexpr std::uint32_t kListMeta = 9;
inline constexpr std::uint32_t kExtended = 11;
inline constexpr std::uint32_t kTicket = 0x5350544b;
inline constexpr std::uint32_t kServerReply = 2;
inline constexpr std::uint32_t kTooBig = 0x80000009;
inline constexpr std::uint32_t kExtHeaderReqd = 0x8000000a;

// What the client is answered, and by whom: the tests' catalog.
struct World {
    std::map<std::string, ExportAnswer, std::less<>> exports;
    std::vector<std::pair<std::string, std::string>> list;  // name, description
    std::size_t page = 1;                                   // names at a time
    std::optional<Refusal> list_refusal;
    std::map<std::string, bool, std::less<>> tickets;  // accepted?

    // One disk of 1 GiB that can do everything, and nothing else.
    static World usual() {
        World world;
        world.exports["disk"] =
            ExportFacts{.size = std::uint64_t{1} << 30,
                        .flags = 0x1ded,
                        .name = "web01/disk",
                        .description = "1 GiB raw on beta",
                        .contexts = {"base:allocation", "x-signpost:placement"}};
        world.list = {{"disk", "a disk"}, {"other", ""}};
        world.tickets["good"] = true;
        return world;
    }

    ExportAnswer find(std::string_view name) const {
        const auto found = exports.find(name);
        return found == exports.end()
                   ? ExportAnswer(Refusal{OptionReply::err_unknown, "no disk of that name"})
                   : found->second;
    }
};

struct ServerTalk {
    ServerHandshake::Outcome outcome{};
    ServerHandshake::Settled settled;
    std::string sent;
    std::string reason;
    std::string ticket;
    bool aborted = false;
    std::size_t consumed = 0;
    std::vector<std::string> asked;  // the texts of the questions

    // What was sent behind the greeting.
    std::string replies() const { return sent.substr(std::min<std::size_t>(18, sent.size())); }
};

inline void answer(ServerHandshake& server, const World& world) {
    const ServerHandshake::Question& question = server.question();
    switch (question.kind) {
        case ServerHandshake::Question::Kind::open_export:
            server.answer_export(world.find(question.text));
            return;
        case ServerHandshake::Question::Kind::ticket:
            world.tickets.contains(question.text) ? server.accept_ticket()
                                                  : server.refuse_ticket("the ticket is no good");
            return;
        case ServerHandshake::Question::Kind::list:
            break;
    }
    if (world.list_refusal) {
        server.refuse_list(world.list_refusal->code, world.list_refusal->sentence);
        return;
    }
    for (std::size_t i = 0; i < world.list.size(); i += world.page) {
        std::vector<ListEntry> page;
        for (std::size_t j = i; j < std::min(i + world.page, world.list.size()); ++j) {
            page.push_back({world.list[j].first, world.list[j].second});
        }
        server.answer_list(page, false);
    }
    server.answer_list({}, true);
}

// The client says PLAIN, and INSIDE when TLS is up; at most PIECE bytes at a time.
inline ServerTalk serve_in_pieces(ServerHandshake& server, const World& world,
                                  std::string_view plain, std::string_view inside,
                                  std::size_t piece) {
    using enum ServerHandshake::Outcome;
    ServerTalk talk;
    talk.sent = server.take_output();
    auto left = as_span(plain);
    while (!left.empty()) {
        std::size_t consumed = 0;
        const auto outcome = server.feed(left.first(std::min(piece, left.size())), consumed);
        talk.consumed += consumed;
        talk.sent += server.take_output();
        left = left.subspan(consumed);
        if (outcome == ask) {
            EXPECT_EQ(server.feed(left.first(std::min<std::size_t>(1, left.size())), consumed),
                      ask);
            EXPECT_EQ(consumed, 0u) << "bytes taken before the answer";
            talk.asked.push_back(server.question().text);
            answer(server, world);
            talk.sent += server.take_output();
        }
        if (server.outcome() == start_tls && left.empty()) {
            server.tls_started();
            left = as_span(std::exchange(inside, {}));
        }
        if (server.outcome() == transmission || server.outcome() == ended) {
            break;
        }
    }
    talk.outcome = server.outcome();
    talk.settled = server.settled();
    talk.reason = server.reason();
    talk.ticket = server.ticket();
    talk.aborted = server.aborted();
    return talk;
}

inline void expect_same(const ServerTalk& a, const ServerTalk& b) {
    EXPECT_EQ(a.outcome, b.outcome);
    EXPECT_EQ(a.sent, b.sent);
    EXPECT_EQ(a.reason, b.reason);
    EXPECT_EQ(a.ticket, b.ticket);
    EXPECT_EQ(a.consumed, b.consumed);
    EXPECT_EQ(a.asked, b.asked);
    EXPECT_EQ(a.settled.name, b.settled.name);
    EXPECT_EQ(a.settled.style, b.settled.style);
    EXPECT_EQ(a.settled.flags, b.settled.flags);
    EXPECT_EQ(a.settled.contexts, b.settled.contexts);
}

inline constexpr ServerHandshake::Settings kPlain{};
inline constexpr ServerHandshake::Settings kHasTls{.tls = ServerHandshake::Tls::available};
inline constexpr ServerHandshake::Settings kForcesTls{.tls = ServerHandshake::Tls::required};
inline constexpr ServerHandshake::Settings kTakesTickets{.tickets = true};

inline ServerTalk serve(std::string_view client, const World& world = World::usual(),
                        ServerHandshake::Settings settings = kPlain, std::string_view inside = {}) {
    ServerHandshake at_once(settings);
    const ServerTalk whole =
        serve_in_pieces(at_once, world, client, inside, client.size() + inside.size());
    for (const std::size_t piece : {1u, 7u, 1000u}) {
        ServerHandshake again(settings);
        SCOPED_TRACE(piece);
        expect_same(whole, serve_in_pieces(again, world, client, inside, piece));
    }
    EXPECT_EQ(whole.reason.find_first_of("\n\r\x1b"), std::string::npos);
    return whole;
}

// What the client says.

inline std::string hello(std::uint32_t flags = 3) {
    return Bytes().u32(flags);
}

inline std::string info_data(std::string_view name, const std::vector<std::uint16_t>& infos = {}) {
    Bytes data;
    data.u32(name.size()).text(name).u16(infos.size());
    for (const std::uint16_t info : infos) {
        data.u16(info);
    }
    return data;
}

inline std::string meta_data(std::string_view name, const std::vector<std::string>& queries) {
    Bytes data;
    data.u32(name.size()).text(name).u32(queries.size());
    for (const std::string& query : queries) {
        data.u32(query.size()).text(query);
    }
    return data;
}

inline std::string go(std::string_view name, const std::vector<std::uint16_t>& infos = {}) {
    return option(kGo, info_data(name, infos));
}

inline std::string set_meta(std::string_view name, const std::vector<std::string>& queries) {
    return option(kSetMeta, meta_data(name, queries));
}

inline std::string list_meta(std::string_view name, const std::vector<std::string>& queries) {
    return option(kListMeta, meta_data(name, queries));
}

// The replies that were sent, taken apart by hand.

struct OptionAnswer {
    std::uint32_t option;
    std::uint32_t type;
    std::string data;

    bool operator==(const OptionAnswer&) const = default;
};

inline std::uint64_t number_at(std::string_view bytes, std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (const char c : bytes.substr(at, size)) {
        value = value << 8 | static_cast<unsigned char>(c);
    }
    return value;
}

inline std::vector<OptionAnswer> option_answers(std::string_view bytes) {
    std::vector<OptionAnswer> answers;
    while (bytes.size() >= 20 && number_at(bytes, 0, 8) == 0x3e889045565a9) {
        const std::size_t length = number_at(bytes, 16, 4);
        answers.push_back({static_cast<std::uint32_t>(number_at(bytes, 8, 4)),
                           static_cast<std::uint32_t>(number_at(bytes, 12, 4)),
                           std::string(bytes.substr(20, length))});
        bytes.remove_prefix(20 + std::min(length, bytes.size() - 20));
    }
    EXPECT_TRUE(bytes.empty()) << bytes.size() << " bytes are no option reply";
    return answers;
}

// The types alone: what the client was answered, in one line of a test.
using Types = std::vector<std::uint32_t>;

inline Types types_of(const ServerTalk& talk) {
    Types types;
    for (const OptionAnswer& answer : option_answers(talk.replies())) {
        types.push_back(answer.type);
    }
    return types;
}

}  // namespace signpost::wire::test
