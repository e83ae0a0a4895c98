// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/unpacked_blocks.h"

#include <algorithm>

namespace signpost {

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
    kept_.push_front({block, bytes});
    kept_bytes_ += bytes->size();
    while (kept_bytes_ > most_ && kept_.size() > 1) {
        kept_bytes_ -= kept_.back().bytes->size();
        kept_.pop_back();
    }
    return Bytes(std::move(bytes));
}

}  // namespace signpost
