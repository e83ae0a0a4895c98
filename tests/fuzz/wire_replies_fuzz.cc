// SPDX-License-Identifier: BSD-3-Clause
//
// What a hostile server may say in the transmission phase. The input begins with what is in flight:
//   byte 0: bit 0 structured replies, bit 1 the allocation context, above: how the stream is cut
//   byte 1: the number of requests, less 1; cookies count from 1
//   4 bytes a request: command (bit 7: no buffer), offset in 512 bytes, length
//   2 bytes: a cookie to abandon, after so many of the server's bytes
// and goes on with the server's bytes. Buffers have exactly their length, so that the sanitizer
// sees each byte outside. Run whole, cut in pieces, and with payload moved apart, which must agree.
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

// Chunks of an even length are moved apart.
class HalfApart final : public Landing {
   public:
    HalfApart(std::byte* to, const Pending& pending)
        : to_(to), offset_(pending.offset), left_(pending.length) {}

    std::byte* data(std::uint64_t offset, std::uint32_t length,
                    std::span<const std::byte> begun) override {
        require(offset >= offset_ && length <= left_ && begun.size() <= length);
        left_ -= length;
        next_ = to_ + (offset - offset_);
        if (length % 2 != 0) {
            return next_;
        }
        move(begun);
        return nullptr;
    }
    void hole(std::uint64_t offset, std::uint32_t length) override {
        require(offset >= offset_ && length <= left_);
        left_ -= length;
        std::memset(to_ + (offset - offset_), 0, length);
    }
    void move(std::span<const std::byte> bytes) {
        if (!bytes.empty()) {
            std::memcpy(next_, bytes.data(), bytes.size());
        }
        next_ += bytes.size();
    }

   private:
    std::byte* to_;
    std::uint64_t offset_;
    std::uint32_t left_;
    std::byte* next_ = nullptr;
};

struct Run {
    explicit Run(const Scene& scene, bool apart = false)
        : reader(scene.contract), data(scene.requests.size()), extents(scene.requests.size()) {
        for (std::size_t i = 0; i < scene.requests.size(); ++i) {
            Pending pending = scene.requests[i];
            if (pending.command == Command::read && pending.buffer != nullptr) {
                data[i] = std::make_unique<std::byte[]>(pending.length);
                landings.push_back(std::make_unique<HalfApart>(data[i].get(), pending));
                pending.buffer = apart ? nullptr : data[i].get();
                pending.landing = apart ? landings.back().get() : nullptr;
            } else {
                pending.buffer = nullptr;
            }
            pending.extents = &extents[i];
            reader.expect(i + 1, pending);
        }
    }

    void receive(std::span<const std::byte> bytes, std::size_t piece) {
        while (!bytes.empty() && !reader.broken()) {
            if (const auto [landing, left] = reader.apart(); landing != nullptr) {
                require(left > 0);
                const std::size_t n = std::min<std::size_t>({piece, bytes.size(), left});
                static_cast<HalfApart*>(landing)->move(bytes.first(n));
                reader.moved(n, finished);
                bytes = bytes.subspan(n);
                continue;
            }
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
    std::vector<std::unique_ptr<std::byte[]>> data;
    std::vector<std::unique_ptr<HalfApart>> landings;
    std::vector<std::vector<Extent>> extents;
    std::vector<ReplyReader::Finished> finished;
};

void compare(const Run& a, const Run& b) {
    require(a.reader.reason() == b.reader.reason());
    require(a.reader.outstanding() == b.reader.outstanding());
    require(a.finished.size() == b.finished.size());
    for (std::size_t i = 0; i < a.finished.size(); ++i) {
        const Pending& pending = a.finished[i].pending;
        const std::uint64_t cookie = a.finished[i].cookie;
        require(cookie == b.finished[i].cookie && pending.error == b.finished[i].pending.error);
        const std::byte* bytes = a.data[cookie - 1].get();
        if (bytes != nullptr && pending.error == 0) {
            require(std::memcmp(bytes, b.data[cookie - 1].get(), pending.length) == 0);
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
    Run apart(scene, true);
    apart.play(scene, scene.piece + 1);
    check(whole, scene);
    check(cut, scene);
    check(apart, scene);
    compare(whole, cut);
    compare(whole, apart);
    return 0;
}
