// SPDX-License-Identifier: BSD-3-Clause
//
// The numbers and message layouts of the NBD protocol, and nothing else. Names follow doc/proto.md
// of the NBD project, section "Values", without the NBD_ prefix.
//
// The structs are what travels: fields of big-endian byte types, so that they have no padding and
// no alignment, and may be copied from and to any byte of a buffer. Values; no thread rule.

#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

namespace signpost::wire {

template <std::unsigned_integral T>
class BigEndian {
 public:
    BigEndian() = default;
    BigEndian(T value) {
        const T swapped = to_wire(value);
        std::memcpy(bytes_, &swapped, sizeof bytes_);
    }
    operator T() const {
        T value;
        std::memcpy(&value, bytes_, sizeof bytes_);
        return to_wire(value);
    }

 private:
    static constexpr T to_wire(T value) {
        return std::endian::native == std::endian::little ? std::byteswap(value) : value;
    }

    std::byte bytes_[sizeof(T)];
};

using Be16 = BigEndian<std::uint16_t>;
using Be32 = BigEndian<std::uint32_t>;
using Be64 = BigEndian<std::uint64_t>;

// The bytes of a wire struct, appended to OUT.
template <class Wire>
requires std::is_trivially_copyable_v<Wire>
void append(std::string& out, const Wire& message) {
    static_assert(alignof(Wire) == 1);
    out.append(reinterpret_cast<const char*>(&message), sizeof message);
}

// A number, big-endian.
template <std::unsigned_integral Value>
void append_value(std::string& out, Value value) {
    append(out, BigEndian<Value>(value));
}

// Handshake.

inline constexpr std::uint64_t kServerMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t kOldstyleMagic = 0x0000420281861253;
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;

inline constexpr std::uint16_t kServerFixedNewstyle = 1 << 0;
inline constexpr std::uint16_t kServerNoZeroes = 1 << 1;
inline constexpr std::uint32_t kClientFixedNewstyle = 1 << 0;
inline constexpr std::uint32_t kClientNoZeroes = 1 << 1;

inline constexpr std::size_t kMaxString = 4096;         // names, descriptions, error messages
inline constexpr std::size_t kExportNamePadding = 124;  // zeroes behind the EXPORT_NAME answer

enum class Option : std::uint32_t {
    none = 0,
    export_name = 1,
    abort = 2,
    list = 3,
    starttls = 5,
    info = 6,
    go = 7,
    structured_reply = 8,
    list_meta_context = 9,
    set_meta_context = 10,
    extended_headers = 11,

