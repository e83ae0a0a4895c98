// SPDX-License-Identifier: BSD-3-Clause
//
// Coverage says which bytes of a read have been answered, so that no byte is answered twice and
// none is missing. Adjacent parts are merged: a server that answers in order costs one interval,
// and one chunk for everything costs none at all. Memory is bounded: more than kMaxParts disjoint
// parts at a time are refused.
//
// A value; one thread at a time.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace signpost::wire {

class Coverage {
 public:
    static constexpr std::size_t kMaxParts = 1024;

    enum class Verdict { added, overlaps, too_many };

    // Nothing is covered of LENGTH bytes. Keeps its memory.
    void reset(std::uint32_t length) {
        length_ = length;
        missing_ = length;
        parts_.clear();
    }

    bool complete() const { return missing_ == 0; }

    // [BEGIN, BEGIN + SIZE) must lie within the length; SIZE is not 0.
    Verdict add(std::uint32_t begin, std::uint32_t size) {
        if (size > missing_) {
            return Verdict::overlaps;
        }
        if (size < length_) {
            const Verdict verdict = insert({begin, begin + size});
            if (verdict != Verdict::added) {
                return verdict;
            }
        }
        missing_ -= size;
        return Verdict::added;
    }

 private:
    struct Part {
        std::uint32_t begin;
        std::uint32_t end;
    };

    Verdict insert(Part part) {
        const auto after =
            std::upper_bound(parts_.begin(), parts_.end(), part.begin,
                             [](std::uint32_t begin, const Part& p) { return begin < p.begin; });
        const bool has_before = after != parts_.begin();
        if ((has_before && (after - 1)->end > part.begin) ||
            (after != parts_.end() && after->begin < part.end)) {
            return Verdict::overlaps;
        }
        const bool joins_before = has_before && (after - 1)->end == part.begin;
        const bool joins_after = after != parts_.end() && after->begin == part.end;
        if (joins_before) {
            (after - 1)->end = joins_after ? after->end : part.end;
            if (joins_after) {
                parts_.erase(after);
            }
        } else if (joins_after) {
            after->begin = part.begin;
        } else if (parts_.size() == kMaxParts) {
            return Verdict::too_many;
        } else {
            parts_.insert(after, part);
        }
        return Verdict::added;
    }

    std::uint32_t length_ = 0;
    std::uint32_t missing_ = 0;
    std::vector<Part> parts_;  // sorted, disjoint, not adjacent
};

}  // namespace signpost::wire
