// SPDX-License-Identifier: BSD-3-Clause
//
// A sink that puts a read together again, and fails the test when a part comes twice, from outside
// of the read, or on another thread than the loop's.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <vector>

#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/event_loop.h"

namespace signpost::test {

class CollectingSink final : public ReadSink {
   public:
    CollectingSink(const EventLoop& loop, std::uint64_t offset, std::uint64_t length)
        : loop_(loop), offset_(offset), bytes_(length) {}

    void take(Request&, ReadPart part) override {
        ASSERT_TRUE(loop_.is_here());
        ASSERT_GT(part.length, 0U);
        ASSERT_GE(part.offset, offset_);
        const std::uint64_t at = part.offset - offset_;
        ASSERT_LE(at, bytes_.size());
        ASSERT_LE(part.length, bytes_.size() - at);
        const auto next = taken_.lower_bound(at);
        ASSERT_TRUE(next == taken_.end() || at + part.length <= next->first) << "bytes come twice";
        ASSERT_TRUE(next == taken_.begin() || std::prev(next)->second <= at) << "bytes come twice";
        taken_.emplace(at, at + part.length);
        ++counts_[static_cast<std::size_t>(part.place)];
        longest_ = std::max(longest_, part.length);
        copy(part, bytes_.data() + at);
    }

    bool complete() const {
        std::uint64_t reached = 0;
        for (const auto& [begin, end] : taken_) {
            if (begin != reached) {
                return false;
            }
            reached = end;
        }
        return reached == bytes_.size();
    }
    int count(ReadPart::Place place) const { return counts_[static_cast<std::size_t>(place)]; }
    std::uint32_t longest() const { return longest_; }
    const std::vector<std::byte>& bytes() const { return bytes_; }

    // What CONTENT has there, all of it.
    bool matches(const std::vector<std::byte>& content) const {
        return complete() && (bytes_.empty() || std::memcmp(bytes_.data(), content.data() + offset_,
                                                            bytes_.size()) == 0);
    }

   private:
    void copy(ReadPart& part, std::byte* to) {
        switch (part.place) {
            case ReadPart::Place::memory:
                std::memcpy(to, part.bytes.get(), part.length);
                return;
            case ReadPart::Place::lent:
                std::memcpy(to, part.loan.get(), part.length);
                return;
            case ReadPart::Place::pipe:
                ASSERT_EQ(part.head + part.pipe.held(), part.length);
                if (part.head > 0) {
                    std::memcpy(to, part.bytes.get(), part.head);
                }
                for (to += part.head; part.pipe.held() > 0;) {
                    const ssize_t n = part.pipe.read_into(to, part.pipe.held());
                    ASSERT_GT(n, 0);
                    to += n;
                }
                return;
            case ReadPart::Place::hole:
                std::fill_n(to, part.length, std::byte{0});
                return;
            case ReadPart::Place::file:
                FAIL() << "a relay has no file";
        }
    }

    const EventLoop& loop_;
    std::uint64_t offset_;
    std::vector<std::byte> bytes_;
    std::map<std::uint64_t, std::uint64_t> taken_;  // begin and end of each part
    std::array<int, 5> counts_{};
    std::uint32_t longest_ = 0;
};

}  // namespace signpost::test
