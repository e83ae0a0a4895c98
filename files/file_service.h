// SPDX-License-Identifier: BSD-3-Clause
//
// Answers the command's questions about the file systems of one disk, until the command leaves.
//
// Threads: one.

#pragma once

#include "files/disk_link.h"

namespace signpost::files {

[[noreturn]] void serve_files(DiskLink& link);

}  // namespace signpost::files
