// SPDX-License-Identifier: BSD-3-Clause
//
// A qcow2 image, with what it is based on, as a read-only Disk (chain_disk.h). What is damaged (a
// table that points out of the file, a compressed cluster that does not unpack) is EIO there, and
// there alone.
//
// Lifetime and threads: as Disk.

#pragma once

#include <memory>

#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

// Whether IMAGE is one for make_qcow2_disk(): read-only qcow2, over qcow2 and raw.
bool is_plain_qcow2(const OpenImage& image);

// Errors: conflict, when it has changed since it was opened; invalid, io. LOG outlives the disk.
Result<std::shared_ptr<Disk>> make_qcow2_disk(OpenImage image, Log& log);

}  // namespace signpost
