// SPDX-License-Identifier: BSD-3-Clause
//
// The chunk digests of one image as a disk (`digests:NAME`): 32 bytes for each chunk, in order. It
// is small and read-only. Whoever reads it proves it against the digest in the catalog.
//
// Lifetime: the store outlives it. Threads: as Disk; requests complete on the caller's thread.

#pragma once

#include <memory>

#include "nbd-server/disk/digest_store.h"
#include "nbd-server/disk/disk.h"

namespace signpost {

// ENTRY is complete, of a disk of SIZE bytes. When the store has dropped it, reads fail.
std::shared_ptr<Disk> make_leaves_disk(DigestStore& store, const DigestStore::Entry& entry,
                                       std::uint64_t size);

}  // namespace signpost
