// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/process_limits.h"

#include <fmt/core.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "catalog/disk_name.h"
#include "nbd-server/disk/landlock.h"

namespace signpost {
namespace {

struct User {
    uid_t uid;
    gid_t gid;
    std::string name;
};

Result<User> find_user(const std::string& name) {
    std::vector<char> buffer(16 * 1024);
    passwd entry{};
    passwd* found = nullptr;
    const int error = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (found == nullptr) {
        return fail(Errc::not_found,
                    fmt::format("user {}: {}", escaped(name),
                                error == 0 ? "no such user; make it with systemd-sysusers or "
                                             "adduser --system"
                                           : std::strerror(error)));
    }
    return User{entry.pw_uid, entry.pw_gid, entry.pw_name};
}

std::unexpected<Error> fail_call(const std::string& user, const char* call) {
    return fail(Errc::denied, fmt::format("cannot become user {}: {}: {}", escaped(user), call,
                                          std::strerror(errno)));
}

bool is_entirely(const User& user) {
    std::array<uid_t, 3> uids{};
    std::array<gid_t, 3> gids{};
    return ::getresuid(&uids[0], &uids[1], &uids[2]) == 0 &&
           ::getresgid(&gids[0], &gids[1], &gids[2]) == 0 &&
           std::ranges::count(uids, user.uid) == 3 && std::ranges::count(gids, user.gid) == 3;
}

// True when an id that was given up can be had again.
bool can_go_back(uid_t uid) {
    return uid != 0 && (::setuid(0) == 0 || ::seteuid(0) == 0);
}

// What every program opens: libraries, programs for helpers, names and addresses, its own state.
bool allow_common(LandlockRules& rules) {
    rules.allow_programs();
    for (const char* tree :
         {"/etc", "/proc", "/sys/devices/system", "/run/systemd/resolve", "/usr/share/zoneinfo"}) {
        rules.allow_path(tree,
                         LandlockRules::kReadTree & ~std::uint64_t{LANDLOCK_ACCESS_FS_EXECUTE});
    }
    for (const char* file : {"/dev/null", "/dev/zero", "/dev/stderr", "/dev/stdout"}) {
        rules.allow_path(file, LandlockRules::kReadFile | rules.write_file());
    }
    return rules.allow_path("/dev/urandom", LandlockRules::kReadFile);
}

}  // namespace

std::uint64_t raise_open_files() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

Result<void> drop_privileges(const std::string& name) {
    const auto user = find_user(name);
    if (!user) {
        return std::unexpected(user.error());
    }
    if (is_entirely(*user)) {
        return {};
    }
    if (::geteuid() != 0) {
        return fail(Errc::denied,
                    fmt::format("cannot become user {}: only root can", escaped(name)));
    }
    if (::initgroups(user->name.c_str(), user->gid) != 0) {
        return fail_call(name, "initgroups");
    }
    if (::setresgid(user->gid, user->gid, user->gid) != 0) {
        return fail_call(name, "setresgid");
    }
    if (::setresuid(user->uid, user->uid, user->uid) != 0) {
        return fail_call(name, "setresuid");
    }
    if (!is_entirely(*user) || can_go_back(user->uid)) {
        return fail(Errc::denied,
                    fmt::format("cannot become user {}: the way back is open", escaped(name)));
    }
    return {};
}

Result<void> forbid_new_privileges() {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return fail(Errc::denied, fmt::format("no_new_privs: {}", std::strerror(errno)));
    }
    return {};
}

Result<Confinement> confine_to(const FileTrees& trees) {
    LandlockRules rules = LandlockRules::make(LandlockRules::Scope::files);
    if (!rules) {
        return Confinement::not_supported;
    }
    const std::uint64_t read = LandlockRules::kReadFile | LANDLOCK_ACCESS_FS_READ_DIR;
    bool sound = allow_common(rules);
    for (const std::string& path : trees.readable) {
        sound = rules.allow_path(path.c_str(), read) && sound;
    }
    for (const std::string& path : trees.writable) {
        sound = rules.allow_path(path.c_str(), read | rules.write_tree()) && sound;
    }
    for (const std::string& path : trees.landing) {
        sound = rules.allow_path(path.c_str(), read | rules.change_names()) && sound;
    }
    for (const std::string& path : trees.programs) {
        sound = rules.allow_path(path.c_str(), LandlockRules::kReadTree) && sound;
    }
    if (trees.devices) {
        sound = rules.allow_path("/dev", read | rules.write_file()) && sound;
    }
    if (!sound || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        !restrict_to_ruleset(rules.fd())) {
        return fail(Errc::io, fmt::format("Landlock: {}", std::strerror(errno)));
    }
    return Confinement::done;
}

}  // namespace signpost
