// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/helper_sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace signpost {
namespace {

// What younger kernels know beyond Debian 12's headers.
constexpr std::uint64_t kRefer = std::uint64_t{1} << 13;
constexpr std::uint64_t kTruncate = std::uint64_t{1} << 14;
constexpr std::uint64_t kFirstVersion = (std::uint64_t{1} << 13) - 1;

constexpr std::uint64_t kReadFile = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr std::uint64_t kReadTree =
    kReadFile | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE;

// The kernel's structure, with its later members: version 4 has the network, 6 the scopes.
struct Handled {
    std::uint64_t files = 0;
    std::uint64_t network = 0;  // bind and connect, TCP
    std::uint64_t scopes = 0;   // abstract Unix sockets and signals of others
};

UniqueFd create_ruleset(Handled& handled) {
    const long version =
        ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        return UniqueFd();
    }
    handled.files = kFirstVersion | (version >= 2 ? kRefer : 0) | (version >= 3 ? kTruncate : 0);
    handled.network = version >= 4 ? 3 : 0;
    handled.scopes = version >= 6 ? 3 : 0;
    const std::size_t known = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    return UniqueFd(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, known, 0)));
}

bool allow(int ruleset, int beneath, std::uint64_t rights) {
    landlock_path_beneath_attr rule{};
    rule.allowed_access = rights;
    rule.parent_fd = beneath;
    return ::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

// What is not there need not be allowed.
void allow_path(int ruleset, const char* path, std::uint64_t rights) {
    const UniqueFd beneath(::open(path, O_PATH | O_CLOEXEC));
    if (beneath) {
        allow(ruleset, beneath.get(), rights);
    }
}

}  // namespace

UniqueFd make_ruleset(std::span<const int> files, bool write, const std::string& program) {
    Handled handled;
    UniqueFd ruleset = create_ruleset(handled);
    if (!ruleset) {
        return ruleset;
    }
    for (const char* tree : {"/usr", "/lib", "/lib32", "/lib64", "/bin", "/opt", "/nix/store"}) {
        allow_path(ruleset.get(), tree, kReadTree);
    }
    allow_path(ruleset.get(), program.c_str(), kReadFile | LANDLOCK_ACCESS_FS_EXECUTE);
    for (const char* file : {"/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/dev/urandom"}) {
        allow_path(ruleset.get(), file, kReadFile);
    }
    allow_path(ruleset.get(), "/dev/null", kReadFile | LANDLOCK_ACCESS_FS_WRITE_FILE);
    const std::uint64_t writing = LANDLOCK_ACCESS_FS_WRITE_FILE | (handled.files & kTruncate);
    for (const int file : files) {
        // A helper that could not open its own files is of no use: better no rules than these.
        if (!allow(ruleset.get(), file, kReadFile | (write ? writing : 0))) {
            return UniqueFd();
        }
    }
    return ruleset;
}

void restrict_to_ruleset(int ruleset) {
    ::syscall(SYS_landlock_restrict_self, ruleset, 0);
}

}  // namespace signpost
