// SPDX-License-Identifier: BSD-3-Clause
//
// What lies at a place of the disk, by its magic numbers: libblkid's word for it, from the first
// and last bytes alone.
//
// Threads: one.

#pragma once

#include "files/disk_link.h"

namespace signpost::files {

struct Probed {
    std::string type;  // as blkid(8) says it: "ext4", "LVM2_member", "crypto_LUKS"; empty: unknown
    std::string label;
    std::string uuid;
};

// What probe() will read of these.
void probe_ahead(DiskLink& link, const std::vector<Volume>& volumes);

Probed probe(DiskLink& link, const Volume& volume);

}  // namespace signpost::files
