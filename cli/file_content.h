// SPDX-License-Identifier: BSD-3-Clause
//
// The content of one file of a disk, from its beginning to its end, as fast as the disk can be
// read: many reads under way, given on in order.
//
// Threads: one.

#pragma once

#include "cli/file_reader.h"

namespace signpost {

// Where content goes. A failure ends the reading.
class ContentSink {
   public:
    virtual ~ContentSink() = default;
    virtual Result<void> bytes(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
    virtual Result<void> hole(std::uint64_t offset, std::uint64_t length) = 0;
};

struct FileAt {
    files::Volume volume;
    std::uint64_t inode;
    std::uint64_t size;
};

// io: some of the content cannot be read; the message says where.
Result<void> read_content(FileReader& reader, const FileAt& file, ContentSink& sink);

}  // namespace signpost
