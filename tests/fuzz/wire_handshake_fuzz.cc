// SPDX-License-Identifier: BSD-3-Clause
//
// What a hostile server may say in the handshake. The first byte chooses what the client wishes,
// the rest is the server's. Fed whole and byte by byte, with TLS said to be up when it is asked
// for: the outcome must be the same, and what ClientHandshake promises of it must hold.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "nbd-server/wire/client_handshake.h"
#include "nbd-server/wire/text.h"

namespace {

using signpost::wire::ClientHandshake;
using signpost::wire::ExportInfo;
using signpost::wire::TlsMode;
using Outcome = ClientHandshake::Outcome;

void require(bool holds) {
    if (!holds) {
        std::abort();
    }
}

// Stops at the STARTTLS answer's last byte, so that what follows counts as sent inside TLS.
void feed_in_pieces(ClientHandshake& handshake, std::span<const std::byte> server,
                    std::size_t piece) {
    while (!server.empty()) {
        std::size_t consumed = 0;
        handshake.feed(server.first(std::min(piece, server.size())), consumed);
        require(consumed <= std::min(piece, server.size()));
        server = server.subspan(consumed);
        (void)handshake.take_output();
        if (handshake.outcome() == Outcome::start_tls) {
            handshake.tls_started();
        } else if (handshake.outcome() != Outcome::pending) {
            return;
        }
    }
}

void check(const ClientHandshake& handshake) {
    const ExportInfo& info = handshake.info();
    const bool failed = handshake.outcome() != Outcome::pending &&
                        handshake.outcome() != Outcome::start_tls &&
                        handshake.outcome() != Outcome::ready;
    require(handshake.reason().empty() != failed);
    require(handshake.reason().find_first_of("\n\r\x1b") == std::string::npos);
    if (handshake.outcome() == Outcome::ready) {
        require(info.size >> 63 == 0);
        require(info.minimum_block != 0 && info.minimum_block <= 65536);
        require(info.minimum_block <= info.preferred_block);
        require(info.minimum_block <= info.maximum_payload);
        require(info.structured_replies || !info.allocation_context);
        require(signpost::wire::is_protocol_string(info.description));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const ClientHandshake::Wish wish{.export_name = "disk",
                                     .tls = static_cast<TlsMode>((data[0] & 3) % 3),
                                     .structured_replies = (data[0] & 4) != 0,
                                     .allocation_context = (data[0] & 8) != 0};
    const auto server = std::as_bytes(std::span(data + 1, size - 1));

    ClientHandshake whole(wish);
    feed_in_pieces(whole, server, wish.tls == TlsMode::off ? size : 5);
    check(whole);
    ClientHandshake byte_by_byte(wish);
    feed_in_pieces(byte_by_byte, server, 1);
    check(byte_by_byte);
    if (wish.tls == TlsMode::off) {
        require(whole.outcome() == byte_by_byte.outcome());
        require(whole.reason() == byte_by_byte.reason());
        require(whole.info().size == byte_by_byte.info().size);
        require(whole.info().flags == byte_by_byte.info().flags);
    }
    return 0;
}
