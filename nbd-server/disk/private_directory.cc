// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/private_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace signpost {
namespace {

constexpr std::size_t kRoomForName = 24;  // "/18446744073709551615" and the end
constexpr int kBacklog = 64;

UniqueFd open_directory(int beneath, const char* name) {
    return UniqueFd(::openat(beneath, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

std::vector<std::string> names_in(int directory) {
    std::vector<std::string> names;
    const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* listing = copy < 0 ? nullptr : ::fdopendir(copy);
    if (listing == nullptr) {
        return names;
    }
    while (const dirent* entry = ::readdir(listing)) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") {
            names.emplace_back(name);
        }
    }
    ::closedir(listing);
    return names;
}

void empty_directory(int directory) {
    for (const std::string& name : names_in(directory)) {
        ::unlinkat(directory, name.c_str(), 0);
    }
}

// Directories of ours that nobody has locked: their process is gone.
void remove_left_behind(const std::string& parent, const std::string& prefix) {
    const UniqueFd beneath = open_directory(AT_FDCWD, parent.c_str());
    if (!beneath) {
        return;
    }
    for (const std::string& name : names_in(beneath.get())) {
        if (!name.starts_with(prefix + "-")) {
            continue;
        }
        const UniqueFd directory = open_directory(beneath.get(), name.c_str());
        struct stat status {};
        if (!directory || ::fstat(directory.get(), &status) != 0 || status.st_uid != ::geteuid() ||
            ::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) {
            continue;
        }
        empty_directory(directory.get());
        ::unlinkat(beneath.get(), name.c_str(), AT_REMOVEDIR);
    }
}

// Empty path when it cannot be made here.
std::pair<std::string, UniqueFd> make_in(const std::string& parent, const std::string& prefix) {
    for (int attempt = 0; attempt < 3; ++attempt) {
        std::string path = fmt::format("{}/{}-XXXXXX", parent, prefix);
        if (::mkdtemp(path.data()) == nullptr) {
            return {};
        }
        UniqueFd lock = open_directory(AT_FDCWD, path.c_str());
        struct stat status {};
        // Between mkdtemp and the lock another process may have taken it for left behind.
        if (lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0 &&
            ::fstat(lock.get(), &status) == 0 && status.st_nlink > 0 &&
            ::access(path.c_str(), F_OK) == 0) {
            return {std::move(path), std::move(lock)};
        }
        ::rmdir(path.c_str());
    }
    return {};
}

}  // namespace

std::vector<std::string> private_directory_parents() {
    std::vector<std::string> result;
    for (const char* name : {"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"}) {
        const char* value = ::getenv(name);
        if (value != nullptr && value[0] == '/') {
            const std::string_view list = value;
            result.emplace_back(list.substr(0, list.find(':')));  // systemd gives a list
        }
    }
    result.emplace_back("/tmp");
    return result;
}

Result<PrivateDirectory> PrivateDirectory::make(const std::string& prefix) {
    int error = ENAMETOOLONG;
    for (const std::string& parent : private_directory_parents()) {
        const std::size_t length = parent.size() + 1 + prefix.size() + 7 + kRoomForName;
        if (length > sizeof(sockaddr_un::sun_path)) {
            continue;
        }
        remove_left_behind(parent, prefix);
        auto [path, lock] = make_in(parent, prefix);
        if (!path.empty()) {
            return PrivateDirectory(std::move(path), std::move(lock));
        }
        error = errno;
    }
    return fail(Errc::unavailable,
                fmt::format("no directory for sockets: {}: make /tmp or $XDG_RUNTIME_DIR writable",
                            std::strerror(error)));
}

PrivateDirectory::~PrivateDirectory() {
    if (lock_) {
        empty_directory(lock_.get());
        ::rmdir(path_.c_str());
    }
}

Result<UniqueFd> listen_at(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
        return fail(Errc::invalid, fmt::format("{}: too long for a socket's path", path));
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    ::unlink(path.c_str());
    UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!listener ||
        ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        ::listen(listener.get(), kBacklog) != 0) {
        return fail(Errc::unavailable,
                    fmt::format("{}: cannot listen: {}", path, std::strerror(errno)));
    }
    return listener;
}

}  // namespace signpost
