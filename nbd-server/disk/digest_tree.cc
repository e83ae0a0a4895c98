// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/digest_tree.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <algorithm>
#include <cstring>
#include <tuple>
#include <vector>

namespace signpost {

namespace {

std::unexpected<Error> hash_failed(int code) {
    return fail(Errc::io, fmt::format("SHA-256 does not work here: {}; check the GnuTLS setup",
                                      ::gnutls_strerror(code)));
}

// CHUNK is not empty. Each byte equals the one before it, and the first is zero.
bool is_zero(std::span<const std::byte> chunk) {
    return chunk.front() == std::byte{0} &&
           std::memcmp(chunk.data(), chunk.data() + 1, chunk.size() - 1) == 0;
}

std::array<std::byte, 8> big_endian(std::uint64_t value) {
    std::array<std::byte, 8> bytes{};
    for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
        *byte = static_cast<std::byte>(value & 0xff);
        value >>= 8;
    }
    return bytes;
}

}  // namespace

void DigestTree::HashEnd::operator()(void* hash) const {
    ::gnutls_hash_deinit(static_cast<gnutls_hash_hd_t>(hash), nullptr);
}

Result<DigestTree> DigestTree::start(std::uint64_t size) {
    gnutls_hash_hd_t hash = nullptr;
    const int code = ::gnutls_hash_init(&hash, GNUTLS_DIG_SHA256);
    if (code < 0) {
        return hash_failed(code);
    }
    return DigestTree(size, Hash(hash));
}

std::uint64_t DigestTree::next_chunk_bytes() const {
    return std::min(kChunkBytes, size_ - added_);
}

Result<void> DigestTree::add(std::span<const std::byte> chunk) {
    if (chunk.empty() || chunk.size() != next_chunk_bytes()) {
        return fail(Errc::invalid, fmt::format("a chunk of {} bytes where {} were due",
                                               chunk.size(), next_chunk_bytes()));
    }
    // Looking is many times faster than hashing, and sparse disks are mostly zero.
    if (chunk.size() == kChunkBytes && is_zero(chunk)) {
        return add_zero_chunk();
    }
    const auto digest = digest_of_chunk(chunk);
    if (!digest) {
        return std::unexpected(digest.error());
    }
    return add_digest(*digest);
}

Result<void> DigestTree::add_zero_chunk() {
    const std::uint64_t bytes = next_chunk_bytes();
    if (bytes == 0) {
        return fail(Errc::invalid, "a chunk of zeroes where none was due");
    }
    if (bytes == kChunkBytes && zero_chunk_known_) {
        return add_digest(zero_chunk_);
    }
    const auto digest = digest_of_zeroes(bytes);
    if (!digest) {
        return std::unexpected(digest.error());
    }
    if (bytes == kChunkBytes) {
        zero_chunk_ = *digest;
        zero_chunk_known_ = true;
    }
    return add_digest(*digest);
}

Result<void> DigestTree::add_digest(const ChunkDigest& digest) {
    const std::uint64_t bytes = next_chunk_bytes();
    if (bytes == 0) {
        return fail(Errc::invalid, "a chunk's digest where none was due");
    }
    const int code =
        ::gnutls_hash(static_cast<gnutls_hash_hd_t>(root_.get()), digest.data(), digest.size());
    if (code < 0) {
        return hash_failed(code);
    }
    added_ += bytes;
    last_ = digest;
    return {};
}

Result<std::string> DigestTree::finish() {
    if (added_ != size_) {
        return fail(Errc::invalid,
                    fmt::format("only {} of {} bytes were added to the digest", added_, size_));
    }
    const auto size = big_endian(size_);
    const auto hash = static_cast<gnutls_hash_hd_t>(root_.get());
    const int code = ::gnutls_hash(hash, size.data(), size.size());
    if (code < 0) {
        return hash_failed(code);
    }
    ChunkDigest root{};
    ::gnutls_hash_output(hash, root.data());
    std::string text = "sha256-32k:";
    for (const std::byte byte : root) {
        text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    }
    return text;
}

Result<DigestTree::ChunkDigest> digest_of_chunk(std::span<const std::byte> chunk) {
    const auto pieces = piece_digests(chunk);
    if (!pieces) {
        return std::unexpected(pieces.error());
    }
    return sha256(std::as_bytes(std::span(*pieces)));
}

Result<DigestTree::ChunkDigest> digest_of_zeroes(std::uint64_t bytes) {
    return digest_of_chunk(std::vector<std::byte>(bytes));
}

Result<DigestTree::Leaves> prove_leaves(std::span<const std::byte> bytes, std::uint64_t size,
                                        std::string_view digest) {
    constexpr std::size_t kLeaf = std::tuple_size_v<DigestTree::ChunkDigest>;
    if (bytes.size() % kLeaf != 0 || bytes.size() / kLeaf != chunk_count(size)) {
        return fail(Errc::invalid,
                    fmt::format("{} bytes of chunk digests where {} chunks have {}", bytes.size(),
                                chunk_count(size), chunk_count(size) * kLeaf));
    }
    auto tree = DigestTree::start(size);
    if (!tree) {
        return std::unexpected(tree.error());
    }
    DigestTree::Leaves leaves(bytes.size() / kLeaf);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        std::ranges::copy(bytes.subspan(i * kLeaf, kLeaf), leaves[i].begin());
        if (auto added = tree->add_digest(leaves[i]); !added) {
            return std::unexpected(added.error());
        }
    }
    const auto root = tree->finish();
    if (!root) {
        return std::unexpected(root.error());
    }
    if (*root != digest) {
        return fail(Errc::invalid, "these chunk digests do not give the disk's digest");
    }
    return leaves;
}

}  // namespace signpost
