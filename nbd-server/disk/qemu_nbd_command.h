// SPDX-License-Identifier: BSD-3-Clause
//
// The command line of the qemu-nbd that serves an image: every layer of its chain spelled out, each
// with its format and the descriptor of its file, so that nothing is probed and no file name in a
// header is followed.
//
// Pure but for fstat. Threads: any.

#pragma once

#include <string>
#include <vector>

#include "nbd-server/disk/repository.h"

namespace signpost {

inline constexpr const char* kHelperExport = "image";

// FIRST_FILE is the descriptor that the first file of the chain has in the helper; the others
// follow.
std::vector<std::string> qemu_nbd_arguments(const OpenImage& image, int first_file);

}  // namespace signpost
