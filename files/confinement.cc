// SPDX-License-Identifier: BSD-3-Clause

#include "files/confinement.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>

namespace signpost::files {

namespace {

// A file system of terabytes is read in less; one that lies about its size is not followed further.
#ifdef __SANITIZE_ADDRESS__  // its shadow memory is terabytes of addresses
constexpr rlim_t kAddressSpace = RLIM_INFINITY;
#else
constexpr rlim_t kAddressSpace = rlim_t{1} << 30;
#endif
constexpr rlim_t kSecondsOfAQuestion = 120;
// Half of a second on the machine that made the key slot, mostly; the header may say years.
constexpr rlim_t kSecondsToUnlock = 120;

constexpr int kAllowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(memfd_create),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fstat),
    SCMP_SYS(fadvise64),
    SCMP_SYS(brk),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getrusage),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall),
#ifdef __SANITIZE_ADDRESS__
    SCMP_SYS(sigaltstack),  // it looks where the stack is, and who speaks
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(sched_yield),
    SCMP_SYS(rt_sigprocmask),
#endif
};

// What libraries try, and do without.
constexpr int kRefused[] = {
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(stat),
    SCMP_SYS(ioctl),
    SCMP_SYS(fcntl),
    SCMP_SYS(mprotect),
    SCMP_SYS(readlink),
    SCMP_SYS(uname),
    SCMP_SYS(access),
    SCMP_SYS(sysinfo),
    SCMP_SYS(sched_getaffinity),
};

// What libcryptsetup and OpenSSL do besides.
constexpr int kAllowedToUnlock[] = {
    SCMP_SYS(stat),         SCMP_SYS(lstat),           SCMP_SYS(newfstatat),
    SCMP_SYS(statx),        SCMP_SYS(statfs),          SCMP_SYS(fstatfs),
    SCMP_SYS(access),       SCMP_SYS(faccessat),       SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),     SCMP_SYS(readlinkat),      SCMP_SYS(fcntl),
    SCMP_SYS(mprotect),     SCMP_SYS(mlock),           SCMP_SYS(munlock),
    SCMP_SYS(prlimit64),    SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),  SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),  SCMP_SYS(sysinfo),         SCMP_SYS(uname),
    SCMP_SYS(getpid),       SCMP_SYS(gettid),          SCMP_SYS(geteuid),
    SCMP_SYS(getuid),       SCMP_SYS(getegid),         SCMP_SYS(getgid),
};

// libseccomp's own macros leave out a field, which clang warns of.
scmp_arg_cmp equals(unsigned argument, std::uint64_t value) {
    return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}

scmp_arg_cmp masked(unsigned argument, std::uint64_t mask, std::uint64_t value) {
    return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

bool allow_all(scmp_filter_ctx rules, std::span<const int> calls) {
    bool made = true;
    for (const int call : calls) {
        made = ::seccomp_rule_add(rules, SCMP_ACT_ALLOW, call, 0) == 0 && made;
    }
    return made;
}

bool limit(__rlimit_resource resource, rlim_t value) {
    const rlimit wanted{value, value};
    return ::setrlimit(resource, &wanted) == 0;
}

}  // namespace

bool confine() {
    const std::unique_ptr<void, decltype(&::seccomp_release)> rules(
        ::seccomp_init(SCMP_ACT_KILL_PROCESS), ::seccomp_release);
    if (!rules || !limit(RLIMIT_CORE, 0) || !limit(RLIMIT_AS, kAddressSpace) ||
        !limit(RLIMIT_NPROC, 0) || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return false;
    }
    bool made = allow_all(rules.get(), kAllowed);
    // Of this process alone.
    made = ::seccomp_rule_add(rules.get(), SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, equals(0, 0)) ==
               0 &&
           made;
    // What the C library makes of fstat.
    made = ::seccomp_rule_add(rules.get(), SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
                              equals(3, AT_EMPTY_PATH)) == 0 &&
           made;
    for (const int call : kRefused) {
        made = ::seccomp_rule_add(rules.get(), SCMP_ACT_ERRNO(EPERM), call, 0) == 0 && made;
    }
    return made && ::seccomp_load(rules.get()) == 0;
}

bool confine_unlocking() {
    const std::unique_ptr<void, decltype(&::seccomp_release)> rules(
        ::seccomp_init(SCMP_ACT_ERRNO(EPERM)), ::seccomp_release);
    if (!rules || !limit(RLIMIT_CORE, 0) || !limit(RLIMIT_CPU, kSecondsToUnlock) ||
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return false;
    }
    const auto to_read = masked(2, O_ACCMODE, O_RDONLY);
    const auto a_thread = masked(0, CLONE_THREAD, CLONE_THREAD);
    return allow_all(rules.get(), kAllowed) && allow_all(rules.get(), kAllowedToUnlock) &&
           ::seccomp_rule_add(rules.get(), SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, to_read) == 0 &&
           ::seccomp_rule_add(rules.get(), SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, a_thread) == 0 &&
           // Its flags cannot be looked at; the C library then takes the other.
           ::seccomp_rule_add(rules.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0 &&
           ::seccomp_load(rules.get()) == 0;
}

void renew_processor_time() {
    rusage used{};
    rlimit processor{};
    if (::getrusage(RUSAGE_SELF, &used) == 0 && ::getrlimit(RLIMIT_CPU, &processor) == 0) {
        const auto seconds = static_cast<rlim_t>(used.ru_utime.tv_sec + used.ru_stime.tv_sec);
        processor.rlim_cur = seconds + kSecondsOfAQuestion;
        ::setrlimit(RLIMIT_CPU, &processor);
    }
}

}  // namespace signpost::files
