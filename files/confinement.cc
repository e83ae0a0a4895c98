// SPDX-License-Identifier: BSD-3-Clause

#include "files/confinement.h"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdint>
#include <memory>

namespace signpost::files {

namespace {

// A file system of terabytes is read in less; one that lies about its size is not followed further.
constexpr rlim_t kAddressSpace = rlim_t{1} << 30;
constexpr rlim_t kSecondsOfAQuestion = 120;

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

// libseccomp's own macros leave out a field, which clang warns of.
scmp_arg_cmp equals(unsigned argument, std::uint64_t value) {
    return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
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
    bool made = true;
    for (const int call : kAllowed) {
        made = ::seccomp_rule_add(rules.get(), SCMP_ACT_ALLOW, call, 0) == 0 && made;
    }
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
