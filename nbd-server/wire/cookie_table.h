// SPDX-License-Identifier: BSD-3-Clause
//
// CookieTable finds the slot of a request by its cookie: a hash table with open addressing, 16
// bytes an entry, at most half full, so that the look-up of each reply touches one cache line.
// Removal moves later entries back instead of leaving a mark, so that a connection of any age stays
// fast.
//
// Cookies may be any numbers; they are the caller's own, so nobody can choose them to collide.
// A value; one thread at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace signpost::wire {

class CookieTable {
 public:
    static constexpr std::uint32_t kNone = 0xffffffff;

    CookieTable() : entries_(kSmallest, Entry{0, kNone}) {}

    std::size_t size() const { return size_; }

    // The slot of COOKIE, or kNone.
    std::uint32_t find(std::uint64_t cookie) const { return entries_[place_of(cookie)].slot; }

    // COOKIE must not be in the table, and SLOT not be kNone.
    void insert(std::uint64_t cookie, std::uint32_t slot) {
        if (size_ + 1 > entries_.size() / 2) {
            grow();
        }
        entries_[place_of(cookie)] = {cookie, slot};
        ++size_;
    }

    // COOKIE must be in the table.
    void erase(std::uint64_t cookie) {
        std::size_t gap = place_of(cookie);
        for (std::size_t i = next(gap); entries_[i].slot != kNone; i = next(i)) {
            // An entry may fill the gap unless its home lies behind the gap, cyclically.
            if (distance(home(entries_[i].cookie), i) >= distance(gap, i)) {
                entries_[gap] = entries_[i];
                gap = i;
            }
        }
        entries_[gap].slot = kNone;
        --size_;
    }

 private:
    struct Entry {
        std::uint64_t cookie;
        std::uint32_t slot;
    };

    static constexpr std::size_t kSmallest = 64;

    std::size_t home(std::uint64_t cookie) const {
        // Fibonacci hashing: counted cookies spread evenly, tagged ones too.
        return static_cast<std::size_t>((cookie * 0x9e3779b97f4a7c15) >> 32) & mask();
    }
    std::size_t mask() const { return entries_.size() - 1; }
    std::size_t next(std::size_t i) const { return (i + 1) & mask(); }
    std::size_t distance(std::size_t from, std::size_t to) const { return (to - from) & mask(); }

    // Where COOKIE is, or the free entry where it would go.
    std::size_t place_of(std::uint64_t cookie) const {
        std::size_t i = home(cookie);
        while (entries_[i].slot != kNone && entries_[i].cookie != cookie) {
            i = next(i);
        }
        return i;
    }

    void grow() {
        std::vector<Entry> old(entries_.size() * 2, Entry{0, kNone});
        old.swap(entries_);
        for (const Entry& entry : old) {
            if (entry.slot != kNone) {
                entries_[place_of(entry.cookie)] = entry;
            }
        }
    }

    std::vector<Entry> entries_;  // a power of two of them
    std::size_t size_ = 0;
};

}  // namespace signpost::wire
