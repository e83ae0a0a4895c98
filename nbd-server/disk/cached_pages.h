// SPDX-License-Identifier: BSD-3-Clause
//
// CachedPages reads of a file what the kernel has in memory, and tells what it has, without waiting
// for a device. What it has may be dropped at any time, so covers() is a good guess, not a promise.
// Where a file system does not know reads that do not wait (tmpfs), a count of the pages tells in
// advance whether a usual read would.
//
// Lifetime: the descriptor's. Threads: any.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace signpost {

class CachedPages {
   public:
    explicit CachedPages(int file) : file_(file) {}

    // True when all of TO was filled.
    bool read(std::uint64_t offset, std::span<std::byte> to);

    bool covers(std::uint64_t offset, std::uint32_t length);

    // True when the kernel has some of it; a guess from three bytes where it does not count.
    bool touches(std::uint64_t offset, std::uint32_t length);

   private:
    bool has_byte(std::uint64_t offset);
    std::optional<std::uint64_t> count(std::uint64_t offset, std::uint64_t length);
    bool counts_all(std::uint64_t offset, std::uint64_t length);

    const int file_;
    std::atomic<bool> can_tell_{true};   // the file system knows reads that do not wait
    std::atomic<bool> can_count_{true};  // the kernel counts cached pages for us
};

}  // namespace signpost
