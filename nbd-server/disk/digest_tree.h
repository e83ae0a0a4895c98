// SPDX-License-Identifier: BSD-3-Clause
//
// DigestTree computes the digest of a disk's content, which says whether two copies are the same.
//
// The disk is cut into chunks of 4 MiB, and each chunk into pieces of 32 KiB, the last ones perhaps
// shorter. A chunk's digest is the SHA-256 over those of its pieces, in order; the disk's is the
// SHA-256 over those of its chunks, in order, followed by the size in 8 bytes, big-endian. Its text
// form is "sha256-32k:" and 64 hexadecimal digits. A tree rather than one hash over all bytes,
// because a chunk known to be zero then costs nothing, two copies that differ can be compared by
// chunk, and pieces are hashed side by side (piece_digests.h).
//
// The chunks' digests in order are the disk's *leaves*: whoever has them, and knows that they give
// the digest (prove_leaves), can check each chunk by itself.
//
// Pure: bytes in, text out; memory does not grow with the disk, but for leaves: 8 MiB for each TiB.
// Threads: one at a time.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/piece_digests.h"

namespace signpost {

class DigestTree {
   public:
    static constexpr std::uint64_t kChunkBytes = 4 * 1024 * 1024;
    using ChunkDigest = Sha256;
    using Leaves = std::vector<ChunkDigest>;

    // For a disk of SIZE bytes. io when GnuTLS refuses to hash.
    static Result<DigestTree> start(std::uint64_t size);

    // The bytes that the next chunk has: kChunkBytes, or less for the last; 0 when all were added.
    std::uint64_t next_chunk_bytes() const;

    // Adds the next chunk: its bytes, or the news that they are all zero. Fails with invalid when
    // the length is not next_chunk_bytes().
    Result<void> add(std::span<const std::byte> chunk);
    Result<void> add_zero_chunk();
    Result<void> add_digest(const ChunkDigest& digest);  // of a chunk that was hashed before

    // Of the chunk that was added last.
    const ChunkDigest& last() const { return last_; }

    // The digest's text. invalid unless every chunk was added. Call it once, last.
    Result<std::string> finish();

   private:
    struct HashEnd {
        void operator()(void* hash) const;
    };
    using Hash = std::unique_ptr<void, HashEnd>;

    DigestTree(std::uint64_t size, Hash root) : size_(size), root_(std::move(root)) {}

    std::uint64_t size_;
    std::uint64_t added_ = 0;
    Hash root_;
    ChunkDigest zero_chunk_{};  // of a whole one
    bool zero_chunk_known_ = false;
    ChunkDigest last_{};
};

// What a disk of SIZE bytes is cut into.
constexpr std::uint64_t chunk_count(std::uint64_t size) {
    return size / DigestTree::kChunkBytes + (size % DigestTree::kChunkBytes == 0 ? 0 : 1);
}
constexpr std::uint64_t chunk_bytes(std::uint64_t size, std::uint64_t chunk) {
    const std::uint64_t left = size - chunk * DigestTree::kChunkBytes;
    return left < DigestTree::kChunkBytes ? left : DigestTree::kChunkBytes;
}

// io when GnuTLS refuses to hash.
Result<DigestTree::ChunkDigest> digest_of_chunk(std::span<const std::byte> chunk);
Result<DigestTree::ChunkDigest> digest_of_zeroes(std::uint64_t bytes);

// BYTES as the leaves of a disk of SIZE bytes whose digest is DIGEST; invalid when they are not.
Result<DigestTree::Leaves> prove_leaves(std::span<const std::byte> bytes, std::uint64_t size,
                                        std::string_view digest);

}  // namespace signpost
