// SPDX-License-Identifier: BSD-3-Clause
//
// RequestReader reads the client's requests in the transmission phase, as the server, and judges
// them: each comes out with a verdict, which is `ok` or the reason for the error to answer at once.
// So what gets past it is inside the disk, aligned, of a known command with flags that were
// advertised to this connection, and nobody behind it checks again. Pure: bytes in, values out; no
// socket, no clock, no log, no allocation. Source: doc/proto.md, "Request message", "Request
// types", "Error values", and its extension-ext-header branch.
//
// It holds no bytes: the caller keeps what it received and has not consumed. A request is its
// header; `payload_length` bytes of payload follow it in the stream, and are the caller's to take
// (or, when the verdict is not ok, to drop) before the next header is read.
//
//     while (reader.next(received, request) == RequestReader::Next::request) {
//         received = received.subspan(request.consumed);
//         ... take request.payload_length bytes, serve or refuse ...
//     }
//
// Lifetime: one per connection. Threads: one at a time.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/wire/protocol.h"

namespace signpost::wire {

// Why a request is refused; nbd_error() and sentence() say it to the client.
enum class Verdict : std::uint8_t {
    ok,
    read_only,         // EPERM
    unknown_command,   // EINVAL, as all below that do not say otherwise
    not_offered,       // a command whose flag was not advertised
    bad_flags,         // unknown, not for this command, or not advertised
    empty,             // a length of 0
    beyond_end,        // of the disk
    beyond_end_write,  // the same of a write: ENOSPC
    unaligned,         // to the minimum block
    read_too_large,    // more than the maximum payload, for a simple reply
    chunks_too_large,  // the same, for structured replies or extended headers: EOVERFLOW
    payload_too_large,
    no_payload,        // WRITE with extended headers, without PAYLOAD_LEN
    unwanted_payload,  // PAYLOAD_LEN on a command that takes none
    no_contexts,       // BLOCK_STATUS, and no context was selected
    bad_filter,        // the payload of BLOCK_STATUS is malformed
    bad_flush,         // offset or length is not 0
};

std::uint32_t nbd_error(Verdict verdict);    // kError*; 0 for ok
std::string_view sentence(Verdict verdict);  // in plain words, for an error chunk; static

struct Request {
    Command command = Command::read;  // may be any value when the verdict is unknown_command
    std::uint16_t flags = 0;          // kCommand*
    Verdict verdict = Verdict::ok;
    std::uint32_t consumed = 0;        // bytes of the header
    std::uint32_t payload_length = 0;  // bytes that follow the header
    std::uint64_t cookie = 0;          // opaque
    std::uint64_t offset = 0;
    std::uint64_t length = 0;  // of the effect; 0 until choose_contexts() when has_filter()

    bool has(std::uint16_t flag) const { return (flags & flag) != 0; }

    // BLOCK_STATUS whose payload names some of the contexts: for choose_contexts().
    bool has_filter() const {
        return command == Command::block_status && has(kCommandPayloadLength) &&
               verdict == Verdict::ok;
    }
};

class RequestReader {
 public:
    // What was negotiated.
    struct Contract {
        bool extended_headers = false;
        bool structured_replies = false;              // or extended headers
        std::uint64_t size = 0;                       // of the disk; below 2^63
        std::uint16_t flags = 0;                      // kFlag*, as they were sent to this client
        std::uint32_t minimum_block = 1;              // a power of two
        std::uint32_t maximum_payload = kMaxPayload;  // more than kMaxPayload counts as that
        std::vector<std::uint32_t> contexts{};        // ids that the client selected; at most 64
    };

    enum class Next {
        need_more,  // fewer than header_size() bytes
        request,
        broken,  // drop the connection; for good
    };

    // The payload of a refused request is dropped, when it is not longer than this; a client that
    // announces more is cut off.
    static constexpr std::uint64_t kMaxDropped = 2 * std::uint64_t{kMaxPayload};

    explicit RequestReader(Contract contract);

    // Reads the header at the front of BYTES. DISC comes out like any request, verdict ok.
    Next next(std::span<const std::byte> bytes, Request& request) {
        if (bytes.size() < header_size_) {
            return Next::need_more;
        }
        const std::uint32_t magic = contract_.extended_headers
                                        ? decode<ExtendedRequestHeader>(bytes.data(), request)
                                        : decode<RequestHeader>(bytes.data(), request);
        if (magic == magic_ && is_plain_read(request)) {
            return Next::request;
        }
        return judge(magic, request);
    }

    std::size_t header_size() const { return header_size_; }

    // Reads the payload of a request that has_filter(): sets its length and verdict, and in
    // `chosen` bit i for contract.contexts[i].
    void choose_contexts(Request& request, std::span<const std::byte> payload,
                         std::uint64_t& chosen) const;

    const Contract& contract() const { return contract_; }
    const std::string& reason() const { return reason_; }  // after broken: why, in one line

 private:
    static constexpr std::size_t kCommands = 8;

    // What a command may be, in this session.
    struct Rule {
        Verdict verdict = Verdict::ok;  // why it may not be at all
        std::uint16_t flags = 0;        // that it may have
    };

    template <class Header>
    static std::uint32_t decode(const std::byte* bytes, Request& request) {
        Header header;
        std::memcpy(static_cast<void*>(&header), bytes, sizeof header);
        request.command = static_cast<Command>(std::uint16_t{header.command});
        request.flags = header.flags;
        request.verdict = Verdict::ok;
        request.consumed = sizeof header;
        request.payload_length = 0;
        request.cookie = header.cookie;
        request.offset = header.offset;
        request.length = header.length;
        return header.magic;
    }

    bool is_inside(const Request& request) const {
        return request.offset <= contract_.size &&
               request.length <= contract_.size - request.offset;
    }
    bool is_aligned(const Request& request) const {
        return ((request.offset | request.length) & (contract_.minimum_block - 1)) == 0;
    }

    // The common case, and nothing is left to judge. (0 - 1 is not below the limit either.)
    bool is_plain_read(const Request& request) const {
        return request.command == Command::read && (request.flags & ~rules_[0].flags) == 0 &&
               request.length - 1 < longest_plain_read_ && is_inside(request) &&
               is_aligned(request);
    }

    void set_rules();

    Next judge(std::uint32_t magic, Request& request);
    bool take_payload_length(Request& request);
    Verdict verdict_of(const Request& request) const;
    Verdict verdict_of_range(const Request& request) const;
    Next fail(std::string reason);

    Contract contract_;
    std::uint32_t magic_;
    std::size_t header_size_;
    std::uint64_t longest_plain_read_;  // 0 when broken
    std::array<Rule, kCommands> rules_;
    std::string reason_;
};

}  // namespace signpost::wire
