// SPDX-License-Identifier: BSD-3-Clause

#include "cli/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <utility>

#include "catalog/disk_name.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/helper_process.h"

extern char** environ;

namespace signpost {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kPatience{3000};
constexpr std::size_t kLastWords = 4096;

std::vector<std::string> environment_of(const ChildCommand& command) {
    std::vector<std::string> variables = command.environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
        const std::string_view text = *variable;
        const std::string_view name = text.substr(0, text.find('=') + 1);
        const bool replaced = std::ranges::any_of(
            command.environment, [&](const std::string& own) { return own.starts_with(name); });
        const bool forgotten = std::ranges::any_of(
            command.forgotten, [&](const std::string& start) { return text.starts_with(start); });
        if (!replaced && !forgotten) {
            variables.emplace_back(text);
        }
    }
    return variables;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) {
        result.push_back(text.data());
    }
    result.push_back(nullptr);
    return result;
}

void confine(const ChildCommand& command) {
    if (command.largest_file > 0) {
        const rlimit limit{command.largest_file, command.largest_file};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (command.memory > 0) {
        const rlimit limit{command.memory, command.memory};
        ::setrlimit(RLIMIT_AS, &limit);
    }
    if (command.processor_seconds > 0) {
        const rlimit limit{command.processor_seconds, command.processor_seconds};
        ::setrlimit(RLIMIT_CPU, &limit);
    }
    if (command.niceness > 0) {
        ::setpriority(PRIO_PROCESS, 0, command.niceness);
    }
    if (command.without_network && ::unshare(CLONE_NEWNET) != 0) {
        ::unshare(CLONE_NEWUSER | CLONE_NEWNET);
    }
}

// What the child does between fork and exec: only async-signal-safe calls.
struct ChildStart {
    const ChildCommand& command;
    const char* program;
    char** words;
    char** environment;
    int null;
    int complaint;  // gets errno when the program cannot be run
    pid_t parent;

    [[noreturn]] void run() const {
        for (const int number : {SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGHUP, SIGXFSZ}) {
            ::signal(number, SIG_DFL);
        }
        if (command.background) {
            ::setpgid(0, 0);
            ::dup2(null, STDIN_FILENO);
        }
        if (command.output >= 0) {
            ::dup2(command.output, STDOUT_FILENO);
        }
        if (command.errors >= 0) {
            ::dup2(command.errors, STDERR_FILENO);
        }
        confine(command);
        // After unshare, which forgets it. The parent may have died before.
        if (command.background &&
            (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent)) {
            ::_exit(kHelperNotExecuted);
        }
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        ::execve(program, words, environment);
        const int error = errno;
        [[maybe_unused]] const auto told = ::write(complaint, &error, sizeof error);
        ::_exit(kHelperNotExecuted);
    }
};

std::unexpected<Error> cannot_start(std::string_view program, int error) {
    const Errc code = error == ENOENT   ? Errc::not_found
                      : error == EACCES ? Errc::denied
                                        : Errc::unavailable;
    return fail(code, fmt::format("{} cannot be started: {}", escaped(program), error_text(error)));
}

int shell_status(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const ChildCommand& command) {
    const auto program = find_program(command.words.front());
    if (!program) {
        const bool is_there = command.words.front().find('/') != std::string::npos &&
                              ::access(command.words.front().c_str(), F_OK) == 0;
        return cannot_start(command.words.front(), is_there ? EACCES : ENOENT);
    }
    std::vector<std::string> words = command.words;
    std::vector<std::string> variables = environment_of(command);
    const auto word_pointers = pointers(words);
    const auto variable_pointers = pointers(variables);
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    int ends[2];
    if (!null || ::pipe2(ends, O_CLOEXEC) != 0) {
        return cannot_start(command.words.front(), errno);
    }
    const UniqueFd complaints(ends[0]);
    UniqueFd complaint(ends[1]);
    const ChildStart start{command,
                           program->c_str(),
                           const_cast<char**>(word_pointers.data()),
                           const_cast<char**>(variable_pointers.data()),
                           null.get(),
                           complaint.get(),
                           ::getpid()};
    const pid_t pid = ::fork();
    if (pid == 0) {
        start.run();
    }
    if (pid < 0) {
        return cannot_start(command.words.front(), errno);
    }
    complaint.reset();
    int error = 0;
    if (::read(complaints.get(), &error, sizeof error) == sizeof error) {
        ::waitpid(pid, nullptr, 0);
        return cannot_start(command.words.front(), error);
    }
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)));
    return ChildProcess(pid, std::move(pidfd));
}

ChildProcess::~ChildProcess() {
    if (pidfd_) {  // not moved from
        end(kPatience);
    }
}

std::optional<int> ChildProcess::status() {
    return wait(std::chrono::milliseconds(0));
}

std::optional<int> ChildProcess::wait(std::chrono::milliseconds limit) {
    if (status_) {
        return status_;
    }
    pollfd ended{pidfd_.get(), POLLIN, 0};
    int ready = 0;
    do {
        ready = ::poll(&ended, 1, static_cast<int>(limit.count()));
    } while (ready < 0 && errno == EINTR && limit.count() < 0);
    int status = 0;
    if (ready > 0 && ::waitpid(pid_, &status, 0) == pid_) {
        status_ = shell_status(status);
    }
    return status_;
}

void ChildProcess::end(std::chrono::milliseconds patience) {
    if (status()) {
        return;
    }
    ::kill(pid_, SIGTERM);
    if (!wait(patience)) {
        ::kill(pid_, SIGKILL);
        wait(std::chrono::milliseconds(-1));
    }
}

Result<std::string> find_own_program(std::string_view name) {
    std::error_code error;
    const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
    for (const fs::path& place :
         {here, here / "../sbin", here / "../bin", here / "../cli", here / "../nbd-server",
          here / "../libvirt-pool", fs::path("/usr/sbin"), fs::path("/usr/bin")}) {
        const fs::path path = place / name;
        if (!error && fs::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0) {
            return path.lexically_normal().string();
        }
        error.clear();
    }
    if (auto found = find_program(name)) {
        return *found;
    }
    return fail(Errc::not_found, fmt::format("{} is not installed, neither beside this program nor "
                                             "on PATH; the package of that name has it",
                                             name));
}

std::string last_line(const std::string& file) {
    std::ifstream stream(file, std::ios::binary | std::ios::ate);
    const auto size = std::max<std::streamoff>(stream.tellg(), 0);
    const auto start = std::max<std::streamoff>(size - static_cast<std::streamoff>(kLastWords), 0);
    std::string text(static_cast<std::size_t>(size - start), '\0');
    stream.seekg(start);
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    return escaped(std::string_view(text).substr(text.rfind('\n') + 1), 400);
}

}  // namespace signpost
