// SPDX-License-Identifier: BSD-3-Clause
//
// Between fork and exec only async-signal-safe calls are allowed, because other threads may hold
// any lock. So everything is laid out before: arguments, environment (the child writes the digits
// of its own process number into a gap in it), a table of descriptors, and the Landlock rules.

#include "nbd-server/disk/helper_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "nbd-server/disk/helper_sandbox.h"
#include "nbd-server/disk/landlock.h"

namespace signpost {
namespace {

// qemu-nbd takes 0.4 GiB of addresses, hardly touched, and up to 0.5 GiB of buffers for each
// connection (16 requests of 32 MiB); a hostile header can make it ask for more than memory holds.
#ifdef __SANITIZE_ADDRESS__  // its shadow memory is terabytes of addresses
constexpr rlim_t kAddressSpace = RLIM_INFINITY;
#else
constexpr rlim_t kAddressSpace = rlim_t{8} << 30;
#endif
constexpr rlim_t kOpenFiles = 1024;

constexpr char kListenPid[] = "LISTEN_PID=";

struct ChildPlan {
    const char* program = nullptr;
    std::vector<char*> arguments;    // ends with null
    std::vector<char*> environment;  // ends with null
    char* listen_pid_digits = nullptr;
    std::vector<int> sources;  // the child's descriptors 0, 1, 2, ... are copies of these
    std::vector<int> copies;   // room for as many
    bool has_ruleset = false;  // the last of the sources is one
    bool confines_itself = false;
    pid_t parent = -1;
};

void write_digits(char* to, pid_t pid) {
    char reversed[16];
    int count = 0;
    for (auto rest = static_cast<unsigned>(pid); count == 0 || rest > 0; rest /= 10) {
        reversed[count++] = static_cast<char>('0' + rest % 10);
    }
    while (count > 0) {
        *to++ = reversed[--count];
    }
    *to = '\0';
}

void set_limit(__rlimit_resource resource, rlim_t value) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0) {
        return;
    }
    limit.rlim_cur =
        limit.rlim_max == RLIM_INFINITY || value < limit.rlim_max ? value : limit.rlim_max;
    limit.rlim_max = limit.rlim_cur;
    ::setrlimit(resource, &limit);
}

// Copies go above all targets first, so that no source is overwritten before it was copied.
bool arrange_descriptors(ChildPlan& plan) {
    const int count = static_cast<int>(plan.sources.size());
    for (int i = 0; i < count; ++i) {
        plan.copies[static_cast<std::size_t>(i)] =
            ::fcntl(plan.sources[static_cast<std::size_t>(i)], F_DUPFD, count);
        if (plan.copies[static_cast<std::size_t>(i)] < 0) {
            return false;
        }
    }
    for (int i = 0; i < count; ++i) {
        if (::dup2(plan.copies[static_cast<std::size_t>(i)], i) < 0) {
            return false;
        }
    }
    return ::syscall(SYS_close_range, static_cast<unsigned>(count), ~0U, 0U) == 0;
}

// No network, best effort: a process without privilege gets it through a user namespace, where that
// is allowed. Root does not, for there it would lose its access to other users' images.
void leave_network() {
    if (::unshare(CLONE_NEWNET) != 0 && ::geteuid() != 0) {
        ::unshare(CLONE_NEWUSER | CLONE_NEWNET);
    }
}

[[noreturn]] void run_child(ChildPlan& plan) {
    for (int number = 1; number < NSIG; ++number) {
        struct sigaction action {};
        action.sa_handler = SIG_DFL;
        ::sigaction(number, &action, nullptr);
    }
    ::setsid();
    write_digits(plan.listen_pid_digits, ::getpid());
    if (!arrange_descriptors(plan)) {
        ::_exit(kHelperNotExecuted);
    }
    if (!plan.confines_itself) {
        leave_network();
    }
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (plan.has_ruleset) {
        const int ruleset = static_cast<int>(plan.sources.size()) - 1;
        restrict_to_ruleset(ruleset);
        ::close(ruleset);
    }
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_NOFILE, kOpenFiles);
    set_limit(RLIMIT_AS, kAddressSpace);
    // After unshare, which forgets it. If the parent has died before this line, nobody would tell.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != plan.parent) {
        ::_exit(kHelperNotExecuted);
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execve(plan.program, plan.arguments.data(), plan.environment.data());
    ::_exit(kHelperNotExecuted);
}

