// SPDX-License-Identifier: BSD-3-Clause
//
// The first sectors of a disk, which tell how it wants to be booted (boot_firmware.h).
//
// The bytes are a guest's, and may hold anything. Threads: any.

#pragma once

#include <cstddef>
#include <vector>

#include "catalog/error.h"
#include "catalog/nbd_uri.h"
#include "nbd-server/disk/boot_firmware.h"

namespace signpost {

// The disk's first kDiskStart bytes, or fewer. unavailable, not_found: as the server says.
Result<std::vector<std::byte>> read_disk_start(const NbdUri& disk);

}  // namespace signpost
