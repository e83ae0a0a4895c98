// SPDX-License-Identifier: BSD-3-Clause
//
// The way back: what a disk has answered, as replies in the style that was negotiated.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "nbd-server/server/session.h"

namespace signpost {

namespace {

constexpr std::size_t kErrorRoom = wire::kMaxError - wire::kMaxString + 200;
constexpr std::uint64_t kSmall = 16 * 1024;
constexpr std::size_t kMaxExtents = 4096;  // in a reply; a client that wants more asks again

std::string_view sentence_of(int error) {
    switch (error) {
        case ENOSPC:
            return "no space is left for the image";
        case EPERM:
            return "the disk cannot be written to, as the server says that has it: it is "
                   "read-only, another client writes to it, or it is written elsewhere";
        case EBUSY:
            return "another client writes to the disk; signpost where shows who";
        case ESTALE:
            return "the disk is written elsewhere since; what was flushed here is kept in this "
                   "server's copy: open the disk anew";
        case ENOTSUP:
            return "this would not be fast";
        case ESHUTDOWN:
            return "the server stops";
        case EINVAL:
            return "the request is not valid for this disk";
        default:
            return "the disk could not be read or written; the server's log says why";
    }
}

// Bytes of memory, the kernel's too, that a part holds until the client has taken it.
std::uint64_t in_memory(const ReadPart& part) {
    const bool none = part.place == ReadPart::Place::file || part.place == ReadPart::Place::hole;
    return none ? 0 : part.length;
}

}  // namespace

// A reply of chunks can say at its end that it is void; a simple one cannot, so the connection ends
// rather than let the client take the bytes for good.
Outgoing::Prover::Proof Session::prove(const Outgoing::Moved& moved, bool could_read,
                                       std::span<std::byte> to) {
    const ReadRange range{moved.offset, moved.length};
    const bool good = could_read && disk_->content_holds({&range, 1});
    if (style_ == wire::ReplyStyle::simple) {
        return {.end_stream = !good, .size = 0};
    }
    const wire::ReplyTo request{style_, moved.cookie, moved.offset};
    if (good) {
        return {.end_stream = false, .size = wire::put_done(to, request)};
    }
    constexpr std::string_view kVoid = "the image has changed";
    return {.end_stream = false, .size = wire::put_error(to, request, wire::kErrorIo, kVoid)};
}

void Session::ended(Operation& operation) {
    const std::unique_ptr<Operation> held(&operation);
    home_->counts().count(operation.request.op, route_, home_->loop().now() - operation.began,
                          operation.error == 0);
    --operations_;
    bytes_under_way_ -= operation.request.op == Op::read || operation.request.op == Op::write
                            ? operation.request.length
                            : 0;
    if (phase_ == Phase::closed) {
        forget();
        return;
    }
    reply(operation);
    flush_soon();
    expect_soon(operation.asked.length);
}

void Session::reply(Operation& operation) {
    const wire::Request& asked = operation.asked;
    if (operation.error != 0) {
        const bool fast_zero = asked.has(wire::kCommandFastZero);
        reply_error(asked, wire::wire_error(operation.error, fast_zero),
                    sentence_of(operation.error));
        return;
    }
    switch (asked.command) {
        case wire::Command::read:
            reply_read(operation);
            break;
        case wire::Command::block_status:
            reply_status(operation);
            break;
        case wire::Command::write:
            bytes_written_ += asked.length;
            reply_success(asked);
            break;
        default:
            reply_success(asked);
    }
}

void Session::reply_read(Operation& operation) {
    const wire::Request& asked = operation.asked;
    if (operation.request.sink != nullptr) {
        reply_parts(operation);
        return;
    }
    const std::size_t head = wire::read_head_size(style_);
    const std::size_t begin = wire::kMaxReadHead - head;
    const auto length = static_cast<std::uint32_t>(asked.length);
    wire::put_read_head({operation.memory.get() + begin, head}, reply_to(asked), asked.offset,
                        length, wire::Ending::done);
    out_.memory(std::move(operation.memory), begin, head + length, std::move(operation.share));
}

// The parts of a read that has to be sent in one chunk were kept until all were there.
void Session::reply_parts(Operation& operation) {
    const wire::Request& asked = operation.asked;
    std::array<std::byte, wire::kMaxReadHead> head;
    if (!in_one_chunk(asked)) {
        out_.text(std::span(head).first(wire::put_done(head, reply_to(asked))));
        return;
    }
    std::ranges::sort(operation.parts, {}, &ReadPart::offset);
    out_.text(std::span(head).first(wire::put_read_head(head, reply_to(asked), asked.offset,
                                                        static_cast<std::uint32_t>(asked.length),
                                                        wire::Ending::done)));
    for (ReadPart& part : operation.parts) {
        auto share = operation.share.split(in_memory(part));
        out_.part(std::move(part), std::move(share));
    }
}

void Session::take(Request& request, ReadPart part) {
    auto& operation = *static_cast<Operation*>(request.context);
    if (phase_ == Phase::closed) {
        return;
    }
    if (in_one_chunk(operation.asked)) {
        operation.parts.push_back(std::move(part));
        return;
    }
    auto share = operation.share.split(in_memory(part));
    send_chunk(operation.asked, std::move(part), std::move(share));
    flush_soon();
}

void Session::send_chunk(const wire::Request& request, ReadPart part, MemoryBudget::Share share) {
    std::array<std::byte, std::max(wire::kMaxReadHead, wire::kMaxHole)> head;
    const auto ending = wire::Ending::more;
    if (part.place == ReadPart::Place::hole) {
        out_.text(std::span(head).first(
            wire::put_hole(head, reply_to(request), part.offset, part.length, ending)));
        return;
    }
    out_.text(std::span(head).first(
        wire::put_read_head(head, reply_to(request), part.offset, part.length, ending)));
    out_.part(std::move(part), std::move(share));
}

// A client that has nothing under way after a small reply is likely to ask for the next at once.
void Session::expect_soon(std::uint64_t length) {
    if (length <= kSmall && operations_ == 0) {
        home_->loop().expect_soon();
    }
}

// Bytes that the client has not taken at once.
void Session::keep(std::span<const std::byte> bytes) {
    if (bytes.empty()) {
        return;
    }
    auto copy = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    out_.memory(std::move(copy), 0, bytes.size(), service_.memory().charge(bytes.size()));
}

std::uint32_t Session::placement() const {
    return disk_->traits().relayed ? wire::kPlacementRelayed : wire::kPlacementLocal;
}

void Session::reply_status(Operation& operation) {
    const auto chosen = [&](std::size_t i) { return ((operation.chosen >> i) & 1) != 0; };
    std::size_t left = 0;
    for (std::size_t i = 0; i < contexts_.size(); ++i) {
        left += chosen(i) ? 1 : 0;
    }
    if (operation.extents.empty() || left == 0) {
        reply_error(operation.asked, wire::kErrorIo, sentence_of(EIO));
        return;
    }
    for (std::size_t i = 0; i < contexts_.size(); ++i) {
        if (chosen(i)) {
            send_status(operation, contexts_[i],
                        --left == 0 ? wire::Ending::done : wire::Ending::more);
        }
    }
}

void Session::send_status(const Operation& operation, const wire::ServerHandshake::Context& context,
                          wire::Ending ending) {
    const wire::Request& asked = operation.asked;
    const Extent everywhere{asked.length, placement()};
    std::span<const Extent> extents(&everywhere, 1);
    if (context.name == wire::kBaseAllocation) {
        extents = operation.extents;
    } else if (const auto found = operation.differences.find(context.name);
               found != operation.differences.end()) {
        extents = found->second;
    }
    const auto room = wire::status_size(style_, std::min(extents.size(), kMaxExtents));
    auto memory = std::make_unique_for_overwrite<std::byte[]>(room);
    const wire::StatusQuestion question{asked.length, asked.has(wire::kCommandReqOne)};
    const std::size_t size = wire::put_status({memory.get(), room}, reply_to(asked), context.id,
                                              extents, question, ending);
    out_.memory(std::move(memory), 0, size, service_.memory().charge(room));
}

void Session::reply_error(const wire::Request& request, std::uint32_t error,
                          std::string_view sentence) {
    std::array<std::byte, kErrorRoom> room;
    out_.text(std::span(room).first(wire::put_error(room, reply_to(request), error, sentence)));
}

void Session::reply_success(const wire::Request& request) {
    std::array<std::byte, wire::kMaxSuccess> room;
    out_.text(std::span(room).first(wire::put_success(room, reply_to(request))));
}

}  // namespace signpost
