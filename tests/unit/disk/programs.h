// SPDX-License-Identifier: BSD-3-Clause
//
// Real programs in tests: a directory of the test's own, commands that are waited for, and servers
// on a socket that was bound before they began, so that nobody polls.

#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "nbd-server/disk/unique_fd.h"

namespace signpost::test {

using Words = std::vector<std::string>;

class TempDirectory {
   public:
    TempDirectory();
    TempDirectory(const TempDirectory&) = delete;
    TempDirectory& operator=(const TempDirectory&) = delete;
    ~TempDirectory();

    std::string path(const std::string& name) const { return path_ + "/" + name; }
    const std::string& path() const { return path_; }

   private:
    std::string path_;
};

void write_file(const std::string& path, const std::string& content);
std::string read_whole_file(const std::string& path);

// Runs it to its end, quietly unless it fails. True when it exits with 0.
bool run_program(const Words& words);

// A server program with a listening Unix socket as descriptor 3 (LISTEN_FDS); killed at the end.
class SocketServer {
   public:
    SocketServer(const std::string& socket_path, const Words& words);
    SocketServer(const SocketServer&) = delete;
    SocketServer& operator=(const SocketServer&) = delete;
    ~SocketServer();

    pid_t pid() const { return pid_; }

   private:
    pid_t pid_ = -1;
};

UniqueFd connect_unix(const std::string& path);

// Children of any thread of PID, of which the kernel says that they are called NAME.
std::vector<pid_t> children_called(const std::string& name, pid_t pid);

// True when PID has gone, or is about to be reaped, within ten seconds.
bool wait_until_gone(pid_t pid);

}  // namespace signpost::test
