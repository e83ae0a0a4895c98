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
constexpr std::size_t kMaxSlots = 1 << 16;

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

std::uint64_t piece_limit(Command command) {
    const bool carries_payload = command == Command::read || command == Command::write;
    // Zeroes may have to be sent as data, where a server has no WRITE_ZEROES.
    return carries_payload || command == Command::write_zeroes ? kPayloadPiece : kRangePiece;
}

}  // namespace

bool RelayCore::Piece::changes_content() const { return changes(command); }

std::string RelayCore::Route::name() const {
    return upstream.location.server.empty() ? "its helper" : upstream.location.server;
}

RelayCore::RelayCore(RelayServices& services, RelayPlan plan)
    : services_(services), plan_(std::move(plan)), limits_(services.settings.limits) {
    for (const Upstream& upstream : plan_.upstreams) {
        adopt(upstream);
    }
}

RelayCore::~RelayCore() = default;

void RelayCore::accept(Request& request) {
    {
        const std::lock_guard lock(inbox_mutex_);
        inbox_.push_back(&request);
    }
    services_.loop.post(*this);
}

void RelayCore::shut_down() {
    shut_down_ = true;
    services_.loop.cancel(static_cast<EventLoop::Posted&>(*this));
    services_.loop.cancel(tick_);
    for (const auto* lanes : {&lanes_, &retired_}) {
        for (const auto& lane : *lanes) {
            lane->link->close();
        }
    }
    for (const auto& route : routes_) {
        if (route->dialling) {
            breaker(*route).withdrawn();  // else nobody else could probe the server
        }
    }
    lanes_.clear();
    retired_.clear();
    graveyard_.clear();
}

void RelayCore::run_posted() {
    {
        const std::lock_guard lock(inbox_mutex_);
        taking_.swap(inbox_);
    }
    for (Request* request : taking_) {
        take(*request);
    }
    taking_.clear();
    pump();
}

// Cuts a request into pieces; they wait for pump().
void RelayCore::take(Request& request) {
    auto* transfer =
        new Transfer{.request = &request, .deadline = EventLoop::Clock::now() + limits_.request};
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
    cut(request, *transfer, command, wire_flags(request));
    if (is_write && first_write_ == FirstWrite::none_yet) {
        hold_first_write();
    }
    watch_time();
}

