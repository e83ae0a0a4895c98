// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/disk.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace signpost {

namespace {

bool changes_content(Op op) {
    return op == Op::write || op == Op::trim || op == Op::write_zeroes;
}

// The one place where a request is checked; whoever starts it may rely on it. 0 or an errno value.
int validate(const Request& request, const DiskTraits& traits) {
    if (request.op == Op::flush) {
        return 0;
    }
    if (changes_content(request.op) && traits.read_only) {
        return EPERM;
    }
    if (request.offset > traits.size || request.length > traits.size - request.offset) {
        return changes_content(request.op) ? ENOSPC : EINVAL;
    }
    if ((request.op == Op::read || request.op == Op::write) && request.length > kMaxPayload) {
        return EINVAL;
    }
    const std::uint64_t mask = traits.minimum_block - 1;
    if (changes_content(request.op) && ((request.offset | request.length) & mask) != 0) {
        return EINVAL;
    }
    return 0;
}

}  // namespace

void Disk::submit(Request& request) {
    const int error = validate(request, traits());
    if (error != 0 || (request.length == 0 && request.op != Op::flush)) {
        request.done(request, error);
        return;
    }
    start(request);
}

Disk::Now Disk::read_now(std::uint64_t, std::span<std::byte>) {
    return Now::would_wait;
}

Disk::Now Disk::locate_now(std::uint64_t, std::uint32_t, std::vector<ReadPart>&) {
    return Now::would_wait;
}

void Disk::reach(Told told) {
    told({});
}

namespace {

// One wait for one event, on a bare futex: the standard library's semaphore yields the processor
// several times before it sleeps, which cost a relayed 4 KiB read a fifth of its processor time.
class Wait {
   public:
    void end(int error) {
        error_ = error;
        // After this store the waiter may be gone; waking an address that nobody waits on is
        // harmless.
        if (state_.exchange(kEnded, std::memory_order_acq_rel) == kSleeping) {
            futex(FUTEX_WAKE_PRIVATE, 1);
        }
    }

    int result() {
        int expected = kRunning;
        if (state_.compare_exchange_strong(expected, kSleeping, std::memory_order_acq_rel)) {
            while (state_.load(std::memory_order_acquire) != kEnded) {
                futex(FUTEX_WAIT_PRIVATE, kSleeping);
            }
        }
        return error_;
    }

   private:
    static constexpr int kRunning = 0;
    static constexpr int kSleeping = 1;
    static constexpr int kEnded = 2;

    void futex(int operation, int value) {
        ::syscall(SYS_futex, &state_, operation, value, nullptr, nullptr, 0);
    }

    std::atomic<int> state_{kRunning};
    int error_ = 0;
};
static_assert(std::atomic<int>::is_always_lock_free && sizeof(std::atomic<int>) == 4);

}  // namespace

int submit_and_wait(Disk& disk, Request& request) {
    Wait wait;
    request.context = &wait;
    request.done = [](Request& done, int error) { static_cast<Wait*>(done.context)->end(error); };
    disk.submit(request);
    return wait.result();
}

}  // namespace signpost
