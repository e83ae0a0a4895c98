// SPDX-License-Identifier: BSD-3-Clause
//
// A disk over a chain of files of which each says where it has what (ImageTables), read-only,
// without a helper program. Plain runs go the way of raw images: from the file to the client by the
// kernel. Requests complete on the caller's thread.
//
// A read is followed by a look at the files that its bytes came from, as in local_disk.h; another
// file of the chain may have changed meanwhile, and does not matter to them. What is damaged is EIO
// there, and there alone.
//
// Lifetime and threads: as Disk.

#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "nbd-server/disk/chain_map.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/repository.h"
#include "nbd-server/disk/unpacked_blocks.h"

namespace signpost {

inline constexpr std::size_t kMaxChainFiles = 1024;

struct ChainDiskTerms {
    // Of one file, which stays open. The message of an error goes after the file's name.
    std::function<Result<ChainFile>(const ImageFile& file)> read_tables;
    std::size_t unpacked_most = 0;  // bytes of compressed blocks to keep
    std::shared_ptr<UnpackedBlocks::Budget> unpacked_budget = nullptr;
};

// IMAGE: at most kMaxChainFiles. Errors: conflict, when it has changed since it was opened; else
// those of TERMS, and io. LOG outlives the disk.
Result<std::shared_ptr<Disk>> make_chain_disk(OpenImage image, const ChainDiskTerms& terms,
                                              Log& log);

}  // namespace signpost