    // Ours, between Signpost servers, from far outside the range that the protocol hands out: the
    // four letters "SPTK". Data: a ticket, opaque text of 1 to kMaxString bytes, which says for
    // whom the asking server asks. Answer: ACK, or ERR_POLICY. A server that knows no tickets
    // answers ERR_UNSUP, as to any unknown option. STARTTLS forgets it like all that came before.
    ticket = 0x5350544b,
};

inline constexpr Option kOptionTicket = Option::ticket;

enum class OptionReply : std::uint32_t {
    ack = 1,
    server = 2,
    info = 3,
    meta_context = 4,
    err_unsup = 0x80000001,
    err_policy = 0x80000002,
    err_invalid = 0x80000003,
    err_platform = 0x80000004,
    err_tls_reqd = 0x80000005,
    err_unknown = 0x80000006,
    err_shutdown = 0x80000007,
    err_block_size_reqd = 0x80000008,
    err_too_big = 0x80000009,
    err_ext_header_reqd = 0x8000000a,
};

inline constexpr bool is_error(OptionReply type) {
    return (static_cast<std::uint32_t>(type) & 0x80000000) != 0;
}

enum class Info : std::uint16_t {
    export_ = 0,
    name = 1,
    description = 2,
    block_size = 3,
};

inline constexpr std::uint32_t kMaxMinimumBlock = 64 * 1024;
inline constexpr std::uint32_t kNoPayloadLimit = 0xffffffff;

// Transmission flags.
inline constexpr std::uint16_t kFlagHasFlags = 1 << 0;
inline constexpr std::uint16_t kFlagReadOnly = 1 << 1;
inline constexpr std::uint16_t kFlagSendFlush = 1 << 2;
inline constexpr std::uint16_t kFlagSendFua = 1 << 3;
inline constexpr std::uint16_t kFlagRotational = 1 << 4;
inline constexpr std::uint16_t kFlagSendTrim = 1 << 5;
inline constexpr std::uint16_t kFlagSendWriteZeroes = 1 << 6;
inline constexpr std::uint16_t kFlagSendDf = 1 << 7;
inline constexpr std::uint16_t kFlagCanMultiConn = 1 << 8;
inline constexpr std::uint16_t kFlagSendResize = 1 << 9;
inline constexpr std::uint16_t kFlagSendCache = 1 << 10;
inline constexpr std::uint16_t kFlagSendFastZero = 1 << 11;
inline constexpr std::uint16_t kFlagBlockStatusPayload = 1 << 12;  // with extended headers only

// Transmission.

inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kChunkMagic = 0x668e33ef;
inline constexpr std::uint32_t kExtendedRequestMagic = 0x21e41c71;
inline constexpr std::uint32_t kExtendedChunkMagic = 0x6e8a278c;

// What our server takes in one request, and answers one READ with. What it advertises may be less.
inline constexpr std::uint32_t kMaxPayload = 64 * 1024 * 1024;

enum class Command : std::uint16_t {
    read = 0,
    write = 1,
    disconnect = 2,
    flush = 3,
    trim = 4,
    cache = 5,
    write_zeroes = 6,
    block_status = 7,
};

inline constexpr std::uint16_t kCommandFua = 1 << 0;
inline constexpr std::uint16_t kCommandNoHole = 1 << 1;
inline constexpr std::uint16_t kCommandDf = 1 << 2;
inline constexpr std::uint16_t kCommandReqOne = 1 << 3;
inline constexpr std::uint16_t kCommandFastZero = 1 << 4;
inline constexpr std::uint16_t kCommandPayloadLength = 1 << 5;  // with extended headers only

inline constexpr std::uint16_t kChunkDone = 1 << 0;

enum class Chunk : std::uint16_t {
    none = 0,
    offset_data = 1,
    offset_hole = 2,
    block_status = 5,
    block_status_ext = 6,  // with extended headers only, and then always
    error = 0x8001,
    error_offset = 0x8002,
};

inline constexpr bool is_error(Chunk type) {
    return (static_cast<std::uint16_t>(type) & 0x8000) != 0;
}

inline constexpr std::uint32_t kMaxDescriptors = 1 << 20;  // in one block status chunk

inline constexpr char kBaseAllocation[] = "base:allocation";
inline constexpr std::uint32_t kStateHole = 1 << 0;
inline constexpr std::uint32_t kStateZero = 1 << 1;

// Ours: where the bytes are that a read would bring.
inline constexpr char kPlacement[] = "x-signpost:placement";
inline constexpr std::uint32_t kPlacementLocal = 0;    // on this server
inline constexpr std::uint32_t kPlacementCached = 1;   // of another server, with a copy here
inline constexpr std::uint32_t kPlacementRelayed = 2;  // on another server

// Ours: where the disk may have other bytes than OTHER, whose name follows.
inline constexpr char kDiffPrefix[] = "x-signpost:diff:";
inline constexpr std::uint32_t kStateDiffers = 1 << 0;

inline constexpr std::uint32_t kErrorPerm = 1;
inline constexpr std::uint32_t kErrorIo = 5;
inline constexpr std::uint32_t kErrorNoMemory = 12;
inline constexpr std::uint32_t kErrorInvalid = 22;
inline constexpr std::uint32_t kErrorNoSpace = 28;
inline constexpr std::uint32_t kErrorOverflow = 75;
inline constexpr std::uint32_t kErrorNotSupported = 95;
inline constexpr std::uint32_t kErrorShutdown = 108;

// Messages.

struct OptionHeader {
    Be64 magic;
    Be32 option;
    Be32 length;
};
static_assert(sizeof(OptionHeader) == 16);

struct OptionReplyHeader {
    Be64 magic;
    Be32 option;
    Be32 type;
    Be32 length;
};
static_assert(sizeof(OptionReplyHeader) == 20 && offsetof(OptionReplyHeader, type) == 12);

struct RequestHeader {
    Be32 magic;
    Be16 flags;
    Be16 command;
    Be64 cookie;
    Be64 offset;
    Be32 length;
};
static_assert(sizeof(RequestHeader) == 28 && offsetof(RequestHeader, cookie) == 8);

struct ExtendedRequestHeader {
    Be32 magic;
    Be16 flags;
    Be16 command;
    Be64 cookie;
    Be64 offset;
    Be64 length;  // of the payload with kCommandPayloadLength, else of the effect
};
static_assert(sizeof(ExtendedRequestHeader) == 32 && offsetof(ExtendedRequestHeader, length) == 24);

struct SimpleReplyHeader {
    Be32 magic;
    Be32 error;
    Be64 cookie;
};
static_assert(sizeof(SimpleReplyHeader) == 16);

struct ChunkHeader {
    Be32 magic;
    Be16 flags;
    Be16 type;
    Be64 cookie;
    Be32 length;
};
static_assert(sizeof(ChunkHeader) == 20 && offsetof(ChunkHeader, cookie) == 8);

struct ExtendedChunkHeader {
    Be32 magic;
    Be16 flags;
    Be16 type;
    Be64 cookie;
    Be64 offset;  // the request's
    Be64 length;
};
static_assert(sizeof(ExtendedChunkHeader) == 32 && offsetof(ExtendedChunkHeader, length) == 24);

struct BlockDescriptor {
    Be32 length;
    Be32 flags;
};
static_assert(sizeof(BlockDescriptor) == 8);

struct ExtendedBlockDescriptor {
    Be64 length;
    Be64 flags;
};
static_assert(sizeof(ExtendedBlockDescriptor) == 16);

}  // namespace signpost::wire