void RelayCore::cut(Request& request, Transfer& transfer, Command command, std::uint16_t flags) {
    const std::uint64_t limit = piece_limit(command);
    const std::uint64_t total =
        command == Command::block_status ? std::min(request.length, limit) : request.length;
    std::uint64_t done = 0;
    do {
        const std::uint64_t length = std::min(total - done, limit);
        Piece& piece = new_piece(Piece::Purpose::request, command, request.offset + done,
                                 static_cast<std::uint32_t>(length));
        piece.transfer = &transfer;
        piece.flags = flags;
        piece.deadline = transfer.deadline;
        if (command == Command::read) {
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

RelayCore::Piece& RelayCore::new_piece(Piece::Purpose purpose, Command command,
                                       std::uint64_t offset, std::uint32_t length) {
    if (spare_.empty()) {
        spare_.push_back(std::make_unique<Piece>());
    }
    pieces_.push_back(std::move(spare_.back()));
    spare_.pop_back();
    Piece& piece = *pieces_.back();
    piece = Piece{};
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
    if (spare_.size() < 256) {
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
        std::deque<Piece*> passed;
        passed.swap(waiting_);
        for (Piece* piece : passed) {
            if (replay_pending() || !place_waiting(*piece)) {
                waiting_.push_back(piece);
            }
        }
    } while (pump_again_);
    pumping_ = false;
    flush_lanes();
}

bool RelayCore::place_waiting(Piece& piece) {
    if (piece.changes_content() && !write_may_go(piece)) {
        return false;
    }
    Lane* lane = choose_lane(piece, nullptr);
    if (lane == nullptr) {
        return false;
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

std::uint64_t RelayCore::take_slot(Piece& piece, unsigned which) {
    std::size_t slot = slots_.size();
    if (free_slots_.empty()) {
        slots_.emplace_back();
    } else {
        slot = free_slots_.back();
        free_slots_.pop_back();
    }
    const std::uint64_t cookie = next_sequence_++ << 16 | slot;
    slots_[slot] = {cookie, &piece, which};
    return cookie;
}

// What to ask of the server: the piece itself, or the whole blocks that cover it where the server
// wants whole blocks (R9), into the piece's buffer or one of the attempt's own.
wire::Pending RelayCore::shape(const Piece& piece, Attempt& attempt, bool first,
                               std::uint64_t block) const {
    wire::Pending pending{.command = piece.command,
                          .offset = piece.offset,
                          .length = piece.length,
                          .buffer = piece.buffer};
    const bool reads = piece.command == Command::read || piece.command == Command::block_status ||
                       piece.command == Command::cache;
    attempt.skip = 0;
    if (reads && ((piece.offset | piece.length) & (block - 1)) != 0) {
        attempt.skip = static_cast<std::uint32_t>(piece.offset & (block - 1));
        pending.offset = piece.offset - attempt.skip;
        const std::uint64_t wanted = std::uint64_t{piece.length} + attempt.skip + block - 1;
        pending.length = static_cast<std::uint32_t>(
            std::min(wanted & ~(block - 1), plan_.traits.size - pending.offset));
    }
    attempt.bounce.reset();
    // The loser of a race must not write into the client's buffer, so a second attempt has its own.
    const bool bounces = !first || pending.length != piece.length || piece.buffer == nullptr;
    if (piece.command == Command::read && bounces) {
        attempt.bounce = std::make_unique_for_overwrite<std::byte[]>(pending.length);
        pending.buffer = attempt.bounce.get();
    }
    if (piece.command == Command::block_status) {
        attempt.extents.clear();
        pending.extents = &attempt.extents;
    }
    return pending;
}

// A write that must be durable says so itself where the server can do that, and else is followed by
// a flush.
void RelayCore::settle_fua(Piece& piece, const wire::ExportInfo& info) {
    if (!piece.changes_content() || piece.transfer == nullptr) {
        return;
    }
    const bool alone = piece.transfer->flush_after && piece.transfer->pieces_left == 1;
    if (!alone && (piece.flags & wire::kCommandFua) == 0) {
        return;
    }
    const bool can = (info.flags & wire::kFlagSendFua) != 0;
    piece.transfer->flush_after = !can;
    piece.flags &= static_cast<std::uint16_t>(~wire::kCommandFua);
    piece.flags |= can ? wire::kCommandFua : 0;
}

void RelayCore::place(Piece& piece, unsigned which, Lane& lane) {
    Attempt& attempt = piece.attempts[which];
    attempt.lane = &lane;
    attempt.cookie = take_slot(piece, which);
    attempt.sent = services_.loop.now();
    const wire::ExportInfo& info = lane.link->info();
    const wire::Pending pending = shape(piece, attempt, which == 0, info.minimum_block);
    settle_fua(piece, info);
    if (piece.command == Command::flush) {
        piece.flush_epoch = write_log_.flush_begins();
    }
    if (piece.changes_content()) {
        log_write(piece);
    }
    ++lane.pieces;
    lane.bytes += piece.length;
    lane.dirty = true;
    lane.last_used = attempt.sent;
    lane.link->send(pending, piece.flags, attempt.cookie, piece.payload);
}

void RelayCore::flush_lanes() {
    for (const auto& lane : lanes_) {
        if (std::exchange(lane->dirty, false)) {
            lane->link->flush();
        }
    }
}

void RelayCore::drop_attempt(Piece& piece, unsigned which, bool abandon) {
    Attempt& attempt = piece.attempts[which];
    if (attempt.lane == nullptr) {
        return;
    }
    const auto slot = static_cast<std::uint16_t>(attempt.cookie & (kMaxSlots - 1));
    slots_[slot] = {};
    free_slots_.push_back(slot);
    --attempt.lane->pieces;
    attempt.lane->bytes -= piece.length;
    if (abandon) {
        attempt.lane->link->abandon(attempt.cookie);
    }
    attempt.lane = nullptr;
}

void RelayCore::link_finished(UpstreamLink& link,
                              std::span<const UpstreamLink::Finished> finished) {
    for (const UpstreamLink::Finished& reply : finished) {
        const std::size_t slot = reply.cookie & (kMaxSlots - 1);
        if (slot < slots_.size() && slots_[slot].cookie == reply.cookie) {
            answered(*slots_[slot].piece, slots_[slot].which, reply.pending);
        }
    }
    if (!retired_.empty() && link.outstanding() == 0) {
        end_retirement(services_.loop.now());
    }
    pump();
}

void RelayCore::answered(Piece& piece, unsigned which, const wire::Pending& reply) {
    Attempt& attempt = piece.attempts[which];
    Lane& lane = *attempt.lane;
    if (reply.error == wire::kErrorShutdown) {
        // The server is going away: as if the connection had ended, a moment early (R12).
        lose_lane(lane, "is shutting down");
        return;
    }
    if (reply.error != 0) {
        Route& route = *lane.route;
        drop_attempt(piece, which, false);
        refused(piece, route, reply.error);
        return;
    }
    // The one asked later was quicker: what keeps silent does not get the next request.
    Lane* loser = piece.attempts[1 - which].lane;
    const bool overtaken = loser != nullptr && piece.attempts[1 - which].sent < attempt.sent &&
                           silent(*loser, services_.loop.now(), limits_.hedge);
    deliver(piece, attempt);
    drop_attempt(piece, which, false);
    finish(piece, 0);
    if (overtaken) {
        preferred_ = lane.route;
        lose_lane(*loser, "does not answer");
    }
}

void RelayCore::deliver(Piece& piece, Attempt& attempt) {
    if (piece.command == Command::read && attempt.bounce && piece.buffer != nullptr) {
        std::memcpy(piece.buffer, attempt.bounce.get() + attempt.skip, piece.length);
    }
    if (piece.command == Command::block_status) {
        std::vector<Extent>& extents = *piece.transfer->request->extents;
        extents.clear();
        std::uint64_t skip = attempt.skip;
        for (const Extent& extent : attempt.extents) {
            if (extent.length > skip) {
                extents.push_back({extent.length - skip, extent.flags});
                skip = 0;
            } else {
                skip -= extent.length;
            }
        }
        if (extents.empty()) {
            extents.push_back({piece.length, 0});
        }
    }
}

// One server could not do it. Reads may be had elsewhere; the rest is the client's to know.
void RelayCore::refused(Piece& piece, const Route& route, std::uint32_t nbd_error) {
    int error = EIO;
    if (nbd_error == wire::kErrorNoSpace) {
        error = ENOSPC;
    } else if (nbd_error == wire::kErrorPerm && piece.changes_content()) {
        error = EPERM;
    } else if (nbd_error == wire::kErrorNotSupported &&
               (piece.flags & wire::kCommandFastZero) != 0) {
        error = ENOTSUP;
    }
    if (error == EIO) {
        services_.log.error(fmt::format(
            "disk {}: {} reports NBD error {} for {} bytes at {}: look at that server's log",
            plan_.disk.str(), route.name(), nbd_error, piece.length, piece.offset));
    }
    const bool moves = !piece.changes_content() && piece.command != Command::flush;
    piece.refused_by |= std::uint64_t{1} << route.number;
    if (piece.under_way()) {
        return;
    }
    if (moves && others_left(piece, route)) {
        waiting_.push_front(&piece);
        pump_again_ = true;
        return;
    }
    if (piece.command == Command::block_status) {
        // "All of it is data" is always a true answer.
        *piece.transfer->request->extents = {Extent{piece.length, 0}};
        error = 0;
    }
    finish(piece, error);
}

void RelayCore::finish(Piece& piece, int error) {
    drop_attempt(piece, 0, true);
    drop_attempt(piece, 1, true);
    if (piece.logged || piece.command == Command::flush) {
        write_answered(piece, error == 0);
    }
    Transfer* transfer = piece.transfer;
    const bool flush = piece.command == Command::flush;
    free_piece(piece);
    if (transfer == nullptr) {
        return;
    }
    if (error == 0 && flush && writes_lost_) {
        error = EIO;
    }
    if (transfer->error == 0) {
        transfer->error = error;
    }
    if (--transfer->pieces_left == 0) {
        finish_transfer(*transfer);
    }
}

void RelayCore::finish_transfer(Transfer& transfer) {
    if (transfer.flush_after && transfer.error == 0) {
        transfer.flush_after = false;
        Piece& flush = new_piece(Piece::Purpose::request, Command::flush, 0, 0);
        flush.transfer = &transfer;
        flush.deadline = transfer.deadline;
        transfer.pieces_left = 1;
        waiting_.push_back(&flush);
        pump_again_ = true;
        return;
    }
    Request& request = *transfer.request;
    const int error = transfer.error;
    delete &transfer;
    request.done(request, error);
}

}  // namespace signpost
