// SPDX-License-Identifier: BSD-3-Clause
//
// Pipes through which payloads travel from socket to socket inside the kernel. A pipe is lent by
// the pool and goes back when it is destroyed: for use again when it is empty, closed otherwise.
//
// The kernel holds a user to /proc/sys/fs/pipe-user-pages-soft pages in all pipes, so the pool is
// bounded; when it has none to lend, payloads are copied through memory.
//
// Lifetime: the pool outlives its pipes. Threads: the pool any; a pipe one at a time.

#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "nbd-server/disk/unique_fd.h"

namespace signpost {

class PipePool;

class Pipe {
   public:
    Pipe() = default;  // none
    Pipe(Pipe&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)),
          read_end_(std::move(other.read_end_)),
          write_end_(std::move(other.write_end_)),
          held_(std::exchange(other.held_, 0)) {}
    Pipe& operator=(Pipe&& other) noexcept {
        std::swap(pool_, other.pool_);
        std::swap(read_end_, other.read_end_);
        std::swap(write_end_, other.write_end_);
        std::swap(held_, other.held_);
        return *this;
    }
    ~Pipe();

    explicit operator bool() const { return pool_ != nullptr; }
    std::size_t held() const { return held_; }  // bytes in it

    // Moves up to LIMIT bytes from a socket into the pipe, without waiting. As splice(2): bytes
    // moved, 0 at the end of the stream, -1 with errno. EAGAIN also when the pipe is full.
    ssize_t fill_from(int socket, std::size_t limit);

    // Moves up to LIMIT bytes from the pipe to a socket, without waiting. MORE: something follows
    // at once. As fill_from.
    ssize_t drain_to(int socket, std::size_t limit, bool more);

    // Copies up to LIMIT bytes out of the pipe into memory (a client with TLS).
    ssize_t read_into(std::byte* to, std::size_t limit);

   private:
    friend class PipePool;
    Pipe(PipePool& pool, UniqueFd read_end, UniqueFd write_end)
        : pool_(&pool), read_end_(std::move(read_end)), write_end_(std::move(write_end)) {}

    PipePool* pool_ = nullptr;
    UniqueFd read_end_;
    UniqueFd write_end_;
    std::size_t held_ = 0;
};

class PipePool {
   public:
    static constexpr std::size_t kCapacity = 1024 * 1024;  // /proc/sys/fs/pipe-max-size, by default

    // At most MAXIMUM pipes at a time, each with room for CAPACITY bytes.
    explicit PipePool(std::size_t maximum, std::size_t capacity = kCapacity)
        : maximum_(maximum), capacity_(capacity) {}
    PipePool(const PipePool&) = delete;
    PipePool& operator=(const PipePool&) = delete;

    // An empty pipe, or none when all are lent or the kernel refuses.
    Pipe lend();

   private:
    friend class Pipe;
    void give_back(Pipe& pipe);

    const std::size_t maximum_;
    const std::size_t capacity_;
    std::mutex mutex_;
    std::vector<std::pair<UniqueFd, UniqueFd>> idle_;  // guarded by mutex_
    std::size_t lent_ = 0;                             // guarded by mutex_
};

}  // namespace signpost
