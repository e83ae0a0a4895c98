// SPDX-License-Identifier: BSD-3-Clause
//
// MemoryBudget bounds the bytes that all sessions together hold in memory for payloads. Who cannot
// have what it asks for waits and asks again; nothing is ever taken back.
//
// Threads: any.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

namespace signpost {

class MemoryBudget {
   public:
    explicit MemoryBudget(std::uint64_t bytes) : left_(static_cast<std::int64_t>(bytes)) {}
    MemoryBudget(const MemoryBudget&) = delete;
    MemoryBudget& operator=(const MemoryBudget&) = delete;

    // A share of the budget: given back when it ends.
    class Share {
       public:
        Share() = default;
        Share(Share&& other) noexcept
            : budget_(std::exchange(other.budget_, nullptr)),
              bytes_(std::exchange(other.bytes_, 0)) {}
        Share& operator=(Share&& other) noexcept {
            std::swap(budget_, other.budget_);
            std::swap(bytes_, other.bytes_);
            return *this;
        }
        ~Share() {
            if (budget_ != nullptr) {
                budget_->left_.fetch_add(bytes_, std::memory_order_relaxed);
            }
        }

        explicit operator bool() const { return budget_ != nullptr; }

        // BYTES of it, or all there is, as a share of their own.
        Share split(std::uint64_t bytes) {
            const auto part =
                static_cast<std::int64_t>(std::min(bytes, static_cast<std::uint64_t>(bytes_)));
            if (budget_ == nullptr || part == 0) {
                return {};
            }
            bytes_ -= part;
            return {*budget_, part};
        }

       private:
        friend class MemoryBudget;
        Share(MemoryBudget& budget, std::int64_t bytes) : budget_(&budget), bytes_(bytes) {}

        MemoryBudget* budget_ = nullptr;
        std::int64_t bytes_ = 0;
    };

    // Nothing when there is not as much left.
    Share take(std::uint64_t bytes) {
        const auto wanted = static_cast<std::int64_t>(bytes);
        if (left_.fetch_sub(wanted, std::memory_order_relaxed) >= wanted) {
            return {*this, wanted};
        }
        left_.fetch_add(wanted, std::memory_order_relaxed);
        return {};
    }

    // For what is in memory already: it is counted, even beyond the budget.
    Share charge(std::uint64_t bytes) {
        const auto held = static_cast<std::int64_t>(bytes);
        left_.fetch_sub(held, std::memory_order_relaxed);
        return {*this, held};
    }

    std::int64_t left() const { return left_.load(std::memory_order_relaxed); }

   private:
    std::atomic<std::int64_t> left_;
};

}  // namespace signpost
