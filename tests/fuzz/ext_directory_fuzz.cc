// SPDX-License-Identifier: BSD-3-Clause
//
// A block of a directory that a guest has written. Whatever is taken for a name is one component,
// and lies in the block.

#include <cstdlib>
#include <string_view>

#include "files/ext_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::uint64_t kLast = 1 << 20;
    const std::string_view block(reinterpret_cast<const char*>(data), size);
    std::vector<signpost::files::Entry> entries;
    signpost::files::add_ext_entries(block, size % 2 == 0, kLast, entries);
    for (const auto& entry : entries) {
        if (!signpost::files::is_component(entry.name) || entry.inode == 0 || entry.inode > kLast ||
            block.find(entry.name) == block.npos) {
            std::abort();
        }
    }
    if (entries.size() > size / 8) {
        std::abort();
    }
    return 0;
}
