// SPDX-License-Identifier: BSD-3-Clause
//
// The chunk digests of a disk, from a Signpost server that keeps them (`digests:NAME`), proven
// against the disk's digest; and where content differs from them.
//
// Threads: one. Time: a server that sends nothing for ten seconds is given up (unavailable).

#pragma once

#include <cstdint>
#include <string>

#include "catalog/disk_name.h"
#include "cli/peer.h"
#include "nbd-server/disk/digest_tree.h"

namespace signpost {

// Of a disk of SIZE bytes with DIGEST. unavailable, not_found (it has none), invalid (they are not
// that disk's), io.
Result<DigestTree::Leaves> read_leaves(PeerConnection& connection, const DiskName& disk,
                                       std::uint64_t size, const std::string& digest);

// "bytes 4194304 to 8388608", and how many more chunks; both are of a disk of SIZE bytes.
std::string difference(const DigestTree::Leaves& found, const DigestTree::Leaves& wanted,
                       std::uint64_t size);

}  // namespace signpost
