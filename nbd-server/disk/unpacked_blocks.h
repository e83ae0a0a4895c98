// SPDX-License-Identifier: BSD-3-Clause
//
// The compressed blocks of a chain of images, unpacked when they are read; the last few are kept,
// because a reader in sequence comes back for the rest of one. Who asks for a block that another is
// unpacking waits for it.
//
// What does not unpack to a whole block is an error: nothing of it is given.
//
// Lifetime: what it gives lives as long as it is held. Threads: any.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "nbd-server/disk/image_run.h"

namespace signpost {

class UnpackedBlocks {
   public:
    using Bytes = std::shared_ptr<const std::vector<std::byte>>;

    // What all disks of a kind may keep together, in bytes.
    struct Budget {
        const std::size_t most;
        std::atomic<std::size_t> kept{0};
    };

    // MOST: bytes to keep here, within BUDGET if there is one; one block is kept in any case.
    explicit UnpackedBlocks(std::size_t most, std::shared_ptr<Budget> budget = nullptr)
        : most_(most), budget_(std::move(budget)) {}
    UnpackedBlocks(const UnpackedBlocks&) = delete;
    UnpackedBlocks& operator=(const UnpackedBlocks&) = delete;
    ~UnpackedBlocks();

    // Of RUN, which is packed; null when it would have to be read.
    Bytes known(const ImageRun& run);
    // TABLES: of its file. Errors: as ImageTables::unpack.
    Result<Bytes> get(const ImageTables& tables, const ImageRun& run);

   private:
    using Block = std::pair<std::uint16_t, std::uint64_t>;  // file, place

    struct Kept {
        Block block;
        Bytes bytes;
    };

    Bytes find(const Block& block);
    void keep(const Block& block, const Bytes& bytes);
    void drop_oldest();
    bool has_too_much() const;

    const std::size_t most_;
    const std::shared_ptr<Budget> budget_;

    std::mutex mutex_;  // guards all below
    std::condition_variable ended_;
    std::set<Block> under_way_;
    std::list<Kept> kept_;  // the last used first
    std::size_t kept_bytes_ = 0;
};

}  // namespace signpost
