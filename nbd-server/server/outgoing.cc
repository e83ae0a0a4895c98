// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/server/outgoing.h"

#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace signpost {

namespace {

constexpr std::size_t kMaxGathered = 64;          // pieces in one call
constexpr std::size_t kCopied = 64 * 1024;        // at a time, where the kernel cannot move
constexpr std::uint64_t kTurn = 8 * 1024 * 1024;  // at a time, while other clients wait
alignas(4096) constexpr std::array<std::byte, 16 * 1024> kZeroes{};

}  // namespace

bool Outgoing::is_held(Kind kind) {
    return kind != Kind::file && kind != Kind::zeroes;
}

Outgoing::Piece& Outgoing::add(Kind kind, std::uint64_t length) {
    Piece& piece = pieces_.emplace_back();
    piece.kind = kind;
    piece.length = length;
    held_ += is_held(kind) ? length : 0;
    return piece;
}

void Outgoing::text(std::span<const std::byte> bytes) {
    if (bytes.size() > kMaxProof) {
        auto copy = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
        std::memcpy(copy.get(), bytes.data(), bytes.size());
        memory(std::move(copy), 0, bytes.size(), {});
        return;
    }
    if (!pieces_.empty() && pieces_.back().kind == Kind::text) {
        Piece& last = pieces_.back();
        const std::size_t end = last.begin + last.length;
        if (bytes.size() <= last.text.size() - end) {
            std::memcpy(last.text.data() + end, bytes.data(), bytes.size());
            last.length += bytes.size();
            held_ += bytes.size();
            return;
        }
    }
    if (!bytes.empty()) {
        std::memcpy(add(Kind::text, bytes.size()).text.data(), bytes.data(), bytes.size());
    }
}

void Outgoing::memory(std::unique_ptr<std::byte[]> bytes, std::size_t begin, std::size_t length,
                      MemoryBudget::Share share) {
    if (length == 0) {
        return;
    }
    Piece& piece = add(Kind::memory, length);
    piece.bytes = std::move(bytes);
    piece.begin = begin;
    piece.share = std::move(share);
}

void Outgoing::zeroes(std::uint64_t length) {
    if (length > 0) {
        add(Kind::zeroes, length);
    }
}

void Outgoing::part(ReadPart part, MemoryBudget::Share share) {
    switch (part.place) {
        case ReadPart::Place::memory:
            memory(std::move(part.bytes), 0, part.length, std::move(share));
            break;
        case ReadPart::Place::lent: {
            Piece& piece = add(Kind::lent, part.length);
            piece.loan = std::move(part.loan);
            piece.share = std::move(share);
            break;
        }
        case ReadPart::Place::hole:
            zeroes(part.length);
            break;
        case ReadPart::Place::file: {
            Piece& piece = add(Kind::file, part.length);
            piece.file = part.file;
            piece.begin = part.at;
            piece.loan = std::move(part.loan);
            break;
        }
        case ReadPart::Place::pipe: {
            memory(std::move(part.bytes), 0, part.head, {});
            Piece& piece = add(Kind::pipe, part.length - part.head);
            piece.pipe = std::move(part.pipe);
            piece.share = std::move(share);
            break;
        }
    }
}

void Outgoing::proof(const Moved& moved) {
    add(Kind::proof, 0).moved = moved;
}

void Outgoing::drop() {
    pieces_.clear();
    held_ = 0;
}

Outgoing::Sent Outgoing::send(ClientStream& stream) {
    const std::uint64_t until = sent_ + kTurn;
    while (!pieces_.empty()) {
        if (sent_ >= until) {
            return Sent::blocked;
        }
        Piece& front = pieces_.front();
        Step step = Step::moved;
        switch (front.kind) {
            case Kind::proof:
                step = settle(front) ? Step::moved : Step::broken;
                break;
            case Kind::file:
                step = stream.is_plain() ? send_file(stream, front) : copy_out(front);
                break;
            case Kind::pipe:
                step = stream.is_plain() ? send_pipe(stream, front) : copy_out(front);
                break;
            default:
                step = send_gathered(stream);
        }
        if (step == Step::blocked) {
            // Else a packet that was begun would wait a fifth of a second to be filled, and we for
            // it.
            stream.push();
            return Sent::blocked;
        }
        if (step == Step::broken) {
            return Sent::broken;
        }
    }
    return Sent::all;
}

