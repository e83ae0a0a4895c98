// SPDX-License-Identifier: BSD-3-Clause
//
// What a hostile server may say in the transmission phase. The input begins with what is in flight:
//   byte 0: bit 0 structured replies, bit 1 the allocation context, above: how the stream is cut
//   byte 1: the number of requests, less 1; cookies count from 1
//   4 bytes a request: command (bit 7: no buffer), offset in 512 bytes, length
//   2 bytes: a cookie to abandon, after so many of the server's bytes
// and goes on with the server's bytes. Buffers have exactly their length, so that the sanitizer
// sees each byte outside. Run whole and cut in pieces, which must agree.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nbd-server/wire/byte_reader.h"
#include "nbd-server/wire/reply_reader.h"

namespace {

using namespace signpost::wire;

void require(bool holds) {
    if (!holds) {
        std::abort();
    }
}

constexpr std::uint32_t kContext = 7;

struct Scene {
    ReplyReader::Contract contract;
    std::size_t piece = 0;
    std::vector<Pending> requests;
    std::uint64_t abandoned = 0;
    std::size_t abandoned_after = 0;
    std::span<const std::byte> server;
};

Scene read_scene(std::span<const std::byte> input) {
    ByteReader reader(input);
    Scene scene;
    const std::uint16_t start = reader.take_u16();
    scene.contract = {.structured_replies = (start & 0x100) != 0,
                      .has_allocation_context = (start & 0x200) != 0,
                      .allocation_context = kContext};
    scene.piece = start >> 10;
    for (unsigned i = 0; i <= (start & 15u); ++i) {
        const std::uint32_t request = reader.take_u32();
        scene.requests.push_back({static_cast<Command>(request >> 24 & 7),
                                  (request >> 16 & 0xffu) * 512, request & 0xffffu});
        // Any address but null; the run puts its own there.
        static std::byte some;
        scene.requests.back().buffer = (request >> 31) != 0 ? nullptr : &some;
    }
    const std::uint16_t abandon = reader.take_u16();
    scene.abandoned = abandon >> 8;
    scene.abandoned_after = abandon & 0xff;
    scene.server = reader.take_bytes(reader.left());
    return scene;
}

struct Run {
    explicit Run(const Scene& scene) : reader(scene.contract), extents(scene.requests.size()) {
        for (std::size_t i = 0; i < scene.requests.size(); ++i) {
            Pending pending = scene.requests[i];
            if (pending.command == Command::read && pending.buffer != nullptr) {
                buffers.push_back(std::make_unique<std::byte[]>(pending.length));
                pending.buffer = buffers.back().get();
            } else {
                pending.buffer = nullptr;
            }
            pending.extents = &extents[i];
            reader.expect(i + 1, pending);
        }
    }

    void receive(std::span<const std::byte> bytes, std::size_t piece) {
        while (!bytes.empty() && !reader.broken()) {
            const auto [first, second] = reader.targets();
            require(!first.empty());
            const std::size_t n = std::min({piece, bytes.size(), first.size() + second.size()});
            const std::size_t in_first = std::min(n, first.size());
            std::memcpy(first.data(), bytes.data(), in_first);
            if (n > in_first) {
                std::memcpy(second.data(), bytes.data() + in_first, n - in_first);
            }
            reader.received(n, finished);
            bytes = bytes.subspan(n);
        }
    }

    void play(const Scene& scene, std::size_t piece) {
        const std::size_t before = std::min(scene.abandoned_after, scene.server.size());
        receive(scene.server.first(before), piece);
        if (scene.abandoned != 0) {
            reader.abandon(scene.abandoned);
        }
        receive(scene.server.subspan(before), piece);
    }

    ReplyReader reader;
    std::vector<std::unique_ptr<std::byte[]>> buffers;
    std::vector<std::vector<Extent>> extents;
    std::vector<ReplyReader::Finished> finished;
};

void compare(const Run& a, const Run& b) {
    require(a.reader.reason() == b.reader.reason());
    require(a.reader.outstanding() == b.reader.outstanding());
    require(a.finished.size() == b.finished.size());
    for (std::size_t i = 0; i < a.finished.size(); ++i) {
        const Pending& pending = a.finished[i].pending;
        const Pending& other = b.finished[i].pending;
        require(a.finished[i].cookie == b.finished[i].cookie && pending.error == other.error);
        if (pending.command == Command::read && pending.buffer != nullptr && pending.error == 0) {
            require(std::memcmp(pending.buffer, other.buffer, pending.length) == 0);
        }
    }
}

void check(const Run& run, const Scene& scene) {
    std::vector<bool> seen(scene.requests.size(), false);
    for (const auto& [cookie, pending] : run.finished) {
        require(cookie >= 1 && cookie <= seen.size() && !seen[cookie - 1]);
        seen[cookie - 1] = true;
        if (pending.command == Command::block_status && pending.error == 0) {
            require(!pending.extents->empty());
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Scene scene = read_scene(std::as_bytes(std::span(data, size)));
    Run whole(scene);
    whole.play(scene, size + 1);
    Run cut(scene);
    cut.play(scene, scene.piece + 1);
    check(whole, scene);
    check(cut, scene);
    compare(whole, cut);
    return 0;
}
