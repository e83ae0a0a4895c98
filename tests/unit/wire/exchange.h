// SPDX-License-Identifier: BSD-3-Clause
//
// An exchange of ReplyReader with a scripted server: what was asked, and all that the server says.
// Each is run several times with the stream cut in different ways, and with landings instead of
// buffers, and all must agree. Buffers lie between guard bytes, which must survive.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nbd-server/wire/reply_reader.h"
#include "tests/unit/wire/bytes.h"

namespace signpost::wire::test {

inline constexpr ReplyReader::Contract kSimple{};
inline constexpr ReplyReader::Contract kStructuredReplies{.structured_replies = true};
inline constexpr std::uint32_t kContext = 7;
inline constexpr ReplyReader::Contract kWithStatus{
    .structured_replies = true, .has_allocation_context = true, .allocation_context = kContext};

struct Ask {
    std::uint64_t cookie;
    Command command = Command::read;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    bool has_buffer = true;
};

struct Abandon {
    std::uint64_t cookie;
    std::size_t after;  // bytes of the server's
};

inline constexpr char kUntouched = '\xa5';

class GuardedBuffer {
   public:
    explicit GuardedBuffer(std::size_t size) : bytes_(size + 2 * kGuard, kUntouched) {}

    std::byte* data() { return reinterpret_cast<std::byte*>(bytes_.data()) + kGuard; }
    std::string content() const { return bytes_.substr(kGuard, bytes_.size() - 2 * kGuard); }
    bool is_guarded() const {
        const std::string guard(kGuard, kUntouched);
        return bytes_.starts_with(guard) && bytes_.ends_with(guard);
    }

   private:
    static constexpr std::size_t kGuard = 256;
    std::string bytes_;
};

struct Outcome {
    std::vector<std::pair<std::uint64_t, std::uint32_t>> finished;  // cookie, error
    std::map<std::uint64_t, std::string> data;
    std::map<std::uint64_t, std::vector<Extent>> extents;
    std::string reason;
    std::size_t outstanding = 0;

    bool operator==(const Outcome&) const = default;
};

// Puts a read into a buffer; chunks of FROM bytes and more are moved apart.
class BufferLanding final : public Landing {
   public:
    BufferLanding(std::byte* to, std::uint64_t offset, std::size_t from)
        : to_(to), offset_(offset), from_(from) {}

    std::byte* data(std::uint64_t offset, std::uint32_t length,
                    std::span<const std::byte> begun) override {
        std::byte* place = to_ + (offset - offset_);
        if (length < from_) {
            return place;
        }
        std::copy(begun.begin(), begun.end(), place);
        next_ = place + begun.size();
        return nullptr;
    }
    void hole(std::uint64_t offset, std::uint32_t length) override {
        std::fill_n(to_ + (offset - offset_), length, std::byte{0});
    }
    void move(std::string_view bytes) {
        std::memcpy(next_, bytes.data(), bytes.size());
        next_ += bytes.size();
    }

   private:
    std::byte* to_;
    std::uint64_t offset_;
    std::size_t from_;
    std::byte* next_ = nullptr;
};

// Copies from the front of LEFT into the reader's targets, or past the reader where it wants that,
// at most N bytes.
inline void receive(ReplyReader& reader, std::string_view& left, std::size_t n,
                    std::vector<ReplyReader::Finished>& finished) {
    if (const auto apart = reader.apart(); apart.landing != nullptr) {
        ASSERT_GT(apart.left, 0U);
        n = std::min<std::size_t>({n, left.size(), apart.left});
        static_cast<BufferLanding*>(apart.landing)->move(left.substr(0, n));
        left.remove_prefix(n);
        reader.moved(n, finished);
        return;
    }
    const ReplyReader::Targets targets = reader.targets();
    ASSERT_FALSE(targets.first.empty());
    n = std::min({n, left.size(), targets.first.size() + targets.second.size()});
    const std::size_t first = std::min(n, targets.first.size());
    std::memcpy(targets.first.data(), left.data(), first);
    if (n > first) {
        std::memcpy(targets.second.data(), left.data() + first, n - first);
    }
    left.remove_prefix(n);
    reader.received(n, finished);
}

inline constexpr std::size_t kNoLanding = 0;

class Exchange {
   public:
    Exchange(ReplyReader::Contract contract, const std::vector<Ask>& asks,
             std::size_t apart_from = kNoLanding)
        : reader_(contract) {
        for (const Ask& ask : asks) {
            const bool is_read = ask.command == Command::read;
            auto& buffer = buffers_.try_emplace(ask.cookie, is_read ? ask.length : 0).first->second;
            Pending pending{ask.command, ask.offset, ask.length};
            if (is_read && ask.has_buffer && apart_from != kNoLanding) {
                landings_.push_back(
                    std::make_unique<BufferLanding>(buffer.data(), ask.offset, apart_from));
                pending.landing = landings_.back().get();
            } else {
                pending.buffer = is_read && ask.has_buffer ? buffer.data() : nullptr;
            }
            pending.extents =
                ask.command == Command::block_status ? &extents_[ask.cookie] : nullptr;
            reader_.expect(ask.cookie, pending);
        }
    }

