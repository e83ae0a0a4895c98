// SPDX-License-Identifier: BSD-3-Clause

#include "tests/unit/disk/fault_replies.h"

#include <algorithm>

#include "nbd-server/wire/protocol.h"

namespace signpost::test {

using namespace wire;  // NOLINT: the whole file is about the wire

namespace {

using Data = std::span<const std::byte>;

constexpr std::size_t kHoleBlock = 64 * 1024;
constexpr std::size_t kCrumb = 512;

class Reply {
   public:
    Reply(std::uint64_t cookie, std::uint64_t offset) : cookie_(cookie), offset_(offset) {}

    void data(Data data, std::size_t at, bool done = false) {
        head(done, Chunk::offset_data, data.size() + 8);
        append(bytes, Be64(offset_ + at));
        bytes.append(reinterpret_cast<const char*>(data.data()), data.size());
    }

    void hole(std::size_t at, std::size_t size) {
        head(false, Chunk::offset_hole, 12);
        append(bytes, Be64(offset_ + at));
        append(bytes, Be32(static_cast<std::uint32_t>(size)));
    }

    void error() {
        head(true, Chunk::error, 6);
        append(bytes, Be32(5));
        append(bytes, Be16(0));
    }

    void end() { head(true, Chunk::none, 0); }

    std::string bytes;

   private:
    void head(bool done, Chunk type, std::size_t length) {
        append(bytes, ChunkHeader{kChunkMagic, done ? kChunkDone : std::uint16_t{0},
                                  static_cast<std::uint16_t>(type), cookie_,
                                  static_cast<std::uint32_t>(length)});
    }

    std::uint64_t cookie_;
    std::uint64_t offset_;
};

void add_blocks(Reply& reply, Data data) {
    for (std::size_t at = 0; at < data.size(); at += kHoleBlock) {
        const Data block = data.subspan(at, std::min(kHoleBlock, data.size() - at));
        if (std::ranges::all_of(block, [](std::byte b) { return b == std::byte{0}; })) {
            reply.hole(at, block.size());
        } else {
            reply.data(block, at);
        }
    }
}

void add_crumbs(Reply& reply, Data data) {
    for (std::size_t at = 0; at < data.size(); at += kCrumb) {
        reply.data(data.subspan(at, std::min(kCrumb, data.size() - at)), at);
    }
}

}  // namespace

std::string make_read_reply(ReadReply kind, std::uint64_t cookie, std::uint64_t offset, Data data) {
    Reply reply(cookie, offset);
    const std::size_t half = data.size() / 2;
    switch (kind) {
        case ReadReply::plain:
        case ReadReply::two_chunks:
            reply.data(data.subspan(half), half);
            reply.data(data.first(half), 0);
            break;
        case ReadReply::holes:
            add_blocks(reply, data);
            break;
        case ReadReply::crumbs:
            add_crumbs(reply, data);
            break;
        case ReadReply::dies:
            reply.data(data, 0, true);
            reply.bytes.resize(reply.bytes.size() - half);
            return reply.bytes;
        case ReadReply::error_late:
            reply.data(data, 0);
            reply.error();
            return reply.bytes;
        case ReadReply::short_cover:
            reply.data(data.first(half), 0);
            break;
        case ReadReply::overlap:
            reply.data(data, 0);
            reply.data(data.subspan(half), half);
            break;
        case ReadReply::outside:
            reply.data(data, 1);
            break;
    }
    reply.end();
    return reply.bytes;
}

}  // namespace signpost::test
