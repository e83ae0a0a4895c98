// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/relay_core.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

using wire::Command;

// Pieces that any server takes: proto.md has clients assume 32 MiB of payload, and lengths are 32
// bits.
constexpr std::uint64_t kPayloadPiece = 32 * 1024 * 1024;
constexpr std::uint64_t kRangePiece = 1024 * 1024 * 1024;
// What is delivered part by part travels in pieces of this size: a server that dies half-way
// through one costs no more, and a pipe holds one even when it comes in small fragments.
constexpr std::uint64_t kSinkPiece = 256 * 1024;
constexpr std::size_t kSpares = 256;

Command command_of(Op op) {
    switch (op) {
        case Op::read:
            return Command::read;
        case Op::write:
            return Command::write;
        case Op::flush:
            return Command::flush;
        case Op::trim:
            return Command::trim;
        case Op::write_zeroes:
            return Command::write_zeroes;
        case Op::cache:
            return Command::cache;
        case Op::extents:
            return Command::block_status;
    }
    return Command::read;
}

std::uint16_t wire_flags(const Request& request) {
    const auto when = [&](std::uint8_t asked, std::uint16_t flag) {
        return (request.flags & asked) != 0 ? flag : std::uint16_t{0};
    };
    return when(kRequestNoHole, wire::kCommandNoHole) |
           when(kRequestFastZero, wire::kCommandFastZero) |
           when(kRequestOneExtent, wire::kCommandReqOne);
}

bool changes(Command command) {
    return command == Command::write || command == Command::trim ||
           command == Command::write_zeroes;
}

std::uint64_t piece_limit(Command command, const Request& request) {
    if (request.sink != nullptr) {
        return kSinkPiece;
    }
    const bool carries_payload = command == Command::read || command == Command::write;
    // Zeroes may have to be sent as data, where a server has no WRITE_ZEROES.
    return carries_payload || command == Command::write_zeroes ? kPayloadPiece : kRangePiece;
}

}  // namespace

bool RelayCore::Piece::changes_content() const {
    return changes(command);
}

std::string RelayCore::Route::name() const {
    return upstream.location.server.empty() ? "its helper" : upstream.location.server;
}

RelayCore::RelayCore(RelayServices& services, RelayPlan plan)
    : services_(services),
      plan_(std::move(plan)),
      limits_(services.settings.limits),
      ahead_(plan_.traits.size, services.ahead),
      heard_news_(services.news()) {
    for (const Upstream& upstream : plan_.upstreams) {
        adopt(upstream);
    }
}

RelayCore::~RelayCore() = default;

void RelayCore::accept(Request& request) {
    if (services_.loop.is_here()) {
        inbox_here_.push_back(&request);
    } else {
        const std::lock_guard lock(inbox_mutex_);
        inbox_.push_back(&request);
        has_inbox_.store(true, std::memory_order_release);
    }
    services_.loop.post(*this);
}

void RelayCore::shut_down() {
    shut_down_ = true;
    services_.loop.cancel(static_cast<EventLoop::Posted&>(*this));
    services_.loop.cancel(tick_);
    for (const auto& route : routes_) {
        if (route->dials > 0) {
            breaker(*route).withdrawn();  // else nobody else could probe the server
        }
    }
    waiting_.clear();
    leave_lanes();
    reached(EIO);
}

void RelayCore::run_posted() {
    if (has_inbox_.load(std::memory_order_acquire)) {
        const std::lock_guard lock(inbox_mutex_);
        has_inbox_.store(false, std::memory_order_relaxed);
        inbox_here_.insert(inbox_here_.end(), inbox_.begin(), inbox_.end());
        inbox_.clear();
    }
    taking_.swap(inbox_here_);
    for (Request* request : taking_) {
        take(*request);
    }
    taking_.clear();
    pump();
}

// Cuts a request into pieces; they wait for pump().
void RelayCore::take(Request& request) {
    Transfer* transfer = new_transfer(request);
    const Command command = command_of(request.op);
    const bool is_write = changes(command);
    if (command == Command::flush && plan_.traits.read_only) {
        finish_transfer(*transfer);
        return;
    }
    transfer->flush_after = (request.flags & kRequestFua) != 0 && is_write;
    if (is_write && writes_lost_) {
        transfer->error = EIO;
        finish_transfer(*transfer);
        return;
    }
    if (command == Command::read && reads_ahead()) {
        ahead_.note(request.offset, request.length, services_.loop.now());
    }
    cut(request, *transfer, command, wire_flags(request));
    if (is_write && first_write_ == FirstWrite::none_yet) {
        hold_first_write();
    }
    watch_time();
}

void RelayCore::cut(Request& request, Transfer& transfer, Command command, std::uint16_t flags) {
    const std::uint64_t limit = piece_limit(command, request);
    const std::uint64_t total =
        command == Command::block_status ? std::min(request.length, limit) : request.length;
    const bool by_blocks = reads_ahead();
    std::uint64_t done = 0;
    do {
        std::uint64_t length = std::min(total - done, limit);
        if (command == Command::read && by_blocks) {
            length =
                std::min(length, RelayAhead::kBlock - (request.offset + done) % RelayAhead::kBlock);
        }
        Piece& piece = new_piece(Purpose::request, command, request.offset + done,
                                 static_cast<std::uint32_t>(length));
        piece.transfer = &transfer;
        piece.flags = flags;
        piece.deadline = transfer.deadline;
        piece.to_sink = request.sink != nullptr;
        if (command == Command::read && !piece.to_sink) {
            piece.buffer = request.buffer + done;
        } else if (command == Command::write) {
            const std::byte* from = request.buffer + done;
            piece.payload = std::make_shared<const std::vector<std::byte>>(from, from + length);
        }
        ++transfer.pieces_left;
        waiting_.push_back(&piece);
        done += length;
    } while (done < total);
}

