// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/state_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "catalog/disk_name.h"
#include "libvirt-pool/volume_file.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

std::unexpected<Error> failed(const std::string& file, int error) {
    const Errc code = error == ENOENT                      ? Errc::not_found
                      : error == EACCES || error == EPERM  ? Errc::denied
                      : error == ENOSPC || error == EDQUOT ? Errc::full
                                                           : Errc::io;
    return fail(code, fmt::format("the pool's {}: {}", escaped(file), std::strerror(error)));
}

bool write_all(int fd, const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
        const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        at += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    return true;
}

}  // namespace

Result<void> write_state(int directory, const std::string& file, const std::string& text) {
    const std::string temporary = fmt::format("{}{}-state", kTemporaryPrefix, getpid());
    const UniqueFd fd(::openat(directory, temporary.c_str(),
                               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) {
        return failed(file, errno);
    }
    if (!write_all(fd.get(), text) || ::fsync(fd.get()) != 0 ||
        ::renameat(directory, temporary.c_str(), directory, file.c_str()) != 0 ||
        ::fsync(directory) != 0) {
        const int error = errno;
        ::unlinkat(directory, temporary.c_str(), 0);
        return failed(file, error);
    }
    return {};
}

Result<std::string> read_state(int directory, const std::string& file) {
    const UniqueFd fd(
        ::openat(directory, file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) {
        return failed(file, errno);
    }
    if (!S_ISREG(status.st_mode) || status.st_size > static_cast<off_t>(kMaxState)) {
        return fail(Errc::invalid, fmt::format("the pool's {}: not a regular file of at most 1 MiB",
                                               escaped(file)));
    }
    std::string text(static_cast<std::size_t>(status.st_size), '\0');
    std::size_t at = 0;
    while (at < text.size()) {
        const ssize_t n = ::read(fd.get(), text.data() + at, text.size() - at);
        if (n < 0 && errno != EINTR) {
            return failed(file, errno);
        }
        if (n == 0) {
            break;
        }
        at += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    text.resize(at);
    return text;
}

Result<void> remove_state(int directory, const std::string& file) {
    if (::unlinkat(directory, file.c_str(), 0) != 0 && errno != ENOENT) {
        return failed(file, errno);
    }
    return {};
}

}  // namespace signpost
