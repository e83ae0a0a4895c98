// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/wire/reply_head.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "nbd-server/wire/text.h"

namespace signpost::wire {

namespace {

// Extents of 32-bit replies that have to be cut are cut here, which every minimum block divides.
constexpr std::uint64_t kLongestCompactExtent = (std::uint64_t{1} << 32) - kMaxMinimumBlock;

constexpr std::size_t kErrorFixed = sizeof(Be32) + sizeof(Be16);  // error, length of the message

// Puts wire structs one behind the other. The room was checked before.
class Pen {
   public:
    explicit Pen(std::byte* to) : to_(to) {}

    template <class Wire>
    void put(const Wire& message) {
        static_assert(alignof(Wire) == 1 && std::is_trivially_copyable_v<Wire>);
        std::memcpy(to_, &message, sizeof message);
        to_ += sizeof message;
    }

    void put_chunk(const ReplyTo& request, Chunk type, Ending ending, std::uint64_t length) {
        const std::uint16_t flags = ending == Ending::done ? kChunkDone : 0;
        if (request.style == ReplyStyle::extended) {
            put(ExtendedChunkHeader{kExtendedChunkMagic, flags, std::to_underlying(type),
                                    request.cookie, request.offset, length});
        } else {
            put(ChunkHeader{kChunkMagic, flags, std::to_underlying(type), request.cookie,
                            static_cast<std::uint32_t>(length)});
        }
    }

   private:
    std::byte* to_;
};

std::size_t put_simple(std::span<std::byte> to, const ReplyTo& request, std::uint32_t error) {
    if (to.size() < sizeof(SimpleReplyHeader)) {
        return 0;
    }
    Pen(to.data()).put(SimpleReplyHeader{kSimpleReplyMagic, error, request.cookie});
    return sizeof(SimpleReplyHeader);
}

struct ErrorChunk {
    Chunk type;
    std::uint32_t error;
    std::string_view sentence;
    std::uint64_t offset;  // of ERROR_OFFSET
};

std::size_t put_error_chunk(std::span<std::byte> to, const ReplyTo& request,
                            const ErrorChunk& chunk, Ending ending) {
    const std::size_t header = chunk_header_size(request.style);
    const std::size_t tail = chunk.type == Chunk::error_offset ? sizeof(Be64) : 0;
    if (to.size() < header + kErrorFixed + tail) {
        return 0;
    }
    const std::size_t room = std::min(to.size() - header - kErrorFixed - tail, kMaxString);
    std::byte* const words = to.data() + header + kErrorFixed;
    const std::size_t length =
        write_displayable({reinterpret_cast<char*>(words), room}, chunk.sentence);
    Pen pen(to.data());
    pen.put_chunk(request, chunk.type, ending, kErrorFixed + length + tail);
    pen.put(Be32(chunk.error));
    pen.put(Be16(static_cast<std::uint16_t>(length)));
    if (tail != 0) {
        Pen(words + length).put(Be64(chunk.offset));
    }
    return header + kErrorFixed + length + tail;
}

// Gives extents one after the other, joined and cut as put_status promises.
class ExtentSource {
   public:
    ExtentSource(std::span<const Extent> extents, ReplyStyle style, const StatusQuestion& question)
        : left_(extents), question_(question), compact_(style != ReplyStyle::extended) {}

    // Length 0: there is no more.
    Extent next() {
        if (ended_ || told_ >= question_.length) {
            return {0, 0};
        }
        Extent extent = join();
        if (question_.only_one && extent.length > question_.length) {
            extent.length = question_.length;
        }
        if (compact_ && extent.length > kLongestCompactExtent) {
            extent.length = kLongestCompactExtent;
            ended_ = true;
        }
        told_ += std::min(extent.length, question_.length - told_);
        ended_ = ended_ || question_.only_one;
        return extent;
    }

   private:
    // The first extents of the same flags, as one. What would not fit into 64 bits stays apart.
    Extent join() {
        Extent joined{0, 0};
        for (; !left_.empty(); left_ = left_.subspan(1)) {
            const Extent& front = left_.front();
            if (front.length == 0) {
                continue;
            }
            if (joined.length != 0 &&
                (front.flags != joined.flags || front.length > ~joined.length)) {
                break;
            }
            joined = {joined.length + front.length, front.flags};
        }
        return joined;
    }

