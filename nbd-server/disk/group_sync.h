// SPDX-License-Identifier: BSD-3-Clause
//
// GroupSync makes a file's data durable for many threads at once: whoever asks is served by an
// fdatasync that began after the question, and all who wait share it.
//
// A failure is sticky. The kernel reports a lost page once and then forgets it, so a later success
// proves nothing; and it reports it to one of several calls, so only one runs at a time.
//
// Lifetime: the descriptor outlives it. Threads: any.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace signpost {

class GroupSync {
   public:
    explicit GroupSync(int fd) : fd_(fd) {}

    struct Outcome {
        int error = 0;       // errno of the failure; the same for ever after
        bool first = false;  // this call found it
    };
    Outcome sync();

   private:
    const int fd_;

    std::mutex mutex_;  // of all below; not held during fdatasync
    std::condition_variable ended_;
    std::uint64_t begun_ = 0;
    std::uint64_t completed_ = 0;
    bool running_ = false;
    int error_ = 0;
};

}  // namespace signpost
