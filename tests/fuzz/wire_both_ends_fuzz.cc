// SPDX-License-Identifier: BSD-3-Clause
//
// Our client and our server, joined by a pipe that damages what goes through it. The input:
//   byte 0: bits 0-1 the client's TLS, 2-3 the server's, 4 structured replies, 5 the context,
//           6 a ticket, 7 a required one
//   byte 1: how the pipe cuts
//   3 bytes each, up to 64: a damage: bit 7 the direction, the other 15 bits after how many bytes
//           since the last one of the same direction, then what is XORed in; 0 drops the byte
// Without damage both must agree on everything, and every read bring its bytes. With it nothing
// may crash, and nothing be written outside of the buffers.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nbd-server/wire/byte_reader.h"
#include "nbd-server/wire/client_handshake.h"
#include "nbd-server/wire/reply_head.h"
#include "nbd-server/wire/reply_reader.h"
#include "nbd-server/wire/request_reader.h"
#include "nbd-server/wire/server_handshake.h"

namespace {

using namespace signpost::wire;
using Client = ClientHandshake::Outcome;
using Server = ServerHandshake::Outcome;

constexpr std::size_t kMaxDamages = 64;
constexpr std::uint32_t kDiskSize = 64 * 1024;

void require(bool holds) {
    if (!holds) {
        std::abort();
    }
}

// One direction.
class Pipe {
 public:
    void damage(std::size_t after, std::uint8_t with) { damages_.push_back({after, with}); }
    bool is_damaged() const { return done_ > 0; }
    bool empty() const { return bytes_.empty(); }

    void send(std::string_view bytes) {
        for (const char c : bytes) {
            if (done_ < damages_.size() && passed_++ == damages_[done_].after) {
                const std::uint8_t with = damages_[done_++].with;
                passed_ = 0;
                bytes_.append(with == 0 ? 0 : 1, static_cast<char>(c ^ with));
            } else {
                bytes_ += c;
            }
        }
    }

    std::span<const std::byte> front(std::size_t piece) const {
        return std::as_bytes(std::span(bytes_).first(std::min(piece, bytes_.size())));
    }
    void drop(std::size_t n) { bytes_.erase(0, n); }
    void clear() { bytes_.clear(); }

 private:
    struct Damage {
        std::size_t after;
        std::uint8_t with;
    };
    std::string bytes_;
    std::vector<Damage> damages_;
    std::size_t passed_ = 0;
    std::size_t done_ = 0;
};

struct World {
    std::size_t piece = 1;
    Pipe to_client;
    Pipe to_server;

