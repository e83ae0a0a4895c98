// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/disk/programs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "nbd-server/disk/private_directory.h"

namespace signpost::test {
namespace {

std::vector<char*> argv_of(Words& words) {
    std::vector<char*> result;
    for (std::string& word : words) {
        result.push_back(word.data());
    }
    result.push_back(nullptr);
    return result;
}

}  // namespace

TempDirectory::TempDirectory() : path_(testing::TempDir() + "signpost-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) {
        ADD_FAILURE() << path_ << ": " << std::strerror(errno);
    }
}

TempDirectory::~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, const std::string& content) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << content;
    file.close();
    EXPECT_TRUE(file) << path;
}

std::string read_whole_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    return content.str();
}

bool run_program(const Words& words) {
    Words copy = words;
    const UniqueFd output(::memfd_create("output", MFD_CLOEXEC));
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, output.get(), 1);
    ::posix_spawn_file_actions_adddup2(&actions, output.get(), 2);
    pid_t pid = -1;
    const int error =
        ::posix_spawnp(&pid, copy[0].c_str(), &actions, nullptr, argv_of(copy).data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    int status = -1;
    if (error == 0) {
        ::waitpid(pid, &status, 0);
    }
    if (status != 0) {
        std::string text(8192, '\0');
        text.resize(static_cast<std::size_t>(
            std::max<ssize_t>(0, ::pread(output.get(), text.data(), text.size(), 0))));
        ADD_FAILURE() << words[0] << " failed: " << text;
    }
    return status == 0;
}

SocketServer::SocketServer(const std::string& socket_path, const Words& words) {
    const auto listener = listen_at(socket_path);
    if (!listener) {
        ADD_FAILURE() << listener.error().message;
        return;
    }
    Words command{"sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh"};
    command.insert(command.end(), words.begin(), words.end());
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, listener->get(), 3);
    const int error =
        ::posix_spawnp(&pid_, "sh", &actions, nullptr, argv_of(command).data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    EXPECT_EQ(error, 0) << words[0];
}

SocketServer::~SocketServer() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
}

UniqueFd connect_unix(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        fd.reset();
    }
    return fd;
}

std::vector<pid_t> children_called(const std::string& name, pid_t pid) {
    std::vector<pid_t> found;
    std::error_code ignored;
    const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
    for (const auto& task : std::filesystem::directory_iterator(tasks, ignored)) {
        std::istringstream children(read_whole_file(task.path() / "children"));
        for (pid_t child = 0; children >> child;) {
            const std::string comm = "/proc/" + std::to_string(child) + "/comm";
            if (read_whole_file(comm) == name + "\n") {
                found.push_back(child);
            }
        }
    }
    return found;
}

bool wait_until_gone(pid_t pid) {
    const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)));
    if (!handle) {
        return true;
    }
    pollfd event{handle.get(), POLLIN, 0};
    return ::poll(&event, 1, 10'000) == 1;
}

}  // namespace signpost::test
