// SPDX-License-Identifier: BSD-3-Clause
//
// Reading ahead in a RelayCore: see relay_ahead.h. A block on its way is a piece like any other, so
// it moves to another server when its own fails; the pieces of clients that want some of it wait
// for it meanwhile.

#include <algorithm>
#include <cstring>

#include "nbd-server/disk/relay_core.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kKeepFor{5};

}  // namespace

bool RelayCore::reads_ahead() const {
    return plan_.reads_ahead && plan_.traits.read_only && preferred_ != nullptr &&
           is_far(*preferred_);
}

// True when the piece has been served from a block, or waits for one.
bool RelayCore::serve_from_ahead(Piece& piece) {
    RelayAhead::Block* block =
        piece.purpose == Purpose::request && piece.command == wire::Command::read
            ? ahead_.find(piece.offset, piece.length)
            : nullptr;
    if (block == nullptr) {
        return false;
    }
    if (!block->here) {
        ahead_.waited_for(*block);
        block->waiters.push_back(&piece);
        piece.awaits = block;
        return true;
    }
    give_from(*block, piece, true);
    const std::uint32_t length = piece.length;
    finish(piece, 0);
    ahead_.took(*block, length);
    return true;
}

// ALONE: nobody else will ask for these bytes of the block.
void RelayCore::give_from(RelayAhead::Block& block, Piece& piece, bool alone) {
    const std::byte* from = block.bytes.get() + (piece.offset - block.offset);
    if (!piece.to_sink) {
        std::memcpy(piece.buffer, from, piece.length);
        return;
    }
    ReadPart part;
    part.place = ReadPart::Place::memory;
    part.offset = piece.offset;
    part.length = piece.length;
    if (alone && piece.length == block.length) {
        part.bytes = std::move(block.bytes);
    } else {
        part.bytes = std::make_unique_for_overwrite<std::byte[]>(piece.length);
        std::memcpy(part.bytes.get(), from, piece.length);
    }
    Request& request = *piece.transfer->request;
    request.sink->take(request, std::move(part));
}

// Asks for blocks while there are lanes with nothing better to do.
void RelayCore::place_ahead() {
    if (!reads_ahead() || !waiting_.empty()) {
        return;
    }
    Lane* lane = spare_lane();
    while (lane != nullptr) {
        RelayAhead::Block* block = ahead_.next_wanted();
        if (block == nullptr) {
            return;
        }
        Piece& piece = new_piece(Purpose::ahead, wire::Command::read, block->offset, block->length);
        piece.buffer = block->bytes.get();
        piece.awaits = block;
        piece.deadline = services_.loop.now() + limits_.request;
        const std::uint32_t maximum = lane->link->info().maximum_payload;
        if (piece.length > maximum) {
            finish(piece, EIO);
            return;
        }
        place(piece, 0, *lane);
        lane = spare_lane();
    }
}

RelayCore::Lane* RelayCore::spare_lane() {
    Lane* lane = best_lane(*preferred_);
    if (lane == nullptr || lane->quiet || !may_serve(*preferred_, services_.loop.now())) {
        return nullptr;
    }
    widen(*preferred_);
    return has_room(*lane) ? lane : nullptr;
}

// The reading of a block has ended; the piece that did it is gone.
void RelayCore::block_ended(RelayAhead::Block& block, int error) {
    std::vector<void*> waiters;
    waiters.swap(block.waiters);
    std::uint32_t taken = 0;
    for (void* waiter : waiters) {
        Piece& piece = *static_cast<Piece*>(waiter);
        piece.awaits = nullptr;
        if (error != 0) {
            waiting_.push_back(&piece);
            pump_again_ = true;
            continue;
        }
        give_from(block, piece, waiters.size() == 1);
        taken = std::min(block.length, taken + piece.length);
        finish(piece, 0);
    }
    if (error != 0) {
        ahead_.drop(block);
        return;
    }
    if (taken == block.length) {
        ahead_.drop(block);
        return;
    }
    block.taken = taken;
    ahead_.arrived(block);
}

// A piece that waits for a block has ended otherwise.
void RelayCore::stop_awaiting(Piece& piece) {
    if (piece.awaits != nullptr && piece.purpose == Purpose::request) {
        std::erase(piece.awaits->waiters, &piece);
        piece.awaits = nullptr;
    }
}

void RelayCore::forget_ahead(Time now) {
    ahead_.forget_before(now - kKeepFor);
}

}  // namespace signpost
