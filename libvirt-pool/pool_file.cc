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

constexpr std::string_view kRecord = "the pool's";

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

std::unexpected<Error> file_failed(std::string_view kind, const std::string& name, int error) {
    const Errc code = error == ENOENT                      ? Errc::not_found
                      : error == EEXIST                    ? Errc::conflict
                      : error == EACCES || error == EPERM  ? Errc::denied
                      : error == ENOTDIR                   ? Errc::invalid
                      : error == ENOSPC || error == EDQUOT ? Errc::full
                                                           : Errc::io;
    return fail(code, fmt::format("{} {}: {}", kind, escaped(name), std::strerror(error)));
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

Result<void> write_state(int directory, const std::string& file, const std::string& text) {
    auto written =
        write_whole(directory, kRecord, file, 0, [&](int fd) { return write_all(fd, text); });
    if (written && ::fsync(directory) != 0) {
        return file_failed(kRecord, file, errno);
    }
    return written;
}

Result<std::string> read_state(int directory, const std::string& file) {
    const auto fd = open_regular(directory, kRecord, file, O_RDONLY);
    if (!fd) {
        return std::unexpected(fd.error());
    }
    std::string text(kMaxState + 1, '\0');
    std::size_t size = 0;
    for (ssize_t n = 1; n != 0 && size < text.size();) {
        n = ::read(fd->get(), text.data() + size, text.size() - size);
        if (n < 0 && errno != EINTR) {
            return file_failed(kRecord, file, errno);
        }
        size += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    if (size > kMaxState) {
        return fail(Errc::invalid, fmt::format("{} {}: larger than 1 MiB", kRecord, escaped(file)));
    }
    text.resize(size);
    return text;
}

Result<void> remove_state(int directory, const std::string& file) {
    if (::unlinkat(directory, file.c_str(), 0) != 0 && errno != ENOENT) {
        return file_failed(kRecord, file, errno);
    }
    return {};
}

}  // namespace signpost
