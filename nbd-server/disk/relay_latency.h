// SPDX-License-Identifier: BSD-3-Clause
//
// RelayLatency is what a relay knows of how long one server takes to answer: the 99th percentile of
// its recent answers, by which a late one is told from a usual one, and its round trip, by which a
// far server is told from a near one.
//
// The percentile comes from counts in half-octaves, so it is right to a factor of 1.5; old answers
// fade. The round trip is that of a request which finds nothing before it: waiting in a queue is no
// distance. An answer that comes quicker corrects it at once, because nothing is far by accident.
//
// A value; pure: one thread at a time.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace signpost {

class RelayLatency {
   public:
    using Duration = std::chrono::steady_clock::duration;

    // ALONE: nothing else was on the way over the same connection when it was asked.
    void add(Duration taken, bool alone) {
        const auto us = std::chrono::duration_cast<std::chrono::microseconds>(taken).count();
        const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(us, 1));
        if (++total_ == kFade) {
            fade();
        }
        ++counts_[bucket_of(value)];
        if (value < round_trip_us_ || round_trip_us_ == 0) {
            round_trip_us_ = value;
        } else if (alone) {
            round_trip_us_ += (value - round_trip_us_) / 8;
        }
    }

    // None before there is enough to go by.
    std::optional<std::chrono::microseconds> p99() const {
        if (total_ < kEnough) {
            return std::nullopt;
        }
        std::uint32_t above = 0;
        std::size_t bucket = kBuckets - 1;
        while (bucket > 0 && (above += counts_[bucket]) * 100 <= total_) {
            --bucket;
        }
        return std::chrono::microseconds{end_of(bucket)};
    }

    std::chrono::microseconds round_trip() const {
        return std::chrono::microseconds{round_trip_us_};
    }

   private:
    static constexpr std::size_t kBuckets = 64;  // up to an hour and more
    static constexpr std::uint32_t kEnough = 100;
    static constexpr std::uint32_t kFade = 4096;

    // Two for each power of two: below and above its one and a half.
    static std::size_t bucket_of(std::uint64_t us) {
        const auto octave = static_cast<std::size_t>(std::bit_width(us) - 1);
        const std::size_t upper = octave == 0 ? 0 : us >> (octave - 1) & 1;
        return std::min(2 * octave + upper, kBuckets - 1);
    }
    static std::int64_t end_of(std::size_t bucket) {
        const std::int64_t begin = std::int64_t{1} << (bucket / 2);
        return bucket % 2 == 0 ? begin + begin / 2 : 2 * begin;
    }

    void fade() {
        total_ = 0;
        for (std::uint32_t& count : counts_) {
            count /= 2;
            total_ += count;
        }
    }

    std::array<std::uint32_t, kBuckets> counts_{};
    std::uint32_t total_ = 0;
    std::uint64_t round_trip_us_ = 0;  // 0: not known
};

}  // namespace signpost
