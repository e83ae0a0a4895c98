// SPDX-License-Identifier: BSD-3-Clause
//
// The tables of one qcow2 file: where in the file a part of the disk is, or that it is zero, or
// that the file does not have it. Entries are read when asked for and not kept; whoever asks keeps
// what they say (ChainMap).
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

#include "nbd-server/disk/image_run.h"
#include "nbd-server/disk/qcow2_geometry.h"

namespace signpost {

class Qcow2Tables final : public ImageTables {
   public:
    // FD, of SIZE bytes, has GEOMETRY.
    Qcow2Tables(int fd, std::uint64_t size, const Qcow2Geometry& geometry)
        : fd_(fd), size_(size), geometry_(geometry) {}

    const Qcow2Geometry& geometry() const { return geometry_; }

    std::uint64_t granule() const override { return geometry_.subcluster(); }
    Result<void> look(std::uint64_t begin, std::uint64_t end, std::uint16_t file,
                      std::vector<ImageRun>& runs) const override;
    Result<std::vector<std::byte>> unpack(const ImageRun& run) const override;

   private:
    Result<void> look_in_table(std::uint64_t table, std::uint64_t begin, std::uint64_t end,
                               std::uint16_t file, std::vector<ImageRun>& runs) const;
    ImageRun run_of(std::uint64_t entry, std::uint64_t begin, std::uint64_t end) const;
    void add_subclusters(std::uint64_t entry, std::uint64_t bits, ImageRun part,
                         std::vector<ImageRun>& runs) const;
    void add_data(ImageRun part, std::vector<ImageRun>& runs) const;
    ImageRun packed(std::uint64_t entry) const;

    const int fd_;
    const std::uint64_t size_;
    const Qcow2Geometry geometry_;
};

}  // namespace signpost
