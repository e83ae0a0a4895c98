// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/pool_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

Errc code_of(int error) {
    switch (error) {
        case ENOENT:
            return Errc::not_found;
        case EEXIST:
            return Errc::conflict;
        case EACCES:
        case EPERM:
            return Errc::denied;
        case ENOTDIR:
            return Errc::invalid;
        case ENOSPC:
        case EDQUOT:
            return Errc::full;
        default:
            return Errc::io;
    }
}

}  // namespace

std::unexpected<Error> file_failed(std::string_view kind, const std::string& name, int error) {
    return fail(code_of(error),
                fmt::format("{} {}: {}", kind, escaped(name), std::strerror(error)));
}

Result<UniqueFd> open_regular(int directory, std::string_view kind, const std::string& file,
                              int flags) {
    UniqueFd fd(
        ::openat(directory, file.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) {
        return file_failed(kind, file, errno);
    }
    if (!S_ISREG(status.st_mode)) {
        return fail(Errc::invalid, fmt::format("{} {}: not a regular file", kind, escaped(file)));
    }
    return fd;
}

Result<void> write_whole(int directory, std::string_view kind, const std::string& file,
                         unsigned flags, const std::function<bool(int fd)>& write) {
    const std::string temporary =
        fmt::format("{}{}-{:x}", kTemporaryPrefix, getpid(), std::hash<std::string>{}(file));
    const UniqueFd fd(::openat(directory, temporary.c_str(),
                               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) {
        return file_failed(kind, file, errno);
    }
    if (!write(fd.get()) || ::fdatasync(fd.get()) != 0 ||
        ::renameat2(directory, temporary.c_str(), directory, file.c_str(), flags) != 0) {
        const int error = errno;
        ::unlinkat(directory, temporary.c_str(), 0);
        return file_failed(kind, file, error);
    }
    return {};
}

}  // namespace signpost