RelayCore::Transfer* RelayCore::new_transfer(Request& request) {
    if (spare_transfers_.empty()) {
        spare_transfers_.push_back(std::make_unique<Transfer>());
    }
    Transfer* transfer = spare_transfers_.back().release();
    spare_transfers_.pop_back();
    *transfer = {.request = &request, .deadline = services_.loop.now() + limits_.request};
    return transfer;
}

void RelayCore::free_transfer(Transfer* transfer) {
    std::unique_ptr<Transfer> freed(transfer);
    if (spare_transfers_.size() < kSpares) {
        spare_transfers_.push_back(std::move(freed));
    }
}

RelayCore::Piece& RelayCore::new_piece(Purpose purpose, Command command, std::uint64_t offset,
                                       std::uint32_t length) {
    if (spare_.empty()) {
        spare_.push_back(std::make_unique<Piece>());
    }
    pieces_.push_back(std::move(spare_.back()));
    spare_.pop_back();
    Piece& piece = *pieces_.back();
    static_cast<PieceTerms&>(piece) = {};
    piece.purpose = purpose;
    piece.command = command;
    piece.offset = offset;
    piece.length = length;
    piece.index = pieces_.size() - 1;
    return piece;
}

void RelayCore::free_piece(Piece& piece) {
    const std::size_t index = piece.index;
    std::unique_ptr<Piece> freed = std::move(pieces_[index]);
    if (index + 1 < pieces_.size()) {
        pieces_[index] = std::move(pieces_.back());
        pieces_[index]->index = index;
    }
    pieces_.pop_back();
    freed->payload.reset();
    if (spare_.size() < kSpares) {
        spare_.push_back(std::move(freed));
    }
}

// Puts what waits on lanes. Not re-entered: finishing a piece may make room for another.
void RelayCore::pump() {
    if (shut_down_) {
        return;
    }
    if (pumping_) {
        pump_again_ = true;
        return;
    }
    pumping_ = true;
    do {
        pump_again_ = false;
        place_replays();
        passing_.swap(waiting_);
        bool no_lane = false;  // for a read that any route may serve; then for no such read
        for (Piece* piece : passing_) {
            const bool plain = piece->command == Command::read && piece->refused_by == 0;
            if (replay_pending() || (plain && no_lane) || !place_waiting(*piece)) {
                waiting_.push_back(piece);
                no_lane |= plain;
            }
        }
        passing_.clear();
    } while (pump_again_);
    place_ahead();
    pumping_ = false;
    flush_lanes();
}

bool RelayCore::place_waiting(Piece& piece) {
    if (serve_from_ahead(piece)) {
        return true;
    }
    if (piece.changes_content() && !write_may_go(piece)) {
        return false;
    }
    Lane* lane = choose_lane(piece, nullptr);
    if (lane == nullptr) {
        return false;
    }
    if (piece.purpose == Purpose::reach) {
        finish(piece, 0);
        return true;
    }
    if (answer_without_server(piece, lane->link->info())) {
        return true;
    }
    const std::uint32_t maximum = lane->link->info().maximum_payload;
    const bool carries = piece.command == Command::read || piece.command == Command::write;
    if (carries && piece.length > maximum) {
        split(piece, maximum);
    }
    place(piece, 0, *lane);
    return true;
}

// What a server cannot do is either advice that may be dropped, or can be said in other words.
bool RelayCore::answer_without_server(Piece& piece, const wire::ExportInfo& info) {
    const auto lacks = [&](std::uint16_t flag) { return (info.flags & flag) == 0; };
    if ((piece.command == Command::trim && lacks(wire::kFlagSendTrim)) ||
        (piece.command == Command::cache && lacks(wire::kFlagSendCache))) {
        finish(piece, 0);
        return true;
    }
    if (piece.command == Command::block_status && !info.allocation_context) {
        *piece.transfer->request->extents = {Extent{piece.length, 0}};
        finish(piece, 0);
        return true;
    }
    if (piece.command != Command::write_zeroes) {
        return false;
    }
    const bool wants_fast = (piece.flags & wire::kCommandFastZero) != 0;
    if (wants_fast && (lacks(wire::kFlagSendFastZero) || lacks(wire::kFlagSendWriteZeroes))) {
        finish(piece, ENOTSUP);
        return true;
    }
    if (lacks(wire::kFlagSendWriteZeroes)) {
        piece.command = Command::write;
        piece.flags = 0;
        piece.payload = std::make_shared<const std::vector<std::byte>>(piece.length);
    }
    return false;
}

// Leaves MAXIMUM bytes in the piece and makes another of the rest, which waits.
void RelayCore::split(Piece& piece, std::uint32_t maximum) {
    Piece& rest =
        new_piece(piece.purpose, piece.command, piece.offset + maximum, piece.length - maximum);
    rest.transfer = piece.transfer;
    rest.flags = piece.flags;
    rest.deadline = piece.deadline;
    rest.to_sink = piece.to_sink;
    rest.buffer = piece.buffer == nullptr ? nullptr : piece.buffer + maximum;
    if (piece.payload) {
        const auto middle = piece.payload->begin() + maximum;
        rest.payload = std::make_shared<const std::vector<std::byte>>(middle, piece.payload->end());
        piece.payload =
            std::make_shared<const std::vector<std::byte>>(piece.payload->begin(), middle);
    }
    piece.length = maximum;
    ++piece.transfer->pieces_left;
    waiting_.push_back(&rest);
    pump_again_ = true;
}

}  // namespace signpost
