// SPDX-License-Identifier: BSD-3-Clause
//
// The server's replies in the transmission phase, but for the bytes of the disk: the heads that go
// in front of them, and whole replies that have none. Each put_ function encodes into memory that
// the caller has, in the style that was negotiated, and returns how many bytes it wrote. Pure; no
// allocation. Source: doc/proto.md, "Transmission", and its extension-ext-header branch.
//
// Room: each function says how much it may need; constants below hold the most of any style, so
// that a caller can reserve it in front of a payload. A `to` that is too small is the caller's
// mistake: nothing is written and 0 returned.
//
// Which function for what:
//   READ, simple replies   put_read_head for all of it, then the data; or put_error
//   READ, chunks           per piece put_read_head and its data, or put_hole; the last one is
//                          `done`, or put_done follows; an error on the way: put_error ends it
//   BLOCK_STATUS           put_status per selected context, the last one `done`; or put_error
//   everything else        put_success or put_error
//
// Any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "nbd-server/wire/extent.h"
#include "nbd-server/wire/protocol.h"

namespace signpost::wire {

enum class ReplyStyle : std::uint8_t {
    simple,      // neither STRUCTURED_REPLY nor EXTENDED_HEADERS
    structured,  // STRUCTURED_REPLY
    extended,    // EXTENDED_HEADERS: 32-byte headers both ways
};

// The request that is answered.
struct ReplyTo {
    ReplyStyle style;
    std::uint64_t cookie;
    std::uint64_t offset;  // as in the request; extended headers echo it
};

// Whether more chunks of the same reply follow.
enum class Ending : std::uint8_t { more, done };

inline constexpr std::size_t chunk_header_size(ReplyStyle style) {
    return style == ReplyStyle::extended ? sizeof(ExtendedChunkHeader) : sizeof(ChunkHeader);
}

// What put_read_head writes, exactly.
inline constexpr std::size_t read_head_size(ReplyStyle style) {
    return style == ReplyStyle::simple ? sizeof(SimpleReplyHeader)
                                       : chunk_header_size(style) + sizeof(Be64);
}

inline constexpr std::size_t kMaxReadHead = 40;
inline constexpr std::size_t kMaxHole = 44;
inline constexpr std::size_t kMaxSuccess = 32;
inline constexpr std::size_t kMaxError = 32 + 6 + kMaxString;
inline constexpr std::size_t kMaxErrorAt = kMaxError + 8;

// The head of LENGTH bytes of data from OFFSET on, which the caller sends behind it. Simple: the
// data is the whole of the read, and `ending` says nothing. Chunks: LENGTH is not 0 and at most
// 2^32 - 9. Room: read_head_size().
std::size_t put_read_head(std::span<std::byte> to, const ReplyTo& request, std::uint64_t offset,
                          std::uint32_t length, Ending ending);

// LENGTH (not 0) bytes from OFFSET on read as zeroes. Chunks only, and not with DF. Room: kMaxHole.
std::size_t put_hole(std::span<std::byte> to, const ReplyTo& request, std::uint64_t offset,
                     std::uint32_t length, Ending ending);

// The end of a series of chunks. Not with simple replies. Room: kMaxSuccess.
std::size_t put_done(std::span<std::byte> to, const ReplyTo& request);

// Success of a command without payload in its reply: a simple reply where that is allowed (it is 4
// bytes shorter, and what clients know best). Not for READ. Room: kMaxSuccess.
std::size_t put_success(std::span<std::byte> to, const ReplyTo& request);

// ERROR is one of kError*, not 0. The sentence goes to the user of the client: it is escaped, and
// cut to kMaxString or to the room; simple replies have none. Room: kMaxError, or as little as
// kMaxError - kMaxString when the sentence may be cut.
std::size_t put_error(std::span<std::byte> to, const ReplyTo& request, std::uint32_t error,
                      std::string_view sentence, Ending ending = Ending::done);

// As put_error, at a byte of the disk inside the request; the other chunks of the reply stand.
// Simple replies have no place for it: there it is put_error. Room: kMaxErrorAt.
std::size_t put_error_at(std::span<std::byte> to, const ReplyTo& request, std::uint32_t error,
                         std::string_view sentence, std::uint64_t offset, Ending ending);

// What BLOCK_STATUS asks of each context.
struct StatusQuestion {
    std::uint64_t length;   // of the request: not 0
    bool only_one = false;  // kCommandReqOne
};

inline constexpr std::size_t extent_size(ReplyStyle style) {
    return style == ReplyStyle::extended ? sizeof(ExtendedBlockDescriptor)
                                         : sizeof(BlockDescriptor);
}

// Room for COUNT extents.
inline constexpr std::size_t status_size(ReplyStyle style, std::size_t count) {
    return chunk_header_size(style) + sizeof(Be32) +
           (style == ReplyStyle::extended ? sizeof(Be32) : 0) + count * extent_size(style);
}

// The status of one context, from the request's offset on: what EXTENTS say, with neighbours of the
// same flags joined, empty ones left out, and cut where the protocol or the room ends: one extent
// no longer than the request for only_one; none that begins beyond the request; at most
// kMaxDescriptors; 32-bit lengths without extended headers (a longer one is cut and is the last).
// To give less than the request is allowed: the client asks again from there.
//
// EXTENTS must cover at least one byte. Room: at least status_size(style, 1). Chunks only.
std::size_t put_status(std::span<std::byte> to, const ReplyTo& request, std::uint32_t context,
                       std::span<const Extent> extents, const StatusQuestion& question,
                       Ending ending);

// The NBD error value for the errno of a failed system call: one of the eight that the protocol
// knows, and of these neither EOVERFLOW nor ENOMEM; ENOTSUP only where `fast_zero` says that the
// request was a WRITE_ZEROES with FAST_ZERO. What has no counterpart is EIO. 0 stays 0.
std::uint32_t wire_error(int error_number, bool fast_zero = false);

}  // namespace signpost::wire
