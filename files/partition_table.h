// SPDX-License-Identifier: BSD-3-Clause
//
// The partitions of a disk and what is on each; a disk without a table is one volume, number 0.
//
// Threads: one.

#pragma once

#include "files/disk_link.h"

namespace signpost::files {

// An empty list and a message: the disk could not be read.
Result<std::vector<Partition>> read_partitions(DiskLink& link);

}  // namespace signpost::files
