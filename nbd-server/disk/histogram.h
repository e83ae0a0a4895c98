// SPDX-License-Identifier: BSD-3-Clause
//
// How long things took, in a few classes. One that a single thread counts in costs it two stores;
// whoever wants to know reads along, and may see the last one half counted.
//
// Threads: count() of one thread, or count_shared() of any; read() of any.

#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace signpost {

struct DurationCounts {
    // Upper ends, in microseconds; the last class has none.
    static constexpr std::array<std::uint64_t, 10> kBounds{
        100, 500, 1'000, 5'000, 10'000, 50'000, 100'000, 500'000, 1'000'000, 5'000'000};

    std::array<std::uint64_t, kBounds.size() + 1> classes{};
    std::uint64_t sum_us = 0;

    DurationCounts& operator+=(const DurationCounts& other) {
        for (std::size_t i = 0; i < classes.size(); ++i) {
            classes[i] += other.classes[i];
        }
        sum_us += other.sum_us;
        return *this;
    }
};

class Histogram {
   public:
    using Duration = std::chrono::steady_clock::duration;

    void count(Duration duration, std::uint64_t times = 1) {
        const std::uint64_t us = microseconds(duration);
        add(classes_[class_of(us)], times);
        add(sum_us_, us * times);
    }

    void count_shared(Duration duration) {
        const std::uint64_t us = microseconds(duration);
        classes_[class_of(us)].fetch_add(1, std::memory_order_relaxed);
        sum_us_.fetch_add(us, std::memory_order_relaxed);
    }

    DurationCounts read() const {
        DurationCounts counts;
        for (std::size_t i = 0; i < classes_.size(); ++i) {
            counts.classes[i] = classes_[i].load(std::memory_order_relaxed);
        }
        counts.sum_us = sum_us_.load(std::memory_order_relaxed);
        return counts;
    }

   private:
    using Counter = std::atomic<std::uint64_t>;

    static void add(Counter& counter, std::uint64_t by) {
        counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
    }

    static std::uint64_t microseconds(Duration duration) {
        const auto us = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
        return us < 0 ? 0 : static_cast<std::uint64_t>(us);
    }

    static std::size_t class_of(std::uint64_t us) {
        std::size_t i = 0;
        while (i < DurationCounts::kBounds.size() && us > DurationCounts::kBounds[i]) {
            ++i;
        }
        return i;
    }

    std::array<Counter, DurationCounts::kBounds.size() + 1> classes_{};
    Counter sum_us_{0};
};

}  // namespace signpost
