// SPDX-License-Identifier: BSD-3-Clause
//
// ProcessKeeper owns child processes: it starts them, reads what they write to standard error, ends
// them (at once, at a time, or politely first), and reaps them. It does so on one thread of its
// own, which lives as long as it does: a helper dies with the thread that started it.
//
// Lifetime: the destructor ends and reaps all. Threads: any, but not from inside an `ended` call.

#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "nbd-server/disk/helper_process.h"
#include "nbd-server/disk/log.h"

namespace signpost {

class ProcessKeeper {
   public:
    using Clock = std::chrono::steady_clock;

    class Process;
    using ProcessPtr = std::shared_ptr<Process>;

    struct Start {
        HelperCommand command;
        std::string label;  // for messages: "qemu-nbd of disk web01/vda"
        // SIGTERM and time to finish, rather than SIGKILL, when it is ended by us.
        bool polite = false;
        // Called on the keeper's thread when it has ended; ASKED: because we ended it.
        std::function<void(bool asked, const std::string& last_words)> ended;
    };

    explicit ProcessKeeper(Log& log);
    ProcessKeeper(const ProcessKeeper&) = delete;
    ProcessKeeper& operator=(const ProcessKeeper&) = delete;
    ~ProcessKeeper();

    // The command's descriptors are the caller's, and needed only until this returns.
    Result<ProcessPtr> start(Start start);

    // Ends the process at WHEN, unless hold() comes before. False when it has ended already.
    bool end(const ProcessPtr& process, Clock::time_point when = Clock::now());

    // Keeps it going. False when it has ended, or is about to.
    bool hold(const ProcessPtr& process);

    // Waits until it has been reaped, at most for LIMIT. Its exit status and what it wrote last, in
    // one line; empty when it still runs.
    std::string wait_ended(const ProcessPtr& process, std::chrono::milliseconds limit);

   private:
    struct Order;

    void run();
    void wake();
    void take_orders();
    void carry_out(Order& order);
    int wait_for_events();
    int timeout_ms();
    void serve(const ProcessPtr& process, short errors, short exit);
    void read_errors(Process& process);
    void reap(const ProcessPtr& process);
    void keep_deadlines();

    Log& log_;
    UniqueFd wake_;

    std::mutex mutex_;  // guards what follows, and the states in each Process
    std::condition_variable changed_;
    std::deque<Order*> orders_;
    bool stopping_ = false;

    std::vector<ProcessPtr> processes_;  // the thread's own
    std::thread thread_;
};

}  // namespace signpost
