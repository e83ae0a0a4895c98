// SPDX-License-Identifier: BSD-3-Clause

#include "cli/leaf_reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <tuple>
#include <vector>

#include "terminal/text.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kStall{10'000};
constexpr std::uint64_t kPiece = 1024 * 1024;
constexpr std::uint64_t kLeafBytes = std::tuple_size_v<DigestTree::ChunkDigest>;

// One read, waited for. The buffer is the connection's until then, or until it is closed.
Result<void> read_piece(PeerConnection& connection, std::span<std::byte> to, std::uint64_t offset) {
    int status = -1;
    auto begun = connection.start_read(to, offset, [&status](int error) { status = error; });
    const auto until = steady_clock::now() + kStall;
    while (begun && status < 0) {
        const auto left = std::chrono::duration_cast<milliseconds>(until - steady_clock::now());
        begun = left > milliseconds(0) ? connection.turn(left)
                                       : fail(Errc::unavailable, "no chunk digests for 10 s");
    }
    if (!begun) {
        connection.close();
        return begun;
    }
    return status == 0 ? Result<void>()
                       : fail(Errc::io, fmt::format("the chunk digests cannot be read: {}",
                                                    std::generic_category().message(status)));
}

}  // namespace

Result<DigestTree::Leaves> read_leaves(PeerConnection& connection, const DiskName& disk,
                                       std::uint64_t size, const std::string& digest) {
    const auto facts = connection.open(fmt::format("{}{}", ExportName::kDigestsPrefix, disk.str()));
    if (!facts) {
        return std::unexpected(facts.error());
    }
    // As many as the disk has chunks, whatever the server says: nothing larger is allocated.
    if (facts->size != chunk_count(size) * kLeafBytes) {
        return fail(Errc::invalid, fmt::format("{} bytes of chunk digests where {} are due",
                                               facts->size, chunk_count(size) * kLeafBytes));
    }
    std::vector<std::byte> bytes(facts->size);
    for (std::uint64_t at = 0; at < bytes.size(); at += kPiece) {
        const auto piece = std::span(bytes).subspan(at, std::min(kPiece, bytes.size() - at));
        if (auto read = read_piece(connection, piece, at); !read) {
            return std::unexpected(read.error());
        }
    }
    connection.close();
    return prove_leaves(bytes, size, digest);
}

std::string difference(const DigestTree::Leaves& found, const DigestTree::Leaves& wanted,
                       std::uint64_t size) {
    std::uint64_t bad = 0;
    std::uint64_t first = 0;
    for (std::uint64_t chunk = 0; chunk < std::min(found.size(), wanted.size()); ++chunk) {
        if (found[chunk] != wanted[chunk] && bad++ == 0) {
            first = chunk;
        }
    }
    if (bad == 0) {
        return "nothing";
    }
    const std::uint64_t offset = first * DigestTree::kChunkBytes;
    const std::string text =
        fmt::format("bytes {} to {}", offset, offset + chunk_bytes(size, first));
    return bad == 1 ? text : fmt::format("{}, and {} more", text, counted(bad - 1, "chunk"));
}

}  // namespace signpost