// A proof that follows nothing but memory can be decided now: what it is about has left already.
Outgoing::Step Outgoing::send_gathered(ClientStream& stream) {
    std::array<iovec, kMaxGathered> parts;
    std::size_t count = 0;
    bool more = false;
    for (Piece& piece : pieces_) {
        if (piece.kind == Kind::file || piece.kind == Kind::pipe || count == parts.size()) {
            more = true;
            break;
        }
        if (piece.kind == Kind::proof && !settle(piece)) {
            return Step::broken;
        }
        void* from = piece.text.data() + piece.begin;
        std::size_t length = piece.length;
        if (piece.kind == Kind::memory) {
            from = piece.bytes.get() + piece.begin;
        } else if (piece.kind == Kind::lent) {
            from = const_cast<std::byte*>(piece.loan.get()) + piece.begin;
        } else if (piece.kind == Kind::zeroes) {
            from = const_cast<std::byte*>(kZeroes.data());
            length = std::min<std::size_t>(length, kZeroes.size());
        }
        parts[count++] = {from, length};
        if (length < piece.length) {
            more = true;
            break;
        }
    }
    const ssize_t sent = stream.send({parts.data(), count}, more);
    if (sent < 0) {
        return errno == EAGAIN ? Step::blocked : Step::broken;
    }
    consume(static_cast<std::uint64_t>(sent));
    return Step::moved;
}

Outgoing::Step Outgoing::send_file(ClientStream& stream, Piece& piece) {
    auto at = static_cast<off_t>(piece.begin);
    const ssize_t sent =
        ::sendfile(stream.socket(), piece.file, &at, std::min(piece.length, kTurn));
    if (sent > 0) {
        consume(static_cast<std::uint64_t>(sent));
        return Step::moved;
    }
    if (sent < 0 && errno == EINTR) {
        return Step::moved;
    }
    if (sent < 0 && errno == EAGAIN) {
        return Step::blocked;
    }
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ETIMEDOUT)) {
        return Step::broken;
    }
    if (sent < 0 && (errno == EINVAL || errno == ENOSYS)) {
        return copy_out(piece);  // a file system from which the kernel cannot move
    }
    spoil(piece);
    return Step::moved;
}

Outgoing::Step Outgoing::send_pipe(ClientStream& stream, Piece& piece) {
    const ssize_t sent = piece.pipe.drain_to(stream.socket(), piece.length, follows());
    if (sent <= 0) {
        return sent < 0 && errno == EAGAIN ? Step::blocked : Step::broken;
    }
    consume(static_cast<std::uint64_t>(sent));
    return Step::moved;
}

// The front piece becomes a piece of memory, and what is left of it follows.
Outgoing::Step Outgoing::copy_out(Piece& piece) {
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(piece.length, kCopied));
    auto bytes = std::make_unique_for_overwrite<std::byte[]>(length);
    const ssize_t got = piece.kind == Kind::pipe ? piece.pipe.read_into(bytes.get(), length)
                                                 : ::pread(piece.file, bytes.get(), length,
                                                           static_cast<off_t>(piece.begin));
    if (got <= 0) {
        if (piece.kind == Kind::pipe) {
            return Step::broken;
        }
        spoil(piece);
        return Step::moved;
    }
    const auto copied = static_cast<std::uint64_t>(got);
    held_ += is_held(piece.kind) ? 0 : copied;
    piece.begin += copied;
    piece.length -= copied;
    if (piece.length == 0) {
        piece.kind = Kind::memory;
        piece.pipe = {};
        piece.begin = 0;
        piece.length = copied;
        piece.bytes = std::move(bytes);
        return Step::moved;
    }
    Piece& first = pieces_.emplace_front();
    first.kind = Kind::memory;
    first.length = copied;
    first.bytes = std::move(bytes);
    return Step::moved;
}

// The size of what follows is promised to the client already, so something has to be sent; the
// proof behind it says that it is void.
void Outgoing::spoil(Piece& piece) {
    piece.kind = Kind::zeroes;
    for (Piece& later : pieces_) {
        if (later.kind == Kind::proof) {
            later.could_read = false;
            return;
        }
    }
}

bool Outgoing::settle(Piece& proof) {
    const auto answer = prover_.prove(proof.moved, proof.could_read, proof.text);
    proof.kind = Kind::text;
    proof.begin = 0;
    proof.length = answer.size;
    held_ += answer.size;
    if (!answer.end_stream && answer.size == 0 && &proof == &pieces_.front()) {
        pieces_.pop_front();
    }
    return !answer.end_stream;
}

void Outgoing::consume(std::uint64_t n) {
    sent_ += n;
    while (!pieces_.empty()) {
        Piece& front = pieces_.front();
        const std::uint64_t taken = std::min(n, front.length);
        front.begin += front.kind == Kind::zeroes ? 0 : taken;
        front.length -= taken;
        held_ -= is_held(front.kind) ? taken : 0;
        n -= taken;
        if (front.length > 0 || front.kind == Kind::proof) {
            return;
        }
        pieces_.pop_front();
    }
}

}  // namespace signpost
