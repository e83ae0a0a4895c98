// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/cached_pages.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace signpost {

namespace {

constexpr long kCachestat = 451;  // newer than the C library's headers; Linux 6.5
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kProbeStep = 128 * 1024;  // a usual window of the kernel's read-ahead

// As in linux/mman.h of 6.5.
struct CachestatRange {
    std::uint64_t offset;
    std::uint64_t length;
};
struct Cachestat {
    std::uint64_t cached;
    std::uint64_t dirty;
    std::uint64_t writeback;
    std::uint64_t evicted;
    std::uint64_t recently_evicted;
};

}  // namespace

bool CachedPages::read(std::uint64_t offset, std::span<std::byte> to) {
    const auto at = static_cast<off_t>(offset);
    if (can_tell_.load(std::memory_order_relaxed)) {
        const iovec target{to.data(), to.size()};
        const ssize_t got = ::preadv2(file_, &target, 1, at, RWF_NOWAIT);
        if (got >= 0 || errno != EOPNOTSUPP) {
            return got >= 0 && static_cast<std::size_t>(got) == to.size();
        }
        can_tell_.store(false, std::memory_order_relaxed);
    }
    return counts_all(offset, to.size()) &&
           ::pread(file_, to.data(), to.size(), at) == static_cast<ssize_t>(to.size());
}

// Nothing when the kernel does not say.
std::optional<std::uint64_t> CachedPages::count(std::uint64_t offset, std::uint64_t length) {
    if (!can_count_.load(std::memory_order_relaxed)) {
        return std::nullopt;
    }
    CachestatRange range{offset, length};
    Cachestat found{};
    if (::syscall(kCachestat, file_, &range, &found, 0) != 0) {
        can_count_.store(false, std::memory_order_relaxed);
        return std::nullopt;
    }
    return found.cached;
}

bool CachedPages::counts_all(std::uint64_t offset, std::uint64_t length) {
    const auto cached = length == 0 ? std::nullopt : count(offset, length);
    return cached && *cached >= (offset + length - 1) / kPage - offset / kPage + 1;
}

bool CachedPages::has_byte(std::uint64_t offset) {
    std::byte probe;
    return read(offset, {&probe, 1});
}

// Counting is allowed to the file's owner and to those who may write to it. Others look at a byte
// here and there: the kernel reads ahead in long runs.
bool CachedPages::covers(std::uint64_t offset, std::uint32_t length) {
    if (counts_all(offset, length)) {
        return true;
    }
    if (can_count_.load(std::memory_order_relaxed)) {
        return false;
    }
    for (std::uint64_t at = 0; at < length; at += kProbeStep) {
        if (!has_byte(offset + at)) {
            return false;
        }
    }
    return has_byte(offset + length - 1);
}

bool CachedPages::touches(std::uint64_t offset, std::uint32_t length) {
    if (const auto cached = count(offset, length)) {
        return *cached > 0;
    }
    return has_byte(offset) || has_byte(offset + length / 2) || has_byte(offset + length - 1);
}

}  // namespace signpost
