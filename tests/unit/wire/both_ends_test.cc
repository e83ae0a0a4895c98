// SPDX-License-Identifier: BSD-3-Clause
//
// Our client and our server, each other's counterpart, joined in memory: they must agree on what
// was negotiated, and every byte that is read must be the disk's.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "nbd-server/wire/client_handshake.h"
#include "nbd-server/wire/reply_head.h"
#include "nbd-server/wire/reply_reader.h"
#include "nbd-server/wire/request_reader.h"
#include "tests/unit/wire/exchange.h"
#include "tests/unit/wire/server_talk.h"

namespace signpost::wire::test {
namespace {

using Client = ClientHandshake::Outcome;
using Server = ServerHandshake::Outcome;

struct Meeting {
    Client client;
    Server server;
    ExportInfo info;
    ServerHandshake::Settled settled;
    std::string ticket;
    std::string why;
};

// A direction of the pipe: at most PIECE bytes arrive at a time.
std::string pop(std::string& pipe, std::size_t piece) {
    std::string front = pipe.substr(0, piece);
    pipe.erase(0, front.size());
    return front;
}

// Both say what they have to say until neither says anything any more.
Meeting meet(const ClientHandshake::Wish& wish, ServerHandshake::Settings settings,
             std::size_t piece = 1'000'000, const World& world = World::usual()) {
    ClientHandshake client(wish);
    ServerHandshake server(settings);
    std::string to_client;
    std::string to_server;
    for (bool is_quiet = false; !is_quiet;) {
        to_client += server.take_output();
        to_server += client.take_output();
        is_quiet = to_client.empty() && to_server.empty();
        std::size_t consumed = 0;
        const std::string for_client = pop(to_client, piece);
        client.feed(as_span(for_client), consumed);
        std::string for_server = pop(to_server, piece);
        server.feed(as_span(for_server), consumed);
        for_server.erase(0, consumed);
        to_server.insert(0, server.outcome() == Server::ended ? "" : for_server);
        if (server.outcome() == Server::ask) {
            answer(server, world);
        }
        const bool is_settled = to_client.empty() && to_server.empty();
        if (client.outcome() == Client::start_tls && server.outcome() == Server::start_tls &&
            is_settled) {
            server.tls_started();
            client.tls_started();
            is_quiet = false;
        }
    }
    return {client.outcome(), server.outcome(), client.info(),
            server.settled(), server.ticket(),  client.reason() + server.reason()};
}

void expect_agreement(const Meeting& meeting) {
    EXPECT_EQ(meeting.info.size, meeting.settled.size);
    EXPECT_EQ(meeting.info.flags, meeting.settled.flags);
    EXPECT_EQ(meeting.info.minimum_block, meeting.settled.minimum_block);
    EXPECT_EQ(meeting.info.preferred_block, meeting.settled.preferred_block);
    EXPECT_EQ(meeting.info.maximum_payload, meeting.settled.maximum_payload);
    EXPECT_TRUE(meeting.settled.knows_block_size);
    EXPECT_EQ(meeting.info.structured_replies, meeting.settled.style != ReplyStyle::simple);
    ASSERT_EQ(meeting.info.allocation_context.has_value(), !meeting.settled.contexts.empty());
    if (meeting.info.allocation_context) {
        EXPECT_EQ(*meeting.info.allocation_context, meeting.settled.contexts[0].id);
        EXPECT_EQ(meeting.settled.contexts[0].name, kBaseAllocation);
    }
    EXPECT_EQ(meeting.info.description, "1 GiB raw on beta");
}

TEST(BothEnds, AgreeOnWhatEveryWishAndSettingAllow) {
    for (unsigned bits = 0; bits < 16; ++bits) {
        for (const std::size_t piece : {1u, 7u, 100'000u}) {
            const Meeting meeting = meet({.export_name = "disk",
                                          .structured_replies = (bits & 1) != 0,
                                          .allocation_context = (bits & 2) != 0,
                                          .ticket = (bits & 4) != 0 ? "good" : ""},
                                         {.tickets = (bits & 8) != 0}, piece);
            SCOPED_TRACE(bits);
            ASSERT_EQ(meeting.client, Client::ready) << meeting.why;
            ASSERT_EQ(meeting.server, Server::transmission) << meeting.why;
            expect_agreement(meeting);
            EXPECT_EQ(meeting.info.structured_replies, (bits & 1) != 0);
            EXPECT_EQ(meeting.info.allocation_context.has_value(), (bits & 3) == 3);
            EXPECT_EQ(meeting.info.ticket_accepted, (bits & 12) == 12);
            EXPECT_EQ(meeting.ticket, (bits & 12) == 12 ? "good" : "");
        }
    }
}

TEST(BothEnds, TlsComesUpExactlyWhenBothAllowIt) {
    using Tls = ServerHandshake::Tls;
    const auto outcome = [](TlsMode client, Tls server) {
        const Meeting meeting = meet({.export_name = "disk", .tls = client, .ticket = "good"},
                                     {.tls = server, .tickets = true});
        if (meeting.client == Client::ready) {
            EXPECT_EQ(meeting.server, Server::transmission);
            EXPECT_EQ(meeting.ticket, "good");
            expect_agreement(meeting);
        }
        return meeting.client;
    };
    EXPECT_EQ(outcome(TlsMode::off, Tls::off), Client::ready);
    EXPECT_EQ(outcome(TlsMode::off, Tls::available), Client::ready);
    EXPECT_EQ(outcome(TlsMode::off, Tls::required), Client::refused);
    EXPECT_EQ(outcome(TlsMode::prefer, Tls::off), Client::ready);
    EXPECT_EQ(outcome(TlsMode::prefer, Tls::available), Client::ready);
    EXPECT_EQ(outcome(TlsMode::prefer, Tls::required), Client::ready);
    EXPECT_EQ(outcome(TlsMode::require, Tls::off), Client::refused);
    EXPECT_EQ(outcome(TlsMode::require, Tls::available), Client::ready);
    EXPECT_EQ(outcome(TlsMode::require, Tls::required), Client::ready);
}

TEST(BothEnds, AnUnknownExportIsUnknownAndTheClientLeavesPolitely) {
    const Meeting meeting = meet({.export_name = "no"}, kPlain);
    EXPECT_EQ(meeting.client, Client::unknown);
    EXPECT_EQ(meeting.server, Server::ended);
    EXPECT_NE(meeting.why.find("no disk of that name"), std::string::npos);
}

TEST(BothEnds, ARequiredTicketThatIsRefusedIsTheEnd) {
    const ClientHandshake::Wish wish{
        .export_name = "disk", .ticket = "forged", .ticket_required = true};
    EXPECT_EQ(meet(wish, kPlain).client, Client::refused);
    EXPECT_EQ(meet(wish, kTakesTickets).client, Client::refused);
    EXPECT_NE(meet(wish, kTakesTickets).why.find("the ticket is no good"), std::string::npos);
    ClientHandshake::Wish lenient = wish;
    lenient.ticket_required = false;
    EXPECT_EQ(meet(lenient, kTakesTickets).client, Client::ready);
    EXPECT_FALSE(meet(lenient, kTakesTickets).info.ticket_accepted);
}

TEST(ClientHandshake, ATicketLongerThan4096BytesIsNotSent) {
    ClientHandshake client({.export_name = "disk", .ticket = std::string(4097, 't')});
    EXPECT_EQ(client.outcome(), Client::refused);
}

TEST(ClientHandshake, ARequiredTicketNeedsFixedNewstyle) {
    ClientHandshake client({.export_name = "disk", .ticket = "t", .ticket_required = true});
    std::size_t consumed = 0;
    EXPECT_EQ(client.feed(as_span(greeting(0)), consumed), Client::refused);
    EXPECT_EQ(client.take_output(), "");
}

TEST(ClientHandshake, ASurprisingReplyToATicketBreaksIt) {
    ClientHandshake client({.export_name = "disk", .ticket = "t"});
    std::size_t consumed = 0;
    EXPECT_EQ(client.feed(as_span(greeting() + option_reply(kTicket, kInfo)), consumed),
              Client::broken);
}

// A disk in memory, served by the book: holes as holes, the last eighth with bad blocks.
constexpr std::uint32_t kDiskSize = 1 << 20;
constexpr std::uint32_t kPage = 4096;

class MemoryServer {
 public:
    explicit MemoryServer(ReplyStyle style)
        : style_(style),
          content_(pattern(kDiskSize)),
          reader_({.structured_replies = style != ReplyStyle::simple,
                   .size = kDiskSize,
                   .flags = 0x0ded,
                   .contexts = {kContext}}) {
        for (std::uint32_t page = 0; page < kDiskSize / kPage; page += 3) {
            std::memset(content_.data() + page * kPage, 0, kPage);
        }
    }

    const std::string& content() const { return content_; }

    // Serves what is complete at the front of IN.
    std::string serve(std::string& in) {
        std::string out;
        Request request;
        while (reader_.next(as_span(in), request) == RequestReader::Next::request) {
            const std::size_t whole = std::size_t{request.consumed} + request.payload_length;
            if (in.size() < whole) {
                break;
            }
            serve_one(request, std::string_view(in).substr(request.consumed), out);
            in.erase(0, whole);
        }
        EXPECT_EQ(reader_.reason(), "");
        return out;
    }

 private:
    template <class Put>
    void put(std::string& out, const Put& encode) {
        std::byte memory[kMaxErrorAt];
        const std::size_t n = encode(std::span(memory));
        ASSERT_NE(n, 0u);
        out.append(reinterpret_cast<const char*>(memory), n);
    }

    void serve_one(const Request& request, std::string_view payload, std::string& out) {
        const ReplyTo to{style_, request.cookie, request.offset};
        if (request.verdict != Verdict::ok) {
            return put(out, [&](auto memory) {
                return put_error(memory, to, nbd_error(request.verdict), sentence(request.verdict));
            });
        }
        switch (request.command) {
            case Command::read:
                return serve_read(request, to, out);
            case Command::block_status:
                return serve_status(request, to, out);
            case Command::write:
                content_.replace(request.offset, request.length, payload.substr(0, request.length));
                break;
            case Command::write_zeroes:
                content_.replace(request.offset, request.length, request.length, '\0');
                break;
            default:
                break;
        }
        put(out, [&](auto memory) { return put_success(memory, to); });
    }

    bool is_hole(std::uint64_t offset) const { return offset / kPage % 3 == 0; }
    static bool is_bad(std::uint64_t offset) { return offset >= kDiskSize / 8 * 7; }

    void serve_read(const Request& request, const ReplyTo& to, std::string& out) {
        const std::uint64_t end = request.offset + request.length;
        if (style_ == ReplyStyle::simple) {
            if (is_bad(end - 1)) {
                return put(out, [&](auto m) { return put_error(m, to, kErrorIo, "bad"); });
            }
            put(out, [&](auto m) { return put_read_head(m, to, 0, 0, Ending::done); });
            out += content_.substr(request.offset, request.length);
            return;
        }
        for (std::uint64_t at = request.offset; at < end;) {
            const std::uint64_t next = std::min(end, (at / kPage + 1) * kPage);
            const auto length = static_cast<std::uint32_t>(next - at);
            if (is_bad(at)) {
                return put(out, [&](auto m) {
                    return at % 2 == 0
                               ? put_error(m, to, kErrorIo, "bad block")
                               : put_error_at(m, to, kErrorIo, "bad block", at, Ending::done);
                });
            }
            const std::string_view data = std::string_view(content_).substr(at, length);
            if (is_hole(at) && data.find_first_not_of('\0') == std::string_view::npos) {
                put(out, [&](auto m) { return put_hole(m, to, at, length, Ending::more); });
            } else {
                put(out, [&](auto m) { return put_read_head(m, to, at, length, Ending::more); });
                out += data;
            }
            at = next;
        }
        put(out, [&](auto m) { return put_done(m, to); });
    }

    void serve_status(const Request& request, const ReplyTo& to, std::string& out) {
        std::vector<Extent> extents;
        for (std::uint64_t at = request.offset; at < kDiskSize;) {
            const std::uint64_t next = (at / kPage + 1) * kPage;
            extents.push_back({next - at, is_hole(at) ? 3u : 0u});
            at = next;
        }
        put(out, [&](auto m) {
            return put_status(m, to, kContext, extents,
                              {request.length, request.has(kCommandReqOne)}, Ending::done);
        });
    }

    ReplyStyle style_;
    std::string content_;
    RequestReader reader_;
};

class MemoryClient {
 public:
    explicit MemoryClient(bool structured)
        : reader_(structured ? kWithStatus : ReplyReader::Contract{}) {}

    struct Asked {
        Command command;
        std::uint64_t offset;
        std::uint32_t length;
        std::string buffer;
        std::vector<Extent> extents;
    };

    std::string ask(Command command, std::uint16_t flags, std::uint64_t offset,
                    std::uint32_t length, std::string_view payload = {}) {
        const std::uint64_t cookie = ++last_cookie_;
        Asked& asked = asked_[cookie];
        asked = {command, offset, length, {}, {}};
        Pending pending{command, offset, length};
        if (command == Command::read) {
            asked.buffer.resize(length, kUntouched);
            pending.buffer = reinterpret_cast<std::byte*>(asked.buffer.data());
        }
        pending.extents = &asked.extents;
        reader_.expect(cookie, pending);
        std::string out;
        append_request(out, command, flags, cookie, offset, length);
        return out += payload;
    }

    std::vector<ReplyReader::Finished> hear(std::string_view server, std::size_t piece) {
        std::vector<ReplyReader::Finished> finished;
        while (!server.empty() && !reader_.broken()) {
            receive(reader_, server, piece, finished);
        }
        EXPECT_EQ(reader_.reason(), "");
        return finished;
    }

    const Asked& asked(std::uint64_t cookie) const { return asked_.at(cookie); }
    std::size_t outstanding() const { return reader_.outstanding(); }

 private:
    ReplyReader reader_;
    std::map<std::uint64_t, Asked> asked_;
    std::uint64_t last_cookie_ = 0;
};

void check_read(const MemoryClient::Asked& asked, std::uint32_t error, const std::string& content) {
    const bool inside = asked.length != 0 && asked.offset + asked.length <= kDiskSize;
    const bool bad = inside && asked.offset + asked.length > kDiskSize / 8 * 7;
    EXPECT_EQ(error, !inside ? kErrorInvalid : bad ? kErrorIo : 0u);
    if (error == 0) {
        EXPECT_EQ(asked.buffer, content.substr(asked.offset, asked.length));
    }
}

void check_status(const MemoryClient::Asked& asked, std::uint32_t error) {
    EXPECT_EQ(error == 0, asked.length != 0 && asked.offset + asked.length <= kDiskSize);
    std::uint64_t at = asked.offset;
    for (const Extent& extent : asked.extents) {
        EXPECT_EQ(extent.flags, at / kPage % 3 == 0 ? 3u : 0u);
        at += extent.length;
    }
    EXPECT_EQ(error == 0, at > asked.offset);
}

void exchange_at_random(ReplyStyle style, std::size_t piece) {
    std::mt19937 random(static_cast<unsigned>(piece));
    MemoryServer server(style);
    MemoryClient client(style != ReplyStyle::simple);
    for (int round = 0; round < 60; ++round) {
        std::string asked = client.ask(Command::flush, 0, 0, 0);
        for (int i = 0; i < 8; ++i) {
            const std::uint32_t length = random() % 20'000;
            const std::uint64_t offset = random() % (kDiskSize + 1000);
            asked += client.ask(Command::read, kCommandFua, offset, length);
            if (style != ReplyStyle::simple) {
                asked += client.ask(Command::block_status, random() % 2 != 0 ? kCommandReqOne : 0,
                                    offset, length);
            }
        }
        std::string answers;
        std::string in;
        while (!asked.empty()) {
            in += pop(asked, piece);
            answers += server.serve(in);
        }
        EXPECT_EQ(in, "");
        for (const auto& [cookie, pending] : client.hear(answers, piece)) {
            const auto& what = client.asked(cookie);
            if (what.command == Command::read) {
                check_read(what, pending.error, server.content());
            } else if (what.command == Command::block_status) {
                check_status(what, pending.error);
            } else {
                EXPECT_EQ(pending.error, 0u);
            }
        }
        EXPECT_EQ(client.outstanding(), 0u);
    }
}

TEST(BothEnds, P105_ReadsBringTheBytesOfTheDiskInBothStyles) {
    for (const std::size_t piece : {13u, 4096u, 1'000'000u}) {
        exchange_at_random(ReplyStyle::simple, piece);
        exchange_at_random(ReplyStyle::structured, piece);
    }
}

TEST(BothEnds, P088_WhatIsWrittenIsReadBackAndRefusedWritesLeaveTheStreamInStep) {
    for (const ReplyStyle style : {ReplyStyle::simple, ReplyStyle::structured}) {
        MemoryServer server(style);
        MemoryClient client(style != ReplyStyle::simple);
        const std::string before = server.content();
        std::string asked = client.ask(Command::write, 0, kDiskSize - 5, 10, "0123456789") +
                            client.ask(Command::write, kCommandDf, 0, 10, "0123456789") +
                            client.ask(Command::read, 0, 100, 300);
        auto finished = client.hear(server.serve(asked), 7);
        ASSERT_EQ(finished.size(), 3u);
        EXPECT_EQ(finished[0].pending.error, kErrorNoSpace);
        EXPECT_EQ(finished[1].pending.error, kErrorInvalid);
        EXPECT_EQ(server.content(), before);

        asked = client.ask(Command::write, 0, 4090, 10, "abcdefghij") +
                client.ask(Command::write_zeroes, 0, 4092, 3) +
                client.ask(Command::read, 0, 4088, 14);
        finished = client.hear(server.serve(asked), 1000);
        ASSERT_EQ(finished.size(), 3u);
        EXPECT_EQ(client.asked(finished[2].cookie).buffer.substr(2, 10),
                  std::string("ab\0\0\0fghij", 10));
    }
}

TEST(BothEnds, P114_AWalkOverTheBlockStatusReachesTheEnd) {
    MemoryServer server(ReplyStyle::structured);
    MemoryClient client(true);
    std::uint64_t at = 0;
    int steps = 0;
    while (at < kDiskSize && steps < 10'000) {
        std::string asked = client.ask(Command::block_status, kCommandReqOne, at,
                                       static_cast<std::uint32_t>(kDiskSize - at));
        const auto finished = client.hear(server.serve(asked), 1000);
        ASSERT_EQ(finished.size(), 1u);
        ASSERT_EQ(client.asked(finished[0].cookie).extents.size(), 1u);
        at += client.asked(finished[0].cookie).extents[0].length;
        ++steps;
    }
    EXPECT_EQ(at, kDiskSize);
    EXPECT_LT(steps, 300);
}

}  // namespace
}  // namespace signpost::wire::test
