// SPDX-License-Identifier: BSD-3-Clause
//
// BlockBits says something of each block of a cached chunk, a bit each: that it is there, that it
// is zero. How a cache divides disks: into chunks (those of the digest tree), these into blocks.
//
// A value. One thread at a time.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace signpost {

inline constexpr std::uint64_t kCacheBlock = 4096;
inline constexpr std::uint64_t kCacheChunk = std::uint64_t{4} << 20;

class BlockBits {
   public:
    static constexpr unsigned kBits = kCacheChunk / kCacheBlock;
    static constexpr std::size_t kBytes = kBits / 8;

    bool test(unsigned bit) const { return (words_[bit / 64] >> (bit % 64) & 1) != 0; }

    void set(unsigned bit, bool value = true) {
        const std::uint64_t mask = std::uint64_t{1} << (bit % 64);
        words_[bit / 64] = value ? words_[bit / 64] | mask : words_[bit / 64] & ~mask;
    }

    unsigned count() const {
        unsigned sum = 0;
        for (const std::uint64_t word : words_) {
            sum += static_cast<unsigned>(std::popcount(word));
        }
        return sum;
    }
    bool none() const { return count() == 0; }

    // How many bits from FIRST on, and before END, are as FIRST is.
    unsigned run(unsigned first, unsigned end = kBits) const {
        const bool value = test(first);
        unsigned at = first;
        while (at < end) {
            const std::uint64_t word = value ? ~words_[at / 64] : words_[at / 64];
            const auto same = static_cast<unsigned>(std::countr_zero(word >> (at % 64)));
            const unsigned left = 64 - at % 64;
            if (same < left) {
                return std::min(at + same, end) - first;
            }
            at += left;
        }
        return end - first;
    }

    // Clears all from FIRST on.
    void cut(unsigned first) {
        for (unsigned bit = first; bit < kBits; ++bit) {
            set(bit, false);
        }
    }

    friend BlockBits operator&(BlockBits a, const BlockBits& b) {
        for (std::size_t i = 0; i < a.words_.size(); ++i) {
            a.words_[i] &= b.words_[i];
        }
        return a;
    }
    BlockBits without(const BlockBits& other) const {
        BlockBits result = *this;
        for (std::size_t i = 0; i < words_.size(); ++i) {
            result.words_[i] &= ~other.words_[i];
        }
        return result;
    }

    // As they are kept, by this machine for itself.
    std::string_view bytes() const {
        return {reinterpret_cast<const char*>(words_.data()), kBytes};
    }
    static std::optional<BlockBits> from(std::string_view bytes) {
        if (bytes.size() != kBytes) {
            return std::nullopt;
        }
        BlockBits bits;
        std::memcpy(bits.words_.data(), bytes.data(), kBytes);
        return bits;
    }

    bool operator==(const BlockBits&) const = default;

   private:
    std::array<std::uint64_t, kBits / 64> words_{};
};

}  // namespace signpost
