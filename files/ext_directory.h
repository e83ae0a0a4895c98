// SPDX-License-Identifier: BSD-3-Clause
//
// The names in a directory of ext2, ext3 or ext4, by the chains of its blocks. The Sleuth Kit,
// which looks for deleted names between them, takes hashes of a large directory's index for names,
// and compares each name with all before it.
//
// Pure; threads: any.

#pragma once

#include <string_view>
#include <vector>

#include "files/messages.h"

namespace signpost::files {

// Adds what one block has: name, inode and, if HAS_TYPES, type; `.` and `..` not. False: its chain
// is broken, or leads to an inode beyond LAST.
bool add_ext_entries(std::string_view block, bool has_types, std::uint64_t last,
                     std::vector<Entry>& entries);

}  // namespace signpost::files
