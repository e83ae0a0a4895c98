// SPDX-License-Identifier: BSD-3-Clause
//
// Where two disks may have different bytes, without reading them: what both have from the same
// place of the same file, or as zeroes, is equal. Points of one chain or of one backup set share
// most of what they have. What is said to be equal is; what is said to differ may.
//
// Lifetime: nothing is kept. Threads: any; calls may block.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nbd-server/disk/disk.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

inline constexpr std::uint32_t kDiffers = wire::kStateDiffers;  // in Extent::flags

// Where the next bytes of a disk come from.
struct Origin {
    std::uint64_t length = 0;
    bool zero = false;       // for certain
    bool in_file = false;    // the rest is known
    bool packed = false;     // of a compressed block that is at `at`
    std::uint32_t skip = 0;  // and in it
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t at = 0;

    // Whether the next bytes of OTHER are the same.
    bool same_as(const Origin& other) const;
    // Drops the first LENGTH bytes.
    void advance(std::uint64_t by);
};

// What a Disk that knows more than its extents has besides.
class OriginTeller {
   public:
    virtual ~OriginTeller() = default;

    // Appends what is known from OFFSET on, in order and without gaps: at least one, at most some
    // thousand. The range is within the disk. 0 or an errno value.
    virtual int origins(std::uint64_t offset, std::uint64_t length, std::vector<Origin>& found) = 0;
};

// The same of any disk.
int list_origins(Disk& disk, std::uint64_t offset, std::uint64_t length,
                 std::vector<Origin>& found);

// Of DISK from OFFSET on, LENGTH bytes or less of it; with flag kDiffers where it may be other than
// what OTHER has there, or OTHER ends before. At least one extent, and neighbours differ. Both are
// read-only. 0 or an errno value: EIO also when one of them has changed meanwhile.
int list_differences(Disk& disk, Disk& other, std::uint64_t offset, std::uint64_t length,
                     std::vector<Extent>& extents);

}  // namespace signpost
