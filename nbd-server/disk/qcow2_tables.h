// SPDX-License-Identifier: BSD-3-Clause
//
// The tables of one qcow2 file: where in the file a part of the disk is, or that it is zero, or
// that the file does not have it. Entries are read when asked for and not kept; whoever asks keeps
// what they say (Qcow2Map).
//
// Whoever wrote the file is not trusted. An entry that cannot be right makes that part of the disk
// unreadable, and no other: it lies outside of the file, is not aligned, or contradicts itself. A
// last cluster of which the file has only the beginning is as QEMU leaves it; the rest is zero.
//
// Layout: docs/interop/qcow2.txt of the QEMU project. Lifetime: the file descriptor's. Threads:
// any.

#pragma once

#include <cstdint>
#include <vector>

#include "nbd-server/disk/qcow2_geometry.h"

namespace signpost {

// A part of the disk.
struct Qcow2Run {
    enum class Kind : std::uint8_t {
        absent,  // the file does not have it: what it is based on may
        zero,    // reads as zeroes, whatever is below
        data,    // in the file, from `at` on
        packed,  // some of a compressed cluster
        bad,     // nobody knows: the entry cannot be right
    };

    Kind kind = Kind::absent;
    std::uint16_t file = 0;          // its number in the chain, the top first
    std::uint32_t packed_bytes = 0;  // of the compressed cluster, in the file, at most
    std::uint64_t begin = 0;         // on the disk
    std::uint64_t end = 0;
    std::uint64_t at = 0;  // in the file: of BEGIN; packed: of the compressed cluster

    std::uint64_t length() const { return end - begin; }
};

class Qcow2Tables {
   public:
    // FD, of SIZE bytes, has GEOMETRY.
    Qcow2Tables(int fd, std::uint64_t size, const Qcow2Geometry& geometry)
        : fd_(fd), size_(size), geometry_(geometry) {}

    const Qcow2Geometry& geometry() const { return geometry_; }

    // Appends to RUNS what is known of the disk from BEGIN to END, which is inside of it, in order
    // and without gaps; FILE is noted in each. Equal neighbours are one. Errors: io.
    Result<void> look(std::uint64_t begin, std::uint64_t end, std::uint16_t file,
                      std::vector<Qcow2Run>& runs) const;

   private:
    Result<void> look_in_table(std::uint64_t table, std::uint64_t begin, std::uint64_t end,
                               std::uint16_t file, std::vector<Qcow2Run>& runs) const;
    Qcow2Run run_of(std::uint64_t entry, std::uint64_t begin, std::uint64_t end) const;
    void add_subclusters(std::uint64_t entry, std::uint64_t bits, Qcow2Run part,
                         std::vector<Qcow2Run>& runs) const;
    void add_data(Qcow2Run part, std::vector<Qcow2Run>& runs) const;
    Qcow2Run packed(std::uint64_t entry) const;

    const int fd_;
    const std::uint64_t size_;
    const Qcow2Geometry geometry_;
};

// Appends RUN, or makes the last of RUNS longer by it.
void append_run(std::vector<Qcow2Run>& runs, const Qcow2Run& run);

}  // namespace signpost
