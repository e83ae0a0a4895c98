// SPDX-License-Identifier: BSD-3-Clause
//
// The map of a chain of images: for each part of the disk the file that has it, found out once for
// a *leaf* of some megabytes and kept, so that a read costs one look-up however long the chain is.
// Leaves that are used least are dropped when there are too many.
//
// The files must not change while it lives: whoever reads looks whether they did.
//
// Lifetime: the descriptors outlive it. Threads: any.

#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "nbd-server/disk/image_run.h"

namespace signpost {

// One file of the chain. Raw: without tables; all of it is data.
struct ChainFile {
    int fd = -1;
    std::uint64_t size = 0;  // raw: of the file; else of the disk that it shows
    std::shared_ptr<const ImageTables> tables = nullptr;
};

class ChainMap {
   public:
    // Of kinds zero, data, packed and bad; in order, without gaps.
    using Leaf = std::vector<ImageRun>;
    using LeafPtr = std::shared_ptr<const Leaf>;

    // FILES: top first, the top's size is the disk's.
    explicit ChainMap(std::vector<ChainFile> files);

    std::uint64_t leaf_bytes() const { return leaf_bytes_; }

    // The leaf that has OFFSET; null when it would have to be read.
    LeafPtr known(std::uint64_t offset);
    // The same, read if need be. Errors: io.
    Result<LeafPtr> leaf(std::uint64_t offset);

   private:
    struct Kept {
        LeafPtr leaf;
        std::list<std::uint64_t>::iterator use;
    };

    Result<Leaf> read(std::uint64_t begin, std::uint64_t end) const;
    Result<void> resolve(std::uint16_t file, const std::vector<ImageRun>& wanted, Leaf& found,
                         std::vector<ImageRun>& absent) const;
    void keep(std::uint64_t index, const LeafPtr& leaf);

    const std::vector<ChainFile> files_;
    const std::uint64_t size_;
    const std::uint64_t leaf_bytes_;

    std::mutex mutex_;  // guards all below
    std::map<std::uint64_t, Kept> leaves_;
    std::list<std::uint64_t> uses_;  // the last used first
    std::size_t runs_ = 0;
};

}  // namespace signpost
