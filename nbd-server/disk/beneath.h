// SPDX-License-Identifier: BSD-3-Clause
//
// Opening files beneath a directory by the kernel's own rule: openat2 resolves the path, and
// neither
// `..`, nor an absolute name, nor a symbolic link, nor a magic link of /proc leads out of it. A
// name that does fails with EXDEV or ELOOP.
//
// Errors are errno values. Threads: any.

#pragma once

#include <expected>
#include <string>

#include "nbd-server/disk/unique_fd.h"

namespace signpost {

enum class Links { follow, refuse };  // symbolic links on the way that stay beneath

// FLAGS as for open(2); O_CLOEXEC is added.
std::expected<UniqueFd, int> open_beneath(int root, const std::string& path, int flags,
                                          Links links = Links::follow);

// What the operating system calls ERROR.
std::string error_text(int error);

}  // namespace signpost
