// SPDX-License-Identifier: BSD-3-Clause
//
// What a hostile client may say in the handshake. The input begins with the scene:
//   byte 0: bits 0-1 TLS (off, available, required), bit 2 tickets, bit 3 extended headers
//   byte 1: how the client's bytes are cut
//   byte 2: shutdown after four times so many of them; 255: never
// and goes on with the client's bytes. Fed cut and byte by byte, TLS said to be up when it is asked
// for, questions answered by what they ask: the outcome must be the same, every reply well formed,
// and what ServerHandshake promises must hold.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "nbd-server/wire/byte_reader.h"
#include "nbd-server/wire/server_handshake.h"
#include "nbd-server/wire/text.h"

namespace {

using namespace signpost::wire;
using Outcome = ServerHandshake::Outcome;
using Tls = ServerHandshake::Tls;

void require(bool holds) {
    if (!holds) {
        std::abort();
    }
}

struct Scene {
    ServerHandshake::Settings settings;
    std::size_t piece = 1;
    std::size_t shutdown_after = 0;
    std::span<const std::byte> client;
};

struct Run {
    explicit Run(const Scene& scene) : server(scene.settings), settings(scene.settings) {
        sent += server.take_output();
    }

    void feed(std::span<const std::byte> client, std::size_t piece);
    void play(const Scene& scene, std::size_t piece);
    void answer();

    ServerHandshake server;
    ServerHandshake::Settings settings;
    std::string sent;
};

// The first letter of what is asked says what the answer is.
void Run::answer() {
    using Kind = ServerHandshake::Question::Kind;
    const auto& question = server.question();
    require(settings.tls != Tls::required || server.in_tls());
    require(is_protocol_string(question.text));
    const char first = question.text.empty() ? '\0' : question.text[0];
    if (question.kind == Kind::list) {
        const ListEntry page[] = {{"disk", "words\n"}, {std::string_view("\xff", 1), ""}};
        server.answer_list(page, false);
        sent += server.take_output();
        server.answer_list({}, true);
    } else if (question.kind == Kind::ticket) {
        first == 'g' ? server.accept_ticket() : server.refuse_ticket(question.text);
    } else if (first == 'd' || first == '\0') {
        std::vector<std::string> contexts{kBaseAllocation, kPlacement};
        require(question.diffs.size() <= ServerHandshake::kMaxDiffs);
        contexts.insert(contexts.end(), question.diffs.begin(), question.diffs.end());
        server.answer_export(ExportFacts{.size = std::uint64_t{1} << question.text.size() % 64,
                                         .flags = 0xffff,
                                         .minimum_block = first == 'd' ? 1u : 512u,
                                         .demand_block_size = question.text.ends_with("!"),
                                         .name = "the disk",
                                         .description = question.text,
                                         .contexts = std::move(contexts)});
    } else {
        const auto code = first == 't' ? OptionReply::err_tls_reqd : OptionReply::err_unknown;
        server.answer_export(Refusal{code, question.text});
    }
}

void Run::feed(std::span<const std::byte> client, std::size_t piece) {
    while (!client.empty() && server.outcome() != Outcome::ended &&
           server.outcome() != Outcome::transmission) {
        const auto bytes = client.first(std::min(piece, client.size()));
        std::size_t consumed = 0;
        const Outcome outcome = server.feed(bytes, consumed);
        require(consumed == bytes.size() || outcome != Outcome::pending);
        client = client.subspan(consumed);
        sent += server.take_output();
        if (outcome == Outcome::ask) {
            answer();
        } else if (outcome == Outcome::start_tls) {
            server.tls_started();
        }
        sent += server.take_output();
    }
}

void Run::play(const Scene& scene, std::size_t piece) {
    const std::size_t before = std::min(scene.shutdown_after, scene.client.size());
    feed(scene.client.first(before), piece);
    if (before < scene.client.size()) {
        server.shutting_down();
        sent += server.take_output();
        feed(scene.client.subspan(before), piece);
    }
}

void check_reply(ByteReader& reader) {
    const auto header = reader.take<OptionReplyHeader>();
    const std::string_view data = reader.take_text(header.length);
    const auto type = static_cast<OptionReply>(std::uint32_t{header.type});
    require(reader.ok() && header.magic == kOptionReplyMagic);
    require(!is_error(type) || is_protocol_string(data));
    require(type != OptionReply::ack || data.empty());
}

// The greeting, option replies, and at most the answer to EXPORT_NAME.
void check(const Run& run) {
    ByteReader reader(run.sent);
    reader.take_bytes(18);
    while (ByteReader(reader).take_u64() == kOptionReplyMagic) {
        check_reply(reader);
    }
    const bool by_name = reader.left() == 10 || reader.left() == 10 + kExportNamePadding;
    const Outcome outcome = run.server.outcome();
    require(reader.left() == 0 || (by_name && outcome == Outcome::transmission));
    require(run.server.reason().empty() == (outcome != Outcome::ended));
    require(run.server.reason().find_first_of("\n\r\x1b") == std::string::npos);
    const auto& settled = run.server.settled();
    if (outcome == Outcome::transmission) {
        require(settled.size >> 63 == 0 && settled.size % settled.minimum_block == 0);
        require(settled.preferred_block <= settled.maximum_payload);
        require((settled.flags & kFlagHasFlags) != 0);
        require(settled.contexts.empty() || settled.style != ReplyStyle::simple);
        require(run.settings.tls != Tls::required || run.server.in_tls());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 3) {
        return 0;
    }
    const Scene scene{.settings = {.tls = static_cast<Tls>((data[0] & 3) % 3),
                                   .tickets = (data[0] & 4) != 0,
                                   .extended_headers = (data[0] & 8) != 0},
                      .piece = data[1] + std::size_t{1},
                      .shutdown_after = data[2] == 255 ? size : data[2] * std::size_t{4},
                      .client = std::as_bytes(std::span(data + 3, size - 3))};
    Run byte_by_byte(scene);
    byte_by_byte.play(scene, 1);
    check(byte_by_byte);
    Run cut(scene);
    cut.play(scene, scene.piece);
    check(cut);
    if (scene.settings.tls == Tls::off) {  // else what is cut behind STARTTLS is smuggled in
        require(byte_by_byte.sent == cut.sent);
        require(byte_by_byte.server.outcome() == cut.server.outcome());
        require(byte_by_byte.server.reason() == cut.server.reason());
        require(byte_by_byte.server.settled().contexts == cut.server.settled().contexts);
    }
    return 0;
}
