// SPDX-License-Identifier: BSD-3-Clause
//
// A sweep goes through a disk chunk by chunk (of the digest tree): several large reads are under
// way, and each chunk that has come is given to one of a few threads, which hash and write. What
// the allocation map calls zero is not read, if the map may be trusted; what was read and is zero
// is found out. Copies, proofs and digests are made with it.
//
// Lifetime: the call's. It returns when nothing is under way any more.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "catalog/error.h"
#include "nbd-server/disk/disk.h"

namespace signpost {

struct Chunk {
    std::uint64_t index = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;          // DigestTree::kChunkBytes, or less for the last
    std::span<const std::byte> bytes;  // empty: all of them are zero
};

struct SweepPlan {
    bool trust_map = false;
    std::uint64_t rate = 0;  // bytes that are read in a second; 0: as fast as it goes

    // Whether the chunk is to be read. On the caller's thread. Empty: all are.
    std::function<bool(std::uint64_t index)> wanted;

    // Takes a chunk. On several threads at once, each chunk once; an error ends the sweep.
    std::function<Result<void>(const Chunk& chunk)> take;

    // Told how many bytes are done with, a few times a second; an error ends the sweep. On the
    // caller's thread. Empty: nobody.
    std::function<Result<void>(std::uint64_t done)> watch;
};

// The first error: of TAKE, of WATCH, or io: the disk could not be read at some byte.
Result<void> sweep(Disk& disk, const SweepPlan& plan);

inline constexpr std::chrono::milliseconds kSweepWatch{200};

// How many bytes the disk's allocation map does not call zero; all, when there is none.
std::uint64_t mapped_bytes(Disk& disk);

// BYTES are not empty.
bool is_zero(std::span<const std::byte> bytes);

}  // namespace signpost
