// SPDX-License-Identifier: BSD-3-Clause
//
// What the header of a qcow2 file says of its tables, checked: nothing in it overflows, and a table
// of the first level covers the disk. Layout: docs/interop/qcow2.txt of the QEMU project.
//
// A value.

#pragma once

#include <cstdint>

#include "nbd-server/disk/image_header.h"

namespace signpost {

enum class Qcow2Compression : std::uint8_t { zlib, zstd };

struct Qcow2Geometry {
    std::uint32_t version = 3;
    std::uint32_t cluster_bits = 16;
    std::uint64_t size = 0;  // of the disk, in bytes: whole sectors
    std::uint32_t l1_entries = 0;
    std::uint64_t l1_offset = 0;
    bool extended_l2 = false;
    Qcow2Compression compression = Qcow2Compression::zlib;

    std::uint64_t cluster() const { return std::uint64_t{1} << cluster_bits; }
    // Parts of a cluster that are allocated by themselves.
    std::uint64_t subcluster() const { return extended_l2 ? cluster() / 32 : cluster(); }
    std::uint64_t l2_entry_bytes() const { return extended_l2 ? 16 : 8; }
    std::uint64_t l2_entries() const { return cluster() / l2_entry_bytes(); }
};

// Errors: as read_image_header.
Result<Qcow2Geometry> read_qcow2_geometry(const ImageBytes& bytes);

}  // namespace signpost
