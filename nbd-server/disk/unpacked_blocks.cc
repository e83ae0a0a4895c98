// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/unpacked_blocks.h"

#include <algorithm>

namespace signpost {

UnpackedBlocks::~UnpackedBlocks() {
    while (!kept_.empty()) {
        drop_oldest();
    }
}

UnpackedBlocks::Bytes UnpackedBlocks::find(const Block& block) {
    const auto found = std::ranges::find(kept_, block, &Kept::block);
    if (found == kept_.end()) {
        return nullptr;
    }
    kept_.splice(kept_.begin(), kept_, found);
    return found->bytes;
}

UnpackedBlocks::Bytes UnpackedBlocks::known(const ImageRun& run) {
    const std::lock_guard lock(mutex_);
    return find({run.file, run.at});
}

Result<UnpackedBlocks::Bytes> UnpackedBlocks::get(const ImageTables& tables, const ImageRun& run) {
    const Block block{run.file, run.at};
    std::unique_lock lock(mutex_);
    while (true) {
        if (auto bytes = find(block)) {
            return bytes;
        }
        if (under_way_.insert(block).second) {
            break;
        }
        ended_.wait(lock);
    }
    lock.unlock();
    auto unpacked = tables.unpack(run);
    lock.lock();
    under_way_.erase(block);
    ended_.notify_all();
    if (!unpacked) {
        return std::unexpected(std::move(unpacked.error()));
    }
    auto bytes = std::make_shared<const std::vector<std::byte>>(std::move(*unpacked));
    keep(block, bytes);
    return Bytes(std::move(bytes));
}

void UnpackedBlocks::keep(const Block& block, const Bytes& bytes) {
    kept_.push_front({block, bytes});
    kept_bytes_ += bytes->size();
    if (budget_) {
        budget_->kept += bytes->size();
    }
    while (kept_.size() > 1 && has_too_much()) {
        drop_oldest();
    }
}

bool UnpackedBlocks::has_too_much() const {
    return kept_bytes_ > most_ || (budget_ && budget_->kept > budget_->most);
}

void UnpackedBlocks::drop_oldest() {
    const std::size_t size = kept_.back().bytes->size();
    kept_bytes_ -= size;
    if (budget_) {
        budget_->kept -= size;
    }
    kept_.pop_back();
}

}  // namespace signpost
