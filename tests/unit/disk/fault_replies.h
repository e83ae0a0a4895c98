// SPDX-License-Identifier: BSD-3-Clause
//
// Structured replies to a read that are unusual, or wrong in one way.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace signpost::test {

enum class ReadReply {
    plain,        // one chunk with everything
    two_chunks,   // the second half first
    holes,        // blocks of 64 KiB that are zeroes are holes
    crumbs,       // a chunk for each 512 bytes
    dies,         // half of the payload comes, then the connection ends
    error_late,   // all data, then an error chunk
    short_cover,  // the second half never comes
    overlap,      // the second half twice
    outside,      // data that was not asked for
};

// The bytes of the reply to a read at OFFSET that brings DATA. Not for `plain`.
std::string make_read_reply(ReadReply kind, std::uint64_t cookie, std::uint64_t offset,
                            std::span<const std::byte> data);

}  // namespace signpost::test
