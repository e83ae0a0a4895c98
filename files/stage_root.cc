// SPDX-License-Identifier: BSD-3-Clause

#include "files/stage_root.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>

#include "nbd-server/disk/beneath.h"

namespace signpost::files {

namespace {

constexpr uid_t kNobody = 65534;
constexpr char kNewRoot[] = "/tmp";  // anything that is there: only this process sees it changed

std::unexpected<Error> refuse(std::string_view what) {
    return fail(Errc::io, fmt::format("{}: {}", what, error_text(errno)));
}

bool write_file(const char* path, const std::string& text) {
    const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
    return file &&
           ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool drop_root() {
    return ::geteuid() != 0 ||
           (::setgroups(0, nullptr) == 0 && ::setresgid(kNobody, kNobody, kNobody) == 0 &&
            ::setresuid(kNobody, kNobody, kNobody) == 0);
}

// A change of user makes /proc/self somebody else's, until this says that there is no secret.
bool own_proc() {
    return ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

[[noreturn]] void end_as(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

bool bind_mount(const std::string& from, const std::string& to, unsigned long flags) {
    return ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0 &&
           (flags == 0 ||
            ::mount(nullptr, to.c_str(), nullptr, MS_BIND | MS_REMOUNT | flags, nullptr) == 0);
}

// /bin and its like are links into /usr on most systems.
bool add_directory(const std::string& root, const std::string& path) {
    std::error_code error;
    if (std::filesystem::is_symlink(path, error)) {
        std::filesystem::copy_symlink(path, root + path, error);
        return !error;
    }
    if (!std::filesystem::is_directory(path, error)) {
        return true;
    }
    return ::mkdir((root + path).c_str(), 0755) == 0 &&
           bind_mount(path, root + path, MS_RDONLY | MS_NOSUID | MS_NODEV);
}

bool add_device(const std::string& root, const std::string& path) {
    const UniqueFd file(::open((root + path).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    return file && bind_mount(path, root + path, 0);
}

bool fill_root(const std::string& root) {
    for (const char* path : {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"}) {
        if (!add_directory(root, path)) {
            return false;
        }
    }
    for (const char* path : {"/dev", kDisks, kTrees}) {
        if (::mkdir((root + path).c_str(), 0755) != 0) {
            return false;
        }
    }
    return add_device(root, "/dev/null") && add_device(root, "/dev/urandom") &&
           add_device(root, "/dev/fuse");
}

}  // namespace

Result<void> enter_namespaces() {
    if (!drop_root() || !own_proc()) {
        return refuse("another user");
    }
    const uid_t user = ::geteuid();
    const gid_t group = ::getegid();
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWPID) != 0) {
        return refuse("user namespaces are not to be had");
    }
    if (!write_file("/proc/self/setgroups", "deny") ||
        !write_file("/proc/self/uid_map", fmt::format("0 {} 1", user)) ||
        !write_file("/proc/self/gid_map", fmt::format("0 {} 1", group))) {
        return refuse("the user namespace cannot be set up");
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const pid_t child = ::fork();
    if (child < 0) {
        return refuse("fork");
    }
    if (child > 0) {
        end_as(child);
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return {};
}

Result<UniqueFd> make_root() {
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("signpost", kNewRoot, "tmpfs", MS_NOSUID, "size=1m,mode=0755") != 0) {
        return refuse("a root directory");
    }
    if (!fill_root(kNewRoot)) {
        return refuse("the root directory");
    }
    if (::chdir(kNewRoot) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 ||
        ::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) {
        return refuse("the new root directory");
    }
    UniqueFd fuse(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!fuse) {
        return refuse("/dev/fuse");
    }
    const std::string options =
        fmt::format("fd={},rootmode=40000,user_id=0,group_id=0", fuse.get());
    if (::mount("signpost", kDisks, "fuse", MS_RDONLY | MS_NOSUID | MS_NODEV, options.c_str()) !=
        0) {
        return refuse("FUSE cannot be mounted");
    }
    return fuse;
}

}  // namespace signpost::files
