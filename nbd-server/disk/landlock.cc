// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/landlock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace signpost {
namespace {

// What younger kernels know beyond Debian 12's headers.
constexpr std::uint64_t kRefer = std::uint64_t{1} << 13;
constexpr std::uint64_t kTruncate = std::uint64_t{1} << 14;
constexpr std::uint64_t kFirstVersion = (std::uint64_t{1} << 13) - 1;

constexpr std::uint64_t kOfAFile = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                   LANDLOCK_ACCESS_FS_READ_FILE | kTruncate;

// The kernel's structure, with its later members: version 4 has the network, 6 the scopes.
struct Handled {
    std::uint64_t files = 0;
    std::uint64_t network = 0;  // bind and connect, TCP
    std::uint64_t scopes = 0;   // abstract Unix sockets and signals of others
};

}  // namespace

LandlockRules LandlockRules::make(Scope scope) {
    LandlockRules rules;
    const long version =
        ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        return rules;
    }
    Handled handled;
    handled.files = kFirstVersion | (version >= 2 ? kRefer : 0) | (version >= 3 ? kTruncate : 0);
    if (scope == Scope::everything) {
        handled.network = version >= 4 ? 3 : 0;
        handled.scopes = version >= 6 ? 3 : 0;
    }
    const std::size_t known = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    rules.handled_ = handled.files;
    rules.ruleset_.reset(
        static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, known, 0)));
    return rules;
}

std::uint64_t LandlockRules::write_file() const {
    return LANDLOCK_ACCESS_FS_WRITE_FILE | (handled_ & kTruncate);
}

std::uint64_t LandlockRules::write_tree() const {
    return write_file() | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
           LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
           LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | (handled_ & kRefer);
}

std::uint64_t LandlockRules::change_names() const {
    return LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
           LANDLOCK_ACCESS_FS_MAKE_REG | (handled_ & kRefer);
}

bool LandlockRules::allow(int beneath, std::uint64_t rights) {
    struct stat status {};
    if (::fstat(beneath, &status) != 0) {
        return false;
    }
    landlock_path_beneath_attr rule{};
    rule.allowed_access = S_ISDIR(status.st_mode) ? rights : rights & kOfAFile;
    rule.parent_fd = beneath;
    return ::syscall(SYS_landlock_add_rule, ruleset_.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) ==
           0;
}

bool LandlockRules::allow_path(const char* path, std::uint64_t rights) {
    const UniqueFd beneath(::open(path, O_PATH | O_CLOEXEC));
    return beneath ? allow(beneath.get(), rights) : errno == ENOENT || errno == ENOTDIR;
}

void LandlockRules::allow_programs() {
    for (const char* tree : {"/usr", "/lib", "/lib32", "/lib64", "/bin", "/opt", "/nix/store"}) {
        allow_path(tree, kReadTree);
    }
    for (const char* file :
         {"/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/dev/random", "/dev/urandom"}) {
        allow_path(file, kReadFile);
    }
    allow_path("/dev/null", kReadFile | LANDLOCK_ACCESS_FS_WRITE_FILE);
}

bool restrict_to_ruleset(int ruleset) {
    return ::syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
}

}  // namespace signpost