    // Receives SERVER, at most PIECE bytes at a time.
    void run(std::string_view server, std::size_t piece) {
        while (!server.empty() && !reader_.broken()) {
            receive(reader_, server, piece, finished_);
        }
    }

    ReplyReader& reader() { return reader_; }

    Outcome outcome() const {
        Outcome outcome;
        for (const auto& [cookie, pending] : finished_) {
            outcome.finished.emplace_back(cookie, pending.error);
        }
        for (const auto& [cookie, buffer] : buffers_) {
            EXPECT_TRUE(buffer.is_guarded()) << "bytes outside of the buffer of " << cookie;
            outcome.data[cookie] = buffer.content();
        }
        outcome.extents = extents_;
        outcome.reason = reader_.reason();
        outcome.outstanding = reader_.outstanding();
        return outcome;
    }

   private:
    ReplyReader reader_;
    std::map<std::uint64_t, GuardedBuffer> buffers_;
    std::vector<std::unique_ptr<BufferLanding>> landings_;
    std::map<std::uint64_t, std::vector<Extent>> extents_;
    std::vector<ReplyReader::Finished> finished_;
};

inline Outcome exchange_in_pieces(ReplyReader::Contract contract, const std::vector<Ask>& asks,
                                  std::string_view server, std::optional<Abandon> abandon,
                                  std::size_t piece, std::size_t apart_from = kNoLanding) {
    Exchange exchange(contract, asks, apart_from);
    if (abandon) {
        exchange.run(server.substr(0, abandon->after), piece);
        exchange.reader().abandon(abandon->cookie);
        server.remove_prefix(abandon->after);
    }
    exchange.run(server, piece);
    return exchange.outcome();
}

// Data of a broken exchange may differ by how far it came, and does not matter.
inline Outcome exchange(ReplyReader::Contract contract, const std::vector<Ask>& asks,
                        std::string_view server, std::optional<Abandon> abandon = {}) {
    Outcome whole = exchange_in_pieces(contract, asks, server, abandon, server.size());
    for (const std::size_t apart_from : {kNoLanding, std::size_t{1}, std::size_t{100}}) {
        for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{1000},
                                        std::max<std::size_t>(server.size(), 1)}) {
            Outcome again = exchange_in_pieces(contract, asks, server, abandon, piece, apart_from);
            if (!whole.reason.empty()) {
                again.data = whole.data;
                again.extents = whole.extents;
            }
            EXPECT_EQ(again.finished, whole.finished) << "in pieces of " << piece;
            EXPECT_EQ(again.reason, whole.reason) << "in pieces of " << piece;
            EXPECT_TRUE(again == whole) << "in pieces of " << piece << ", apart " << apart_from;
        }
    }
    return whole;
}

inline void expect_broken(ReplyReader::Contract contract, const std::vector<Ask>& asks,
                          std::string_view server, std::string_view why) {
    const Outcome outcome = exchange(contract, asks, server);
    EXPECT_NE(outcome.reason.find(why), std::string::npos) << "reason: " << outcome.reason;
    EXPECT_TRUE(outcome.finished.empty());
}

using Finished = std::vector<std::pair<std::uint64_t, std::uint32_t>>;

inline std::string pattern(std::size_t size, unsigned seed = 1) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>((i * 31 + i / 251 + seed) & 0xff);
    }
    return text;
}

}  // namespace signpost::wire::test
