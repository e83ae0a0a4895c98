// SPDX-License-Identifier: BSD-3-Clause
//
// ChildProcess is a program that a verb starts for as long as it needs it: a server of its own, an
// emulator, the operator's command. It is a program of this machine's operator, and has his rights;
// what reads images runs in a sandbox instead (helper_process.h).
//
// Lifetime: the destructor ends and reaps it. One that dies with us gets SIGKILL from the kernel
// when we are killed, so it has to be started by the thread that main runs on. Threads: one.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

struct ChildCommand {
    std::vector<std::string> words;             // a program, by its path or on PATH; its arguments
    std::vector<std::string> environment = {};  // NAME=VALUE, beyond ours
    std::vector<std::string> forgotten = {};    // beginnings of variables of ours that it is not to
                                                // have
    int output = -1;                            // its descriptors 1 and 2; -1: ours
    int errors = -1;
    // A process group of its own, no input, and it dies with us. Else it is the foreground's.
    bool background = true;

    // For programs that a guest may have taken over.
    bool without_network = false;
    std::uint64_t largest_file = 0;  // bytes; 0: any
    std::uint64_t memory = 0;        // bytes of addresses; 0: any
    unsigned processor_seconds = 0;  // 0: any
    int niceness = 0;
};

class ChildProcess {
   public:
    // not_found: there is no such program; denied: it may not be run.
    static Result<ChildProcess> start(const ChildCommand& command);

    ChildProcess(ChildProcess&&) noexcept = default;
    ChildProcess& operator=(ChildProcess&&) = delete;
    ~ChildProcess();

    pid_t pid() const { return pid_; }
    int ended_fd() const { return pidfd_.get(); }  // readable when it has ended

    // As a shell has it: the exit status, or 128 and the signal. Empty: it runs.
    std::optional<int> status();
    std::optional<int> wait(std::chrono::milliseconds limit);  // below 0: for ever

    // SIGTERM, and SIGKILL after PATIENCE.
    void end(std::chrono::milliseconds patience);

   private:
    ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

    pid_t pid_;
    UniqueFd pidfd_;
    std::optional<int> status_;
};

// A program of Signpost's: beside this one, where the build has it, or on PATH and in /usr/sbin.
Result<std::string> find_own_program(std::string_view name);

// The last line of FILE that is not empty, made safe to show; for what a program said last.
std::string last_line(const std::string& file);

}  // namespace signpost