// The little that a helper should know of our environment. Few malloc arenas: each takes 64 MiB of
// the address space, and there would be eight for each processor.
std::vector<std::string> helper_environment() {
    std::vector<std::string> environment{"LC_ALL=C", "MALLOC_ARENA_MAX=4", "LISTEN_FDS=1"};
    for (const char* name : {"PATH", "LD_LIBRARY_PATH"}) {
        if (const char* value = ::getenv(name)) {
            environment.push_back(fmt::format("{}={}", name, value));
        }
    }
    environment.push_back(kListenPid + std::string(16, '\0'));
    return environment;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) {
        result.push_back(text.data());
    }
    result.push_back(nullptr);
    return result;
}

// Blocks all signals while it lives, so that none of our handlers runs in the child.
class SignalsBlocked {
   public:
    SignalsBlocked() {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

   private:
    sigset_t before_{};
};

std::unexpected<Error> fail_start(const std::string& program, const char* call) {
    const int error = errno;
    return fail(Errc::unavailable,
                fmt::format("{}: cannot start: {}: {}", program, call, std::strerror(error)));
}

Result<pid_t> fork_helper(ChildPlan& plan) {
    const SignalsBlocked blocked;
    const pid_t pid = ::fork();
    if (pid == 0) {
        run_child(plan);
    }
    if (pid < 0) {
        return fail_start(plan.program, "fork");
    }
    return pid;
}

}  // namespace

Result<SpawnedHelper> spawn_helper(const HelperCommand& command) {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    int ends[2];
    if (!null || ::pipe2(ends, O_CLOEXEC) != 0) {
        return fail_start(command.program, "pipe");
    }
    SpawnedHelper helper;
    helper.errors.reset(ends[0]);
    const UniqueFd errors_in(ends[1]);
    ::fcntl(helper.errors.get(), F_SETFL, O_NONBLOCK);

    const UniqueFd ruleset =
        command.confines_itself
            ? UniqueFd()
            : make_ruleset(command.files, command.writes_files, command.program);
    std::vector<std::string> arguments{command.program};
    arguments.insert(arguments.end(), command.arguments.begin(), command.arguments.end());
    std::vector<std::string> environment = helper_environment();

    ChildPlan plan;
    plan.program = command.program.c_str();
    plan.arguments = pointers(arguments);
    plan.environment = pointers(environment);
    plan.listen_pid_digits = environment.back().data() + std::strlen(kListenPid);
    plan.sources = {null.get(), null.get(), errors_in.get(), command.listener};
    plan.sources.insert(plan.sources.end(), command.files.begin(), command.files.end());
    plan.has_ruleset = static_cast<bool>(ruleset);
    plan.confines_itself = command.confines_itself;
    if (plan.has_ruleset) {
        plan.sources.push_back(ruleset.get());
    }
    plan.copies.resize(plan.sources.size());
    plan.parent = ::getpid();

    auto pid = fork_helper(plan);
    if (!pid) {
        return std::unexpected(std::move(pid.error()));
    }
    helper.pid = *pid;
    helper.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, helper.pid, 0U)));
    if (!helper.pidfd) {
        const auto failure = fail_start(command.program, "pidfd_open");
        ::kill(helper.pid, SIGKILL);
        return failure;
    }
    return helper;
}

std::optional<std::string> find_program(std::string_view name) {
    if (name.find('/') != name.npos) {
        const std::string path(name);
        return ::access(path.c_str(), X_OK) == 0 ? std::optional(path) : std::nullopt;
    }
    const char* configured = ::getenv("PATH");
    std::string_view directories = configured ? configured : "/usr/local/bin:/usr/bin:/bin";
    while (!directories.empty()) {
        const std::size_t end = directories.find(':');
        const std::string_view directory = directories.substr(0, end);
        directories.remove_prefix(end == directories.npos ? directories.size() : end + 1);
        std::string path = fmt::format("{}/{}", directory, name);
        if (directory.starts_with('/') && ::access(path.c_str(), X_OK) == 0) {
            return path;
        }
    }
    return std::nullopt;
}

}  // namespace signpost
