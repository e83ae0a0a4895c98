// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace signpost {

namespace {

ssize_t splice_now(int from, int to, std::size_t limit, unsigned flags) {
    for (;;) {
        const ssize_t moved =
            ::splice(from, nullptr, to, nullptr, limit, SPLICE_F_MOVE | SPLICE_F_NONBLOCK | flags);
        if (moved >= 0 || errno != EINTR) {
            return moved;
        }
    }
}

}  // namespace

Pipe::~Pipe() {
    if (pool_ != nullptr) {
        pool_->give_back(*this);
    }
}

ssize_t Pipe::fill_from(int socket, std::size_t limit) {
    const ssize_t moved = splice_now(socket, write_end_.get(), limit, 0);
    held_ += moved > 0 ? static_cast<std::size_t>(moved) : 0;
    return moved;
}

ssize_t Pipe::drain_to(int socket, std::size_t limit, bool more) {
    const ssize_t moved = splice_now(read_end_.get(), socket, limit, more ? SPLICE_F_MORE : 0);
    held_ -= moved > 0 ? static_cast<std::size_t>(moved) : 0;
    return moved;
}

ssize_t Pipe::read_into(std::byte* to, std::size_t limit) {
    const ssize_t got = ::read(read_end_.get(), to, limit);
    held_ -= got > 0 ? static_cast<std::size_t>(got) : 0;
    return got;
}

Pipe PipePool::lend() {
    {
        const std::lock_guard lock(mutex_);
        if (lent_ >= maximum_) {
            return {};
        }
        ++lent_;
        if (!idle_.empty()) {
            auto [read_end, write_end] = std::move(idle_.back());
            idle_.pop_back();
            return {*this, std::move(read_end), std::move(write_end)};
        }
    }
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
        UniqueFd read_end(ends[0]);
        UniqueFd write_end(ends[1]);
        const int capacity = static_cast<int>(capacity_);
        if (::fcntl(write_end.get(), F_SETPIPE_SZ, capacity) >= capacity) {
            return {*this, std::move(read_end), std::move(write_end)};
        }
    }
    const std::lock_guard lock(mutex_);
    --lent_;
    return {};
}

void PipePool::give_back(Pipe& pipe) {
    const std::lock_guard lock(mutex_);
    --lent_;
    if (pipe.held_ == 0) {
        idle_.emplace_back(std::move(pipe.read_end_), std::move(pipe.write_end_));
    }
}

}  // namespace signpost
