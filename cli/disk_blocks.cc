// SPDX-License-Identifier: BSD-3-Clause

#include "cli/disk_blocks.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace signpost {

namespace {

constexpr std::size_t kMostBlocks = 256;       // 64 MiB
constexpr std::size_t kMostAhead = 64;         // 16 MiB under way
constexpr std::uint64_t kWidestWindow = 32;    // 8 MiB
constexpr std::uint64_t kLargeRead = 1 << 20;  // no faster in larger ones

}  // namespace

DiskBlocks::DiskBlocks(PeerConnection connection, const ExportFacts& facts)
    : facts_(facts), connection_(std::move(connection)) {}

DiskBlocks::DiskBlocks(PeerConnection connection, const ExportFacts& facts,
                       const files::Volume& part, SectorCipher cipher)
    : facts_(facts),
      origin_(part.start),
      cipher_(std::move(cipher)),
      connection_(std::move(connection)) {
    facts_.size = part.length;
}

std::uint64_t DiskBlocks::block_length(std::uint64_t index) const {
    return std::min(kBlock, facts_.size - index * kBlock);
}

std::uint64_t DiskBlocks::most_at_once() const {
    return facts_.maximum_payload == 0
               ? kLargeRead
               : std::clamp<std::uint64_t>(facts_.maximum_payload, 4096, kLargeRead);
}

void DiskBlocks::make_room() {
    while (blocks_.size() >= kMostBlocks) {
        auto oldest = blocks_.end();
        for (auto it = blocks_.begin(); it != blocks_.end(); ++it) {
            const bool done = it->second->here || it->second->failed;
            if (done && (oldest == blocks_.end() || it->second->used < oldest->second->used)) {
                oldest = it;
            }
        }
        if (oldest == blocks_.end()) {
            return;  // all are on their way, and these are bounded
        }
        blocks_.erase(oldest);
    }
}

// False: the connection takes no more.
bool DiskBlocks::start(std::uint64_t index) {
    make_room();
    auto made = std::make_unique<Block>();
    Block& block = *made;
    block.bytes.resize(block_length(index));
    block.used = ++clock_;
    blocks_[index] = std::move(made);
    const auto done = [this, &block, index](int error) {
        --in_flight_;
        ++replies_;
        if (error == 0 && cipher_ && !cipher_->decrypt(index * kBlock, block.bytes)) {
            error = EIO;
        }
        block.here = error == 0;
        block.failed = error != 0;
    };
    ++in_flight_;
    if (!connection_.start_read(block.bytes, origin_ + index * kBlock, done)) {
        --in_flight_;
        block.failed = true;
        return false;
    }
    return true;
}

void DiskBlocks::ahead(std::uint64_t offset, std::uint64_t length) {
    if (offset >= facts_.size || length == 0) {
        return;
    }
    const std::uint64_t last = (offset + std::min(length, facts_.size - offset) - 1) / kBlock;
    for (std::uint64_t i = offset / kBlock; i <= last && in_flight_ < kMostAhead; ++i) {
        if (!blocks_.contains(i) && !start(i)) {
            return;
        }
    }
}

// Who misses a block shortly behind the last window reads in sequence, and gets a wider one.
void DiskBlocks::grow_window(std::uint64_t missed) {
    const bool in_sequence = missed >= next_expected_ && missed - next_expected_ <= window_;
    window_ = in_sequence ? std::min(2 * window_, kWidestWindow) : 1;
    next_expected_ = missed + window_;
    ahead(missed * kBlock, window_ * kBlock);
}

DiskBlocks::Look DiskBlocks::look(std::uint64_t offset, std::span<std::byte> to) {
    if (offset > facts_.size || to.size() > facts_.size - offset) {
        return Look::failed;
    }
    Look result = Look::here;
    const std::uint64_t first = offset / kBlock;
    const std::uint64_t end = to.empty() ? first : (offset + to.size() - 1) / kBlock + 1;
    for (std::uint64_t i = first; i < end; ++i) {
        auto found = blocks_.find(i);
        if (found == blocks_.end()) {
            grow_window(i);
            if (!blocks_.contains(i) && !start(i)) {
                return Look::failed;
            }
            found = blocks_.find(i);
        }
        Block& block = *found->second;
        block.used = ++clock_;
        if (block.failed) {
            blocks_.erase(found);
            return Look::failed;
        }
        result = block.here ? result : Look::coming;
    }
    for (std::uint64_t i = first; i < end && result == Look::here; ++i) {
        const std::uint64_t from = std::max(offset, i * kBlock);
        const std::uint64_t until = std::min(offset + to.size(), (i + 1) * kBlock);
        std::memcpy(to.data() + (from - offset), blocks_[i]->bytes.data() + (from - i * kBlock),
                    until - from);
    }
    return result;
}

Result<void> DiskBlocks::read_past_cache(std::uint64_t offset, std::span<std::byte> to,
                                         PeerConnection::ReadDone done) {
    ++in_flight_;
    auto decrypted = [this, offset, to, done = std::move(done)](int error) mutable {
        --in_flight_;
        ++replies_;
        done(error == 0 && cipher_ && !cipher_->decrypt(offset, to) ? EIO : error);
    };
    auto started = connection_.start_read(to, origin_ + offset, std::move(decrypted));
    if (!started) {
        --in_flight_;
    }
    return started;
}

}  // namespace signpost
