// SPDX-License-Identifier: BSD-3-Clause
//
// Writes in a RelayCore: the permission for the first one, the log of what is not known durable,
// and its repetition after a loss. See write_log.h for why.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "nbd-server/disk/relay_core.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

// Above the first a flush of our own trims the log; above the second writes wait for it.
constexpr std::uint64_t kFlushLogAt = 32 * 1024 * 1024;
constexpr std::uint64_t kHoldWritesAt = 96 * 1024 * 1024;
constexpr std::size_t kReplayWindow = 64;

}  // namespace

void RelayCore::hold_first_write() {
    if (!plan_.before_first_write) {
        first_write_ = FirstWrite::permitted;
        return;
    }
    first_write_ = FirstWrite::asking;
    services_.workers.run(
        [weak = weak_from_this(), loop = &services_.loop, ask = plan_.before_first_write] {
            loop->post([weak, answer = ask()] {
                if (const auto self = weak.lock(); self && !self->shut_down_) {
                    self->write_permitted(answer);
                }
            });
        });
}

void RelayCore::write_permitted(const Result<void>& answer) {
    if (answer) {
        first_write_ = FirstWrite::permitted;
        pump();
        return;
    }
    first_write_ = FirstWrite::none_yet;
    services_.log.error(fmt::format(
        "disk {}: write refused, because its copies could not be marked as differing: {}",
        plan_.disk.str(), answer.error().message));
    std::vector<Piece*> held;
    std::ranges::copy_if(waiting_, std::back_inserter(held),
                         [](const Piece* piece) { return piece->changes_content(); });
    std::erase_if(waiting_, [](const Piece* piece) { return piece->changes_content(); });
    for (Piece* piece : held) {
        finish(*piece, EIO);
    }
}

bool RelayCore::write_may_go(const Piece& piece) const {
    const bool room = write_log_.empty() || write_log_.bytes() + piece.length <= kHoldWritesAt;
    return first_write_ == FirstWrite::permitted && room;
}

void RelayCore::log_write(Piece& piece) {
    if (piece.logged) {
        return;
    }
    piece.logged = write_log_.append({.command = piece.command,
                                      .flags = piece.flags,
                                      .offset = piece.offset,
                                      .length = piece.length,
                                      .payload = piece.payload,
                                      .piece = &piece});
    flush_log_if_large();
}

void RelayCore::flush_log_if_large() {
    if (flushing_log_ || write_log_.bytes() < kFlushLogAt) {
        return;
    }
    flushing_log_ = true;
    Piece& flush = new_piece(Purpose::flush_log, wire::Command::flush, 0, 0);
    flush.deadline = services_.loop.now() + limits_.request;
    waiting_.push_back(&flush);
    pump_again_ = true;
}

// A write or a flush has ended.
void RelayCore::write_answered(Piece& piece, bool success) {
    if (piece.command == wire::Command::flush) {
        if (piece.purpose == Purpose::flush_log) {
            flushing_log_ = false;
        }
        if (success && piece.flush_epoch != 0) {
            write_log_.flush_succeeded(piece.flush_epoch);
            pump_again_ = true;
        }
        return;
    }
    if (piece.in_replay && std::erase(replay_, &piece) == 0) {
        --replaying_;
    }
    const bool durable = (piece.flags & wire::kCommandFua) != 0;
    if (success && !durable) {
        write_log_.acknowledge(*piece.logged);
    } else {
        write_log_.drop(*piece.logged);
    }
    if (!success && piece.purpose == Purpose::replay) {
        writes_lost_ = true;
        services_.log.error(fmt::format(
            "disk {}: {} bytes at {} were acknowledged, are gone after a restart of the server, "
            "and could not be written again: every flush fails until the disk is opened anew",
            plan_.disk.str(), piece.length, piece.offset));
    }
}

// The link has gone: what was being repeated will be repeated from the start.
void RelayCore::forget_replay() {
    std::deque<Piece*> unplaced;
    unplaced.swap(replay_);
    for (Piece* piece : unplaced) {
        piece->in_replay = false;
        if (piece->purpose == Purpose::replay) {
            free_piece(*piece);
        }
    }
    replaying_ = 0;
}

// A link to the image is up: everything that is not known durable comes first, in order.
void RelayCore::prepare_replay() {
    if (write_log_.empty() || replay_pending()) {
        return;
    }
    for (auto entry = write_log_.entries().begin(); entry != write_log_.entries().end(); ++entry) {
        Piece* piece = static_cast<Piece*>(entry->piece);
        if (piece == nullptr) {
            piece = &new_piece(Purpose::replay, entry->command, entry->offset, entry->length);
            piece->payload = entry->payload;
            piece->flags = entry->flags;
            piece->logged = entry;
            piece->deadline = services_.loop.now() + limits_.request;
        }
        piece->in_replay = true;
        replay_.push_back(piece);
    }
}

// Many at a time, but never one that overlaps another on its way: their order would be lost.
void RelayCore::place_replays() {
    const auto lane = std::ranges::find_if(lanes_, [](const auto& one) { return one->ready; });
    if (lane == lanes_.end()) {
        // A write that was on the way when its link went waits in the log alone: dial for it.
        const auto orphan = std::ranges::find_if(pieces_, [](const auto& piece) {
            return piece->logged.has_value() && !piece->under_way();
        });
        if (orphan != pieces_.end()) {
            choose_lane(**orphan, nullptr);
        }
        return;
    }
    while (!replay_.empty() && replaying_ < kReplayWindow) {
        Piece& piece = *replay_.front();
        const bool overlaps = std::ranges::any_of(pieces_, [&](const auto& other) {
            return other->in_replay && other->under_way() &&
                   other->offset < piece.offset + piece.length &&
                   piece.offset < other->offset + other->length;
        });
        if (overlaps) {
            return;
        }
        replay_.pop_front();
        ++replaying_;
        place(piece, 0, **lane);
    }
}

}  // namespace signpost
