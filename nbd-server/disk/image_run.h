// SPDX-License-Identifier: BSD-3-Clause
//
// Where the bytes of a part of a disk are: in which file of its chain, and in which form. What
// knows that of one file, because it has read the file's own tables or frames, is its ImageTables.
//
// Runs are values. Tables do not change, nor may their file while they live: whoever reads looks
// whether it did. Lifetime: the file descriptors outlive them. Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "catalog/error.h"

namespace signpost {

struct ImageRun {
    enum class Kind : std::uint8_t {
        absent,  // the file does not have it: what it is based on may
        zero,    // reads as zeroes, whatever is below
        data,    // in the file, from `at` on
        packed,  // some of a compressed block
        bad,     // nobody knows: what the file says of it cannot be right
    };

    Kind kind = Kind::absent;
    std::uint16_t file = 0;          // its number in the chain, the top first
    std::uint32_t packed_bytes = 0;  // of the compressed block, in the file, at most
    std::uint64_t begin = 0;         // on the disk
    std::uint64_t end = 0;
    std::uint64_t at = 0;              // in the file: of BEGIN; packed: of the compressed block
    std::uint32_t skip = 0;            // packed: where BEGIN is in the unpacked block
    std::uint32_t unpacked_bytes = 0;  // packed: of the whole block

    std::uint64_t length() const { return end - begin; }
};

// Appends RUN, or makes the last of RUNS longer by it.
void append_run(std::vector<ImageRun>& runs, const ImageRun& run);

// The runs of RUNS, which are in order, that lie in BEGIN to END, cut to it.
std::vector<ImageRun> runs_between(const std::vector<ImageRun>& runs, std::uint64_t begin,
                                   std::uint64_t end);

class ImageTables {
   public:
    virtual ~ImageTables() = default;

    // Parts of the disk are rarely smaller than this.
    virtual std::uint64_t granule() const = 0;

    // Appends to RUNS what is known of the disk from BEGIN to END, which is inside of it, in order
    // and without gaps; FILE is noted in each. Equal neighbours are one. Errors: io.
    virtual Result<void> look(std::uint64_t begin, std::uint64_t end, std::uint16_t file,
                              std::vector<ImageRun>& runs) const = 0;

    // The block of RUN, which is packed: exactly its unpacked_bytes. Errors: io, also when it does
    // not unpack to that. The message goes after the file's name.
    virtual Result<std::vector<std::byte>> unpack(const ImageRun& run) const = 0;
};

}  // namespace signpost
