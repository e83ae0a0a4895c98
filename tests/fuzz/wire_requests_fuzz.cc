// SPDX-License-Identifier: BSD-3-Clause
//
// What a hostile client may ask in the transmission phase. The input begins with the contract:
//   byte 0: bit 0 extended headers, bit 1 structured replies, bit 2 contexts, above: the minimum
//           block as a power of two
//   2 bytes: transmission flags;  2 bytes: the disk's size in minimum blocks;  1 byte: the maximum
//   payload in 4 KiB, 0 for the most
// and goes on with the requests. Whatever gets the verdict ok must be what the reader promises of
// it, and every request must have an answer that our own client understands.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nbd-server/wire/byte_reader.h"
#include "nbd-server/wire/reply_head.h"
#include "nbd-server/wire/request_reader.h"
#include "nbd-server/wire/text.h"

namespace {

using namespace signpost::wire;
using Next = RequestReader::Next;

void require(bool holds) {
    if (!holds) {
        std::abort();
    }
}

RequestReader::Contract read_contract(ByteReader& reader) {
    const std::uint16_t start = reader.take_u16();
    const std::uint32_t rest = reader.take_u32();
    RequestReader::Contract contract;
    const std::uint8_t bits = start >> 8;
    contract.extended_headers = (bits & 1) != 0;
    contract.structured_replies = (bits & 2) != 0;
    contract.minimum_block = 1u << (bits >> 3) % 17;
    contract.flags = static_cast<std::uint16_t>(start << 8 | rest >> 24);
    contract.size = std::uint64_t{rest >> 8 & 0xffff} * contract.minimum_block;
    if ((rest & 0xff) != 0) {
        contract.maximum_payload = (rest & 0xff) * 4096;
    }
    if ((bits & 4) != 0) {
        contract.contexts = {1, 2, 3};
    }
    return contract;
}

bool offers(const RequestReader::Contract& contract, std::uint16_t flag) {
    return (contract.flags & flag) != 0;
}

void check_flags(const RequestReader::Contract& contract, const Request& request) {
    const bool is_zeroes = request.command == Command::write_zeroes;
    require(!request.has(kCommandFua) || offers(contract, kFlagSendFua));
    require(!request.has(kCommandDf) ||
            (request.command == Command::read && offers(contract, kFlagSendDf)));
    require(!request.has(kCommandFastZero) || (is_zeroes && offers(contract, kFlagSendFastZero)));
    require(!request.has(kCommandNoHole) || is_zeroes);
    require(!request.has(kCommandReqOne) || request.command == Command::block_status);
    require(request.flags < 1 << 6);
}

void check_good(const RequestReader::Contract& contract, const Request& request) {
    if (request.command == Command::disconnect) {
        return;
    }
    check_flags(contract, request);
    if (request.command == Command::flush) {
        require(request.offset == 0 && request.length == 0);
        return;
    }
    require(request.length > 0 && request.length <= contract.size);
    require(request.offset <= contract.size - request.length);
    require(request.offset % contract.minimum_block == 0);
    require(request.length % contract.minimum_block == 0);
    const bool is_write = request.command == Command::write;
    if (is_write || request.command == Command::read) {
        require(request.length <= contract.maximum_payload);
    }
    require(is_write ? request.payload_length == request.length
                     : request.payload_length == 0 || request.has(kCommandPayloadLength));
    if (is_write || request.command == Command::trim || request.command == Command::write_zeroes) {
        require(!offers(contract, kFlagReadOnly));
    }
    require(request.command != Command::block_status || !contract.contexts.empty());
}

// Each kind of reply, into exactly its room.
void check_replies(const RequestReader::Contract& contract, const Request& request,
                   std::span<const std::byte> words) {
    const ReplyStyle style = contract.extended_headers     ? ReplyStyle::extended
                             : contract.structured_replies ? ReplyStyle::structured
                                                           : ReplyStyle::simple;
    const ReplyTo to{style, request.cookie, request.offset};
    const std::string_view text(reinterpret_cast<const char*>(words.data()), words.size());
    std::vector<std::byte> memory(kMaxErrorAt - kMaxString + request.cookie % 64);
    const std::size_t n = put_error(memory, to, kErrorIo, text);
    require(n != 0 && n <= memory.size());
    if (style != ReplyStyle::simple) {
        const std::size_t head = chunk_header_size(style) + 6;
        require(
            is_protocol_string({reinterpret_cast<const char*>(memory.data()) + head, n - head}));
    }
    std::vector<Extent> extents;
    for (ByteReader reader(words); reader.left() >= 8;) {
        extents.push_back({reader.take_u64() >> reader.left() % 64, request.flags & 3u});
    }
    if (style != ReplyStyle::simple && request.length != 0) {
        const StatusQuestion question{request.length, request.has(kCommandReqOne)};
        std::vector<std::byte> room(status_size(style, 1 + request.cookie % 5));
        const std::size_t size = put_status(room, to, 1, extents, question, Ending::done);
        require(size <= room.size() && (size == 0 || size >= status_size(style, 1)));
    }
}

void judge(const RequestReader& reader, Request request, std::span<const std::byte> payload) {
    if (request.has_filter()) {
        std::uint64_t chosen = 0;
        reader.choose_contexts(request, payload, chosen);
        require(chosen >> 3 == 0 && (chosen != 0 || request.verdict == Verdict::bad_filter));
    }
    require((nbd_error(request.verdict) == 0) == (request.verdict == Verdict::ok));
    if (request.verdict == Verdict::ok) {
        check_good(reader.contract(), request);
    }
    check_replies(reader.contract(), request, payload);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteReader input(std::as_bytes(std::span(data, size)));
    RequestReader reader(read_contract(input));
    auto left = input.take_bytes(input.left());
    Request request;
    for (;;) {
        const Next next = reader.next(left, request);
        require((next == Next::broken) == !reader.reason().empty());
        if (next != Next::request) {
            require(next == Next::broken || left.size() < reader.header_size());
            break;
        }
        require(request.consumed == reader.header_size());
        left = left.subspan(request.consumed);
        require(request.payload_length <= RequestReader::kMaxDropped);
        const auto payload = left.first(std::min<std::size_t>(left.size(), request.payload_length));
        if (payload.size() == request.payload_length) {
            judge(reader, request, payload);
        }
        left = left.subspan(payload.size());
    }
    return 0;
}
