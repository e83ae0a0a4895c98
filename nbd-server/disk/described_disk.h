// SPDX-License-Identifier: BSD-3-Clause
//
// A disk as one kind of session sees it: the same requests go to a shared disk, under another
// description, and read-only if so wished.
//
// Lifetime and threads: as Disk.

#pragma once

#include <memory>
#include <string>

#include "nbd-server/disk/boot_watch.h"
#include "nbd-server/disk/disk.h"

namespace signpost {

// READ_ONLY can take the right to write away, not give it. WATCH sees what is read; null: nobody.
std::shared_ptr<Disk> make_described_disk(std::shared_ptr<Disk> disk, std::string description,
                                          bool read_only,
                                          std::shared_ptr<BootWatch> watch = nullptr);

}  // namespace signpost
