// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/group_sync.h"

#include <unistd.h>

#include <cerrno>

namespace signpost {

namespace {

int sync_data(int fd) {
    while (::fdatasync(fd) != 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

}  // namespace

GroupSync::Outcome GroupSync::sync() {
    std::unique_lock lock(mutex_);
    const std::uint64_t needed = begun_ + 1;  // one that runs already may have missed our writes
    bool first = false;
    while (completed_ < needed && error_ == 0) {
        if (running_) {
            ended_.wait(lock);
            continue;
        }
        running_ = true;
        ++begun_;
        lock.unlock();
        const int error = sync_data(fd_);
        lock.lock();
        running_ = false;
        completed_ = begun_;
        error_ = error;
        first = error != 0;
        ended_.notify_all();
    }
    return {.error = error_, .first = first};
}

}  // namespace signpost
