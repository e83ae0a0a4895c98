// SPDX-License-Identifier: BSD-3-Clause
//
// StageRoot is a world for programs that are not trusted: namespaces of the calling process's own,
// and a root directory with /usr, read-only, a few devices, and empty directories.
//
// Threads: the only one.

#pragma once

#include <string>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost::files {

inline constexpr char kDisks[] = "/disks";
inline constexpr char kTrees[] = "/trees";

// As another user if root; new user, mount, network, IPC and process namespaces. Returns in a child
// that is the first process of the latter; the caller's own process waits for it, and ends as it
// does.
Result<void> enter_namespaces();

// The root directory. The FUSE mount on kDisks is the descriptor's.
Result<UniqueFd> make_root();

}  // namespace signpost::files
