// SPDX-License-Identifier: BSD-3-Clause

#include "files/ext_directory.h"

namespace signpost::files {

namespace {

constexpr std::size_t kHead = 8;  // inode, length of the entry, length of the name, type

FileType type_of(unsigned char type) {
    constexpr FileType kTypes[] = {
        FileType::unknown,      FileType::regular, FileType::directory, FileType::character_device,
        FileType::block_device, FileType::fifo,    FileType::socket,    FileType::symlink};
    return type < std::size(kTypes) ? kTypes[type] : FileType::unknown;
}

}  // namespace

bool add_ext_entries(std::string_view block, bool has_types, std::uint64_t last,
                     std::vector<Entry>& entries) {
    while (!block.empty()) {
        const auto byte = [block](std::size_t at) { return static_cast<unsigned char>(block[at]); };
        if (block.size() < kHead) {
            return false;
        }
        const std::size_t length = byte(4) + 256U * byte(5);
        const std::size_t name = byte(6);
        const std::uint64_t inode = byte(0) | std::uint64_t{byte(1)} << 8 |
                                    std::uint64_t{byte(2)} << 16 | std::uint64_t{byte(3)} << 24;
        if (length < kHead || length > block.size() || name > length - kHead || inode > last) {
            return false;
        }
        // An entry of inode 0 is room, or hides a node of the index, or a checksum.
        if (const auto text = block.substr(kHead, name); inode != 0 && is_component(text)) {
            Entry& entry = entries.emplace_back();
            entry.name = text;
            entry.inode = inode;
            entry.type = has_types ? type_of(byte(7)) : FileType::unknown;
        }
        block.remove_prefix(length);
    }
    return true;
}

}  // namespace signpost::files