    bool is_damaged() const { return to_client.is_damaged() || to_server.is_damaged(); }
};

ServerHandshake::Settings server_settings(std::uint8_t bits) {
    return {.tls = static_cast<ServerHandshake::Tls>((bits >> 2 & 3) % 3), .tickets = true};
}

ClientHandshake::Wish client_wish(std::uint8_t bits) {
    return {.export_name = "disk",
            .tls = static_cast<TlsMode>((bits & 3) % 3),
            .structured_replies = (bits & 16) != 0,
            .allocation_context = (bits & 32) != 0,
            .ticket = (bits & 64) != 0 ? "a ticket" : "",
            .ticket_required = (bits & 128) != 0};
}

void answer(ServerHandshake& server) {
    using Kind = ServerHandshake::Question::Kind;
    const auto& question = server.question();
    if (question.kind == Kind::list) {
        server.answer_list({}, true);
    } else if (question.kind == Kind::ticket) {
        server.accept_ticket();
    } else {
        server.answer_export(ExportFacts{.size = kDiskSize,
                                         .flags = 0x0ded,
                                         .description = "words",
                                         .contexts = {kBaseAllocation, kPlacement}});
    }
}

bool is_over(Client client, Server server) {
    return client == Client::broken || client == Client::refused || client == Client::unknown ||
           server == Server::ended || (client == Client::ready && server == Server::transmission);
}

// Until both have settled, or nothing moves any more.
void shake_hands(World& world, ClientHandshake& client, ServerHandshake& server) {
    for (bool moves = true; moves && !is_over(client.outcome(), server.outcome());) {
        world.to_client.send(server.take_output());
        world.to_server.send(client.take_output());
        std::size_t for_client = 0;
        std::size_t for_server = 0;
        client.feed(world.to_client.front(world.piece), for_client);
        server.feed(world.to_server.front(world.piece), for_server);
        world.to_client.drop(for_client);
        world.to_server.drop(for_server);
        moves = for_client != 0 || for_server != 0;
        if (server.outcome() == Server::ask) {
            answer(server);
            moves = true;
        }
        const bool is_quiet = world.to_client.empty() && world.to_server.empty();
        if (client.outcome() == Client::start_tls && server.outcome() == Server::start_tls &&
            is_quiet) {
            client.tls_started();
            server.tls_started();
            moves = true;
        }
    }
    world.to_client.send(server.take_output());
    world.to_server.send(client.take_output());
}

char content(std::uint64_t offset) {
    return static_cast<char>(offset * 7 + offset / 256);
}

std::string serve(const Request& request, const ServerHandshake::Settled& settled) {
    const ReplyTo to{settled.style, request.cookie, request.offset};
    std::byte memory[kMaxErrorAt];
    std::size_t n = 0;
    std::string data;
    if (request.verdict != Verdict::ok) {
        n = put_error(memory, to, nbd_error(request.verdict), sentence(request.verdict));
    } else if (request.command == Command::read) {
        const auto length = static_cast<std::uint32_t>(request.length);
        n = put_read_head(memory, to, request.offset, length, Ending::done);
        for (std::uint32_t i = 0; i < length; ++i) {
            data += content(request.offset + i);
        }
    } else if (request.command == Command::block_status) {
        const Extent extents[] = {{512, 0}, {kDiskSize, 3}};
        const StatusQuestion question{request.length, request.has(kCommandReqOne)};
        n = put_status(memory, to, settled.contexts.at(0).id, extents, question, Ending::done);
    } else if (request.command != Command::disconnect) {
        n = put_success(memory, to);
    }
    return std::string(reinterpret_cast<const char*>(memory), n) + data;
}

// Serves what arrives whole.
void run_server(World& world, const ServerHandshake::Settled& settled) {
    std::vector<std::uint32_t> ids;
    for (const auto& context : settled.contexts) {
        ids.push_back(context.id);
    }
    RequestReader reader({.extended_headers = settled.style == ReplyStyle::extended,
                          .structured_replies = settled.style != ReplyStyle::simple,
                          .size = settled.size,
                          .flags = settled.flags,
                          .contexts = ids});
    Request request;
    while (reader.next(world.to_server.front(~std::size_t{0}), request) ==
           RequestReader::Next::request) {
        world.to_server.drop(request.consumed);
        world.to_server.drop(request.payload_length);
        world.to_client.send(serve(request, settled));
    }
    require(reader.reason().empty() || world.is_damaged());
}

constexpr std::uint32_t kReads = 4;
constexpr std::uint32_t kReadLength = 1000;

void run_client(World& world, const ExportInfo& info, const ServerHandshake::Settled& settled) {
    ReplyReader reader({.structured_replies = info.structured_replies,
                        .has_allocation_context = info.allocation_context.has_value(),
                        .allocation_context = info.allocation_context.value_or(0)});
    const auto buffer = std::make_unique<char[]>(std::size_t{kReads} * kReadLength);
    std::vector<Extent> extents;
    std::string requests;
    for (std::uint64_t i = 0; i < kReads; ++i) {
        Pending pending{Command::read, i * 5000, kReadLength};
        pending.buffer = reinterpret_cast<std::byte*>(buffer.get()) + i * kReadLength;
        reader.expect(i, pending);
        append_request(requests, Command::read, 0, i, i * 5000, kReadLength);
    }
    reader.expect(100, {Command::flush});
    append_request(requests, Command::flush, 0, 100, 0, 0);
    Pending pending{Command::block_status, 0, 4096};
    pending.extents = &extents;
    if (info.allocation_context) {
        reader.expect(101, pending);
        append_request(requests, Command::block_status, 0, 101, 0, 4096);
    }
    world.to_server.send(requests);
    run_server(world, settled);

    std::vector<ReplyReader::Finished> finished;
    while (!world.to_client.empty() && !reader.broken()) {
        const auto target = reader.target();
        const auto bytes = world.to_client.front(std::min(world.piece, target.size()));
        std::memcpy(target.data(), bytes.data(), bytes.size());
        reader.received(bytes.size(), finished);
        world.to_client.drop(bytes.size());
    }
    if (world.is_damaged()) {
        return;
    }
    require(!reader.broken() && reader.outstanding() == 0);
    for (const auto& [cookie, done] : finished) {
        require(done.error == 0);
    }
    for (std::uint64_t i = 0; i < kReads * kReadLength; ++i) {
        require(buffer[i] == content(i / kReadLength * 5000 + i % kReadLength));
    }
}

void check_agreement(const ExportInfo& info, const ServerHandshake::Settled& settled) {
    require(info.size == settled.size && info.flags == settled.flags);
    require(info.structured_replies == (settled.style != ReplyStyle::simple));
    require(info.allocation_context.has_value() == !settled.contexts.empty());
    require(!info.allocation_context || *info.allocation_context == settled.contexts[0].id);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) {
        return 0;
    }
    World world;
    world.piece = data[1] + std::size_t{1};
    for (std::size_t i = 2; i + 3 <= std::min(size, 2 + 3 * kMaxDamages); i += 3) {
        const std::size_t after = (data[i] & 0x7fu) << 8 | data[i + 1];
        (data[i] >> 7 != 0 ? world.to_client : world.to_server).damage(after, data[i + 2]);
    }
    ClientHandshake client(client_wish(data[0]));
    ServerHandshake server(server_settings(data[0]));
    shake_hands(world, client, server);
    require(is_over(client.outcome(), server.outcome()) || world.is_damaged());
    if (client.outcome() != Client::ready || server.outcome() != Server::transmission) {
        require(world.is_damaged() || client.outcome() == Client::refused);
        return 0;
    }
    if (!world.is_damaged()) {
        check_agreement(client.info(), server.settled());
    }
    run_client(world, client.info(), server.settled());
    return 0;
}
