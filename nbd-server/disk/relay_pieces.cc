// SPDX-License-Identifier: BSD-3-Clause
//
// Pieces of a RelayCore on their way: what is asked of which server, and what becomes of the
// answer.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "nbd-server/disk/relay_core.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

using wire::Command;

constexpr std::size_t kMaxSlots = 1 << 16;

// A near server answers a read of this size, alone on its way, in some ten microseconds.
constexpr std::uint32_t kSoon = 16 * 1024;

}  // namespace

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
                               const UpstreamLink& link) const {
    const std::uint64_t block = link.info().minimum_block;
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
    const bool widened = pending.length != piece.length;
    if (piece.to_sink && !widened) {
        attempt.parts.begin(piece.offset, piece.length,
                            link.can_splice() ? &services_.pipes : nullptr);
        pending.landing = &attempt.parts;
        return pending;
    }
    // The loser of a race must not write into the client's buffer, so a second attempt has its own.
    const bool bounces = !first || widened || piece.buffer == nullptr;
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
    const wire::Pending pending = shape(piece, attempt, which == 0, *lane.link);
    settle_fua(piece, info);
    if (piece.command == Command::flush) {
        piece.flush_epoch = write_log_.flush_begins();
    }
    if (piece.changes_content()) {
        log_write(piece);
    }
    attempt.alone = lane.link->outstanding() == 0;
    if (attempt.alone) {
        lane.busy_since = attempt.sent;
        if (piece.command == Command::read && piece.length <= kSoon && !is_far(*lane.route)) {
            services_.loop.expect_soon();
        }
    }
    ++lane.pieces;
    lane.bytes += piece.length;
    lane.dirty = true;
    lane.last_used = attempt.sent;
    lane.last_wanted = piece.purpose == Purpose::probe ? lane.last_wanted : attempt.sent;
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
    attempt.bounce.reset();
    attempt.parts.drop();
}

void RelayCore::link_finished(UpstreamLink& link,
                              std::span<const UpstreamLink::Finished> finished) {
    for (const UpstreamLink::Finished& reply : finished) {
        const std::size_t slot = reply.cookie & (kMaxSlots - 1);
        if (slot < slots_.size() && slots_[slot].cookie == reply.cookie) {
            answered(*slots_[slot].piece, slots_[slot].which, reply.pending);
        }
    }
    if (bursts_.worth_resting(static_cast<unsigned>(finished.size())) && link.outstanding() > 0) {
        services_.loop.let_gather();
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
    if (piece.command == Command::read) {
        lane.route->latency.add(services_.loop.now() - attempt.sent, attempt.alone);
    }
    // The one asked later was quicker: what keeps silent does not get the next request.
    Lane* loser = piece.attempts[1 - which].lane;
    const bool overtaken = loser != nullptr && piece.attempts[1 - which].sent < attempt.sent &&
                           silent(*loser, services_.loop.now(), limits_.hedge);
    const int error = attempt.parts.whole() ? 0 : EIO;
    if (error == 0) {
        deliver(piece, attempt);
    }
    drop_attempt(piece, which, false);
    finish(piece, error);
    if (overtaken) {
        prefer(*lane.route);
        lose_lane(*loser, "does not answer");
    }
}

void RelayCore::deliver(Piece& piece, Attempt& attempt) {
    if (piece.to_sink) {
        deliver_parts(piece, attempt);
        return;
    }
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

void RelayCore::deliver_parts(Piece& piece, Attempt& attempt) {
    Request& request = *piece.transfer->request;
    if (!attempt.bounce) {
        for (ReadPart& part : attempt.parts.parts()) {
            request.sink->take(request, std::move(part));
        }
        return;
    }
    // Whole blocks were asked for.
    std::memmove(attempt.bounce.get(), attempt.bounce.get() + attempt.skip, piece.length);
    ReadPart part;
    part.place = ReadPart::Place::memory;
    part.offset = piece.offset;
    part.length = piece.length;
    part.bytes = std::move(attempt.bounce);
    request.sink->take(request, std::move(part));
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
    stop_awaiting(piece);
    Transfer* transfer = piece.transfer;
    const bool flush = piece.command == Command::flush;
    const bool reach = piece.purpose == Purpose::reach;
    RelayAhead::Block* block = piece.awaits;
    free_piece(piece);
    if (reach) {
        reached(error);
        return;
    }
    if (block != nullptr) {
        block_ended(*block, error);
    }
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
        Piece& flush = new_piece(Purpose::request, Command::flush, 0, 0);
        flush.transfer = &transfer;
        flush.deadline = transfer.deadline;
        transfer.pieces_left = 1;
        waiting_.push_back(&flush);
        pump_again_ = true;
        return;
    }
    Request& request = *transfer.request;
    const int error = transfer.error;
    free_transfer(&transfer);
    request.done(request, error);
}

}  // namespace signpost