    std::span<const Extent> left_;
    const StatusQuestion question_;
    const bool compact_;
    std::uint64_t told_ = 0;  // bytes of the request, by the extents so far
    bool ended_ = false;
};

void put_extent(Pen& pen, ReplyStyle style, const Extent& extent) {
    if (style == ReplyStyle::extended) {
        pen.put(ExtendedBlockDescriptor{extent.length, std::uint64_t{extent.flags}});
    } else {
        pen.put(BlockDescriptor{static_cast<std::uint32_t>(extent.length), extent.flags});
    }
}

}  // namespace

std::size_t put_read_head(std::span<std::byte> to, const ReplyTo& request, std::uint64_t offset,
                          std::uint32_t length, Ending ending) {
    if (request.style == ReplyStyle::simple) {
        return put_simple(to, request, 0);
    }
    const std::size_t size = read_head_size(request.style);
    if (to.size() < size) {
        return 0;
    }
    Pen pen(to.data());
    pen.put_chunk(request, Chunk::offset_data, ending, sizeof(Be64) + std::uint64_t{length});
    pen.put(Be64(offset));
    return size;
}

std::size_t put_hole(std::span<std::byte> to, const ReplyTo& request, std::uint64_t offset,
                     std::uint32_t length, Ending ending) {
    const std::size_t size = chunk_header_size(request.style) + sizeof(Be64) + sizeof(Be32);
    if (to.size() < size) {
        return 0;
    }
    Pen pen(to.data());
    pen.put_chunk(request, Chunk::offset_hole, ending, sizeof(Be64) + sizeof(Be32));
    pen.put(Be64(offset));
    pen.put(Be32(length));
    return size;
}

std::size_t put_done(std::span<std::byte> to, const ReplyTo& request) {
    const std::size_t size = chunk_header_size(request.style);
    if (to.size() < size) {
        return 0;
    }
    Pen(to.data()).put_chunk(request, Chunk::none, Ending::done, 0);
    return size;
}

std::size_t put_success(std::span<std::byte> to, const ReplyTo& request) {
    return request.style == ReplyStyle::extended ? put_done(to, request)
                                                 : put_simple(to, request, 0);
}

std::size_t put_error(std::span<std::byte> to, const ReplyTo& request, std::uint32_t error,
                      std::string_view sentence, Ending ending) {
    if (request.style == ReplyStyle::simple) {
        return put_simple(to, request, error);
    }
    return put_error_chunk(to, request, {Chunk::error, error, sentence, 0}, ending);
}

std::size_t put_error_at(std::span<std::byte> to, const ReplyTo& request, std::uint32_t error,
                         std::string_view sentence, std::uint64_t offset, Ending ending) {
    if (request.style == ReplyStyle::simple) {
        return put_simple(to, request, error);
    }
    return put_error_chunk(to, request, {Chunk::error_offset, error, sentence, offset}, ending);
}

std::size_t put_status(std::span<std::byte> to, const ReplyTo& request, std::uint32_t context,
                       std::span<const Extent> extents, const StatusQuestion& question,
                       Ending ending) {
    const std::size_t fixed = status_size(request.style, 0);
    if (to.size() < status_size(request.style, 1)) {
        return 0;
    }
    const std::size_t room =
        std::min<std::size_t>((to.size() - fixed) / extent_size(request.style), kMaxDescriptors);
    ExtentSource source(extents, request.style, question);
    Pen body(to.data() + fixed);
    std::uint32_t count = 0;
    while (count < room) {
        const Extent extent = source.next();
        if (extent.length == 0) {
            break;
        }
        put_extent(body, request.style, extent);
        ++count;
    }
    if (count == 0) {
        return 0;
    }
    const std::size_t size = status_size(request.style, count);
    Pen pen(to.data());
    pen.put_chunk(
        request,
        request.style == ReplyStyle::extended ? Chunk::block_status_ext : Chunk::block_status,
        ending, size - chunk_header_size(request.style));
    pen.put(Be32(context));
    if (request.style == ReplyStyle::extended) {
        pen.put(Be32(count));
    }
    return size;
}

std::uint32_t wire_error(int error_number, bool fast_zero) {
    switch (error_number) {
        case 0:
            return 0;
        case EPERM:
        case EACCES:
        case EROFS:
        case EBUSY:   // another client writes
        case ESTALE:  // it is written elsewhere
            return kErrorPerm;
        case EINVAL:
            return kErrorInvalid;
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return kErrorNoSpace;
        case ESHUTDOWN:
            return kErrorShutdown;
        case EOPNOTSUPP:  // ENOTSUP is the same number
            return fast_zero ? kErrorNotSupported : kErrorInvalid;
        default:
            return kErrorIo;
    }
}

}  // namespace signpost::wire
