// SPDX-License-Identifier: BSD-3-Clause
//
// Starts a program that serves on a socket of ours, as systemd would: the listening socket is its
// descriptor 3 (LISTEN_FDS, LISTEN_PID), and files that it may use are 4, 5, and so on; it inherits
// nothing else. It dies with the thread that started it (the kernel's parent-death signal is a
// thread's, not a process's), has its own session and limits, no network and, where the kernel has
// Landlock, no file but those.
//
// Lifetime: the caller reaps it. Threads: call from a thread that outlives the helper.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

struct HelperCommand {
    static constexpr int kFirstFile = 4;

    std::string program;                 // absolute path
    std::vector<std::string> arguments;  // without the program's own name
    int listener = -1;                   // in the helper: 3
    std::vector<int> files;              // in the helper: 4, 5, ...
    bool writes_files = false;
    bool confines_itself = false;  // it makes a world of its own first, which our rules forbid
};

struct SpawnedHelper {
    pid_t pid = -1;
    UniqueFd pidfd;   // readable when it has ended
    UniqueFd errors;  // its standard error, non-blocking
};

// Fails when a descriptor or process cannot be had. A program that cannot be executed is seen as a
// helper that ends with status kHelperNotExecuted.
Result<SpawnedHelper> spawn_helper(const HelperCommand& command);

inline constexpr int kHelperNotExecuted = 127;

// NAME itself when it has a slash, else the first match on PATH; empty when there is none.
std::optional<std::string> find_program(std::string_view name);

}  // namespace signpost
