// SPDX-License-Identifier: BSD-3-Clause
//
// What the client may ask is settled once, when the transmission begins: a table of rules, one per
// command, with why it may not be used at all and the flags that it may have. A request is then
// judged in one order: may the command be, are its flags, its payload and its range good. The order
// is of use to the client: a write to a read-only disk is always EPERM, whatever else is wrong.
//
// The payload does not depend on the verdict. Where the headers are compact it is what WRITE has;
// with extended headers it is what has PAYLOAD_LEN, on any command. So a refused request leaves the
// stream in step.
#include "nbd-server/wire/request_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "nbd-server/wire/byte_reader.h"

namespace signpost::wire {

namespace {

constexpr std::size_t kMaxContexts = 64;
constexpr std::size_t kMinFilter = sizeof(Be64) + sizeof(Be32);
constexpr std::size_t kMaxFilter = sizeof(Be64) + kMaxContexts * sizeof(Be32);

}  // namespace

std::uint32_t nbd_error(Verdict verdict) {
    switch (verdict) {
        case Verdict::ok:
            return 0;
        case Verdict::read_only:
            return kErrorPerm;
        case Verdict::beyond_end_write:
            return kErrorNoSpace;
        case Verdict::chunks_too_large:
            return kErrorOverflow;
        default:
            return kErrorInvalid;
    }
}

std::string_view sentence(Verdict verdict) {
    switch (verdict) {
        case Verdict::ok:
            return "";
        case Verdict::read_only:
            return "the disk is read-only";
        case Verdict::unknown_command:
            return "the command is unknown";
        case Verdict::not_offered:
            return "the command is not among those that this disk offers";
        case Verdict::bad_flags:
            return "a flag of the request is unknown, not offered, or not for this command";
        case Verdict::empty:
            return "the length is 0";
        case Verdict::beyond_end:
        case Verdict::beyond_end_write:
            return "the request goes beyond the end of the disk";
        case Verdict::unaligned:
            return "offset or length is no multiple of the minimum block size";
        case Verdict::read_too_large:
        case Verdict::chunks_too_large:
            return "the read is longer than the maximum payload; read less at a time";
        case Verdict::payload_too_large:
            return "the payload is longer than the maximum; write less at a time";
        case Verdict::no_payload:
            return "a write with extended headers needs the flag PAYLOAD_LEN";
        case Verdict::unwanted_payload:
            return "the command takes no payload";
        case Verdict::no_contexts:
            return "no metadata context was selected for this disk";
        case Verdict::bad_filter:
            return "the list of metadata contexts is malformed, or has one that was not selected";
        case Verdict::bad_flush:
            return "a flush has neither offset nor length";
    }
    return "";
}

RequestReader::RequestReader(Contract contract)
    : contract_(std::move(contract)),
      magic_(contract_.extended_headers ? kExtendedRequestMagic : kRequestMagic),
      header_size_(contract_.extended_headers ? sizeof(ExtendedRequestHeader)
                                              : sizeof(RequestHeader)) {
    contract_.minimum_block = std::bit_floor(std::max(contract_.minimum_block, 1u));
    contract_.maximum_payload = std::min(contract_.maximum_payload, kMaxPayload);
    longest_plain_read_ = contract_.maximum_payload;
    contract_.structured_replies = contract_.structured_replies || contract_.extended_headers;
    contract_.contexts.resize(std::min(contract_.contexts.size(), kMaxContexts));
    set_rules();
}

void RequestReader::set_rules() {
    const auto offers = [this](std::uint16_t flag) { return (contract_.flags & flag) != 0; };
    const auto offered = [&](std::uint16_t flag) {
        return offers(flag) ? Verdict::ok : Verdict::not_offered;
    };
    // Read-only is the better answer to a writer than that its command is not offered.
    const auto written = [&](Verdict verdict) {
        return offers(kFlagReadOnly) ? Verdict::read_only : verdict;
    };
    const auto when = [&](bool holds, std::uint16_t flag) -> std::uint16_t {
        return holds ? flag : 0;
    };
    const std::uint16_t fua = when(offers(kFlagSendFua), kCommandFua);
    const auto allow = [&](Command command, Verdict verdict, std::uint16_t flags) {
        rules_[std::to_underlying(command)] = {verdict, static_cast<std::uint16_t>(flags | fua)};
    };
    const bool has_chunks = contract_.structured_replies;
    allow(Command::read, Verdict::ok, when(has_chunks && offers(kFlagSendDf), kCommandDf));
    allow(Command::write, written(Verdict::ok),
          when(contract_.extended_headers, kCommandPayloadLength));
    allow(Command::disconnect, Verdict::ok, 0);
    allow(Command::flush, offered(kFlagSendFlush), 0);
    allow(Command::trim, written(offered(kFlagSendTrim)), 0);
    allow(Command::cache, offered(kFlagSendCache), 0);
    allow(Command::write_zeroes, written(offered(kFlagSendWriteZeroes)),
          kCommandNoHole | when(offers(kFlagSendFastZero), kCommandFastZero));
    allow(Command::block_status,
          has_chunks && !contract_.contexts.empty() ? Verdict::ok : Verdict::no_contexts,
          kCommandReqOne | when(contract_.extended_headers && offers(kFlagBlockStatusPayload),
                                kCommandPayloadLength));
}

RequestReader::Next RequestReader::judge(std::uint32_t magic, Request& request) {
    if (!reason_.empty()) {
        return Next::broken;
    }
    if (magic != magic_) {
        return fail(
            fmt::format("a request begins with {:#010x} instead of {:#010x}", magic, magic_));
    }
    if (!take_payload_length(request)) {
        return fail(fmt::format("a request announces a payload of {} bytes", request.length));
    }
    request.verdict = verdict_of(request);
    if (request.has_filter()) {
        request.length = 0;
    }
    return Next::request;
}

bool RequestReader::take_payload_length(Request& request) {
    const bool has_payload = contract_.extended_headers ? request.has(kCommandPayloadLength)
                                                        : request.command == Command::write;
    if (!has_payload) {
        return true;
    }
    request.payload_length = static_cast<std::uint32_t>(std::min(request.length, kMaxDropped));
    return request.length <= kMaxDropped;
}

Verdict RequestReader::verdict_of(const Request& request) const {
    if (std::to_underlying(request.command) >= kCommands) {
        return Verdict::unknown_command;
    }
    if (request.command == Command::disconnect) {
        return Verdict::ok;  // whatever else it says: the client wants to go
    }
    const Rule& rule = rules_[std::to_underlying(request.command)];
    if (rule.verdict != Verdict::ok) {
        return rule.verdict;
    }
    const int strange = request.flags & ~rule.flags;
    if (strange != 0) {
        const bool only_payload = strange == kCommandPayloadLength && contract_.extended_headers;
        return only_payload ? Verdict::unwanted_payload : Verdict::bad_flags;
    }
    if (request.command == Command::flush) {
        return (request.offset | request.length) == 0 ? Verdict::ok : Verdict::bad_flush;
    }
    if (request.command == Command::block_status && request.has(kCommandPayloadLength)) {
        const bool fits = kMinFilter <= request.length && request.length <= kMaxFilter;
        return fits ? Verdict::ok : Verdict::bad_filter;
    }
    return verdict_of_range(request);
}

Verdict RequestReader::verdict_of_range(const Request& request) const {
    const bool is_write = request.command == Command::write;
    if (is_write && contract_.extended_headers && !request.has(kCommandPayloadLength)) {
        return Verdict::no_payload;
    }
    if (request.length == 0) {
        return Verdict::empty;
    }
    if (!is_inside(request)) {
        return is_write || request.command == Command::write_zeroes ? Verdict::beyond_end_write
                                                                    : Verdict::beyond_end;
    }
    if (!is_aligned(request)) {
        return Verdict::unaligned;
    }
    if (request.length <= contract_.maximum_payload) {
        return Verdict::ok;
    }
    if (request.command == Command::read) {
        return contract_.structured_replies ? Verdict::chunks_too_large : Verdict::read_too_large;
    }
    return is_write ? Verdict::payload_too_large : Verdict::ok;
}

void RequestReader::choose_contexts(Request& request, std::span<const std::byte> payload,
                                    std::uint64_t& chosen) const {
    chosen = 0;
    ByteReader reader(payload);
    request.length = reader.take_u64();
    request.verdict = verdict_of_range(request);
    bool good = reader.ok() && reader.left() != 0 && reader.left() % sizeof(Be32) == 0;
    while (good && reader.left() != 0) {
        const auto& ids = contract_.contexts;
        const auto found = std::find(ids.begin(), ids.end(), reader.take_u32());
        const std::uint64_t bit = std::uint64_t{1} << (found - ids.begin()) % kMaxContexts;
        good = found != ids.end() && (chosen & bit) == 0;
        chosen |= bit;
    }
    if (!good) {
        chosen = 0;
        request.verdict = Verdict::bad_filter;
    }
}

RequestReader::Next RequestReader::fail(std::string reason) {
    reason_ = std::move(reason);
    longest_plain_read_ = 0;
    return Next::broken;
}

}  // namespace signpost::wire
