// SPDX-License-Identifier: BSD-3-Clause
//
// Where two exports have different bytes: what may differ is read from both and compared, block by
// block. What is known to be equal without reading is taken out of it before.
//
// Threads: one. Time: a server that sends nothing for ten seconds is given up (unavailable).

#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cli/peer.h"
#include "nbd-server/disk/digest_tree.h"

namespace signpost {

struct ByteRange {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    bool operator==(const ByteRange&) const = default;
};

using ByteRanges = std::vector<ByteRange>;  // in order, apart from each other

// RANGE does not begin before what RANGES have ends. An empty one is none.
void append_range(ByteRanges& ranges, const ByteRange& range);

inline constexpr std::uint64_t kDifferenceBlock = 4096;

// Of RANGES, what is not in chunks of which both have the same digest.
ByteRanges without_equal_chunks(const ByteRanges& ranges, const DigestTree::Leaves& one,
                                const DigestTree::Leaves& other);

// What the server of CONNECTION, opened with a context for that, says may differ in the first SIZE
// bytes.
Result<ByteRanges> ask_differences(PeerConnection& connection, std::uint64_t size);

struct Difference {
    ByteRanges ranges;             // whole blocks, but for the end of a range
    std::uint64_t bytes_read = 0;  // of each
};

// Reads RANGES of both, which are open and have them. REACHED is told of bytes that were compared.
Result<Difference> read_differences(PeerConnection& one, PeerConnection& other,
                                    const ByteRanges& ranges,
                                    const std::function<void(std::uint64_t bytes)>& reached);

// Appends what differs between ONE and OTHER, of equal length, which are at OFFSET.
void compare_blocks(std::span<const std::byte> one, std::span<const std::byte> other,
                    std::uint64_t offset, ByteRanges& ranges);

std::uint64_t bytes_in(const ByteRanges& ranges);

}  // namespace signpost
