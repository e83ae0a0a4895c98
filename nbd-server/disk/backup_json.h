// SPDX-License-Identifier: BSD-3-Clause
//
// The JSON in the streams of virtnbdbackup, which is outside input: bounded, and empty for anything
// but what the program writes. Private to backup_stream.cc. Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "nbd-server/disk/backup_stream.h"

namespace signpost {

struct BackupMetaText {
    BackupMeta meta;
    std::uint64_t version = 0;  // of the stream
    bool lz4 = false;           // the compression's method
};

std::optional<BackupMetaText> parse_backup_meta(std::string_view text);

// For each frame of data, the sizes of the blocks that it is made of.
struct BackupBlocks {
    std::vector<std::uint32_t> counts;
    std::vector<std::uint32_t> sizes;  // of all
};

// MOST: blocks in all.
std::optional<BackupBlocks> parse_backup_blocks(std::string_view text, std::size_t most);

}  // namespace signpost
