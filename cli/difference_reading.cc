// SPDX-License-Identifier: BSD-3-Clause

#include "cli/difference_reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <system_error>

namespace signpost {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kStall{10'000};
constexpr std::uint64_t kPiece = 1024 * 1024;
constexpr std::size_t kPieces = 8;  // under way
constexpr std::uint64_t kMapBytes = std::uint64_t{1} << 30;

// Moves bytes until DONE says so.
Result<void> wait_for(PeerConnection& connection, const std::function<bool()>& done) {
    auto until = steady_clock::now() + kStall;
    while (!done()) {
        const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
        if (left <= milliseconds(0)) {
            return fail(Errc::unavailable, "no progress for 10 s");
        }
        if (auto turned = connection.turn(left); !turned) {
            return turned;
        }
    }
    return {};
}

struct Half {
    std::vector<std::byte> bytes;
    int error = -1;  // until it has come
};

struct Piece {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    Half one;
    Half other;
};

class Comparison {
   public:
    Comparison(PeerConnection& one, PeerConnection& other) : one_(one), other_(other) {}

    Result<Difference> run(const ByteRanges& ranges,
                           const std::function<void(std::uint64_t bytes)>& reached) {
        for (const ByteRange& range : ranges) {
            for (std::uint64_t done = 0; done < range.length;) {
                const std::uint64_t length = std::min(kPiece, range.length - done);
                if (auto begun = begin(range.offset + done, length); !begun) {
                    return std::unexpected(begun.error());
                }
                done += length;
                if (auto ended = pieces_.size() < kPieces ? Result<void>{} : end(reached); !ended) {
                    return std::unexpected(ended.error());
                }
            }
        }
        while (!pieces_.empty()) {
            if (auto ended = end(reached); !ended) {
                return std::unexpected(ended.error());
            }
        }
        return std::move(found_);
    }

   private:
    static Result<void> read(PeerConnection& connection, Half& half, const Piece& piece) {
        half.bytes.resize(piece.length);
        return connection.start_read(half.bytes, piece.offset,
                                     [&half](int error) { half.error = error; });
    }

    Result<void> begin(std::uint64_t offset, std::uint64_t length) {
        Piece& piece = pieces_.emplace_back();
        piece.offset = offset;
        piece.length = length;
        auto begun = read(one_, piece.one, piece);
        return begun ? read(other_, piece.other, piece) : begun;
    }

    static Result<void> come(PeerConnection& connection, const Half& half, const Piece& piece) {
        if (auto came = wait_for(connection, [&half] { return half.error >= 0; }); !came) {
            return came;
        }
        return half.error == 0
                   ? Result<void>{}
                   : fail(Errc::io, fmt::format("read at byte {}: {}", piece.offset,
                                                std::generic_category().message(half.error)));
    }

    // The oldest.
    Result<void> end(const std::function<void(std::uint64_t bytes)>& reached) {
        const Piece& piece = pieces_.front();
        auto came = come(one_, piece.one, piece);
        if (came) {
            came = come(other_, piece.other, piece);
        }
        if (!came) {
            return came;
        }
        compare_blocks(piece.one.bytes, piece.other.bytes, piece.offset, found_.ranges);
        found_.bytes_read += piece.length;
        pieces_.pop_front();
        reached(found_.bytes_read);
        return {};
    }

    PeerConnection& one_;
    PeerConnection& other_;
    std::deque<Piece> pieces_;  // under way: where they are, replies are written to
    Difference found_;
};

}  // namespace

void append_range(ByteRanges& ranges, const ByteRange& range) {
    if (range.length == 0) {
        return;
    }
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == range.offset) {
        ranges.back().length += range.length;
    } else {
        ranges.push_back(range);
    }
}

ByteRanges without_equal_chunks(const ByteRanges& ranges, const DigestTree::Leaves& one,
                                const DigestTree::Leaves& other) {
    constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;
    ByteRanges left;
    for (const ByteRange& range : ranges) {
        const std::uint64_t end = range.offset + range.length;
        for (std::uint64_t at = range.offset; at < end;) {
            const std::uint64_t chunk = at / kChunk;
            const std::uint64_t until = std::min(end, (chunk + 1) * kChunk);
            const bool equal =
                chunk < one.size() && chunk < other.size() && one[chunk] == other[chunk];
            append_range(left, {at, equal ? 0 : until - at});
            at = until;
        }
    }
    return left;
}

Result<ByteRanges> ask_differences(PeerConnection& connection, std::uint64_t size) {
    ByteRanges ranges;
    for (std::uint64_t at = 0; at < size;) {
        const std::uint64_t before = at;
        int status = -1;
        const std::uint64_t end = at + std::min(kMapBytes, size - at);
        const auto note = [&](int error, const std::vector<PeerConnection::Run>& runs) {
            status = error;
            for (const auto& run : runs) {
                if (run.offset != at || run.length > end - at) {
                    break;  // gaps, or beyond what was asked: believe what came before
                }
                append_range(ranges, {at, run.differs ? run.length : 0});
                at += run.length;
            }
        };
        auto asked = connection.start_differences(at, end - at, note);
        if (asked) {
            asked = wait_for(connection, [&status] { return status >= 0; });
        }
        if (!asked) {
            connection.close();
            return std::unexpected(asked.error());
        }
        if (status != 0 || at == before) {
            append_range(ranges, {at, size - at});  // it has to be read
            return ranges;
        }
    }
    return ranges;
}

Result<Difference> read_differences(PeerConnection& one, PeerConnection& other,
                                    const ByteRanges& ranges,
                                    const std::function<void(std::uint64_t bytes)>& reached) {
    Comparison comparison(one, other);
    auto found = comparison.run(ranges, reached);
    if (!found) {
        // Before the pieces go: replies may still be on their way into them.
        one.close();
        other.close();
    }
    return found;
}

void compare_blocks(std::span<const std::byte> one, std::span<const std::byte> other,
                    std::uint64_t offset, ByteRanges& ranges) {
    for (std::size_t at = 0; at < one.size();) {
        const std::size_t to_boundary = kDifferenceBlock - (offset + at) % kDifferenceBlock;
        const std::size_t length = std::min<std::size_t>(to_boundary, one.size() - at);
        const bool equal = std::memcmp(one.data() + at, other.data() + at, length) == 0;
        append_range(ranges, {offset + at, equal ? 0 : length});
        at += length;
    }
}

std::uint64_t bytes_in(const ByteRanges& ranges) {
    std::uint64_t bytes = 0;
    for (const ByteRange& range : ranges) {
        bytes += range.length;
    }
    return bytes;
}

}  // namespace signpost
