// SPDX-License-Identifier: BSD-3-Clause
//
// The files that a helper may open, as Landlock rules: the system's programs and libraries, and the
// files of its image. So even a header that was changed after it was checked leads nowhere else.
//
// Threads: any.

#pragma once

#include <span>
#include <string>

#include "nbd-server/disk/unique_fd.h"

namespace signpost {

// For restrict_to_ruleset (landlock.h). Empty when the kernel has no Landlock: the helper then
// relies on the other rules alone.
UniqueFd make_ruleset(std::span<const int> files, bool write, const std::string& program);

}  // namespace signpost
