// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/image_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <compare>
#include <csignal>

#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

// An image's file must neither block an open nor become our terminal.
constexpr int kOpenFlags = O_NONBLOCK | O_NOCTTY;

std::unexpected<Error> refuse_open(int error) {
    switch (error) {
        case ENOENT:
        case ENOTDIR:
            return fail(Errc::not_found, "there is no such file (a symbolic link to nothing?)");
        case EXDEV:
            return fail(Errc::denied, "it leads outside the repository, which is not followed");
        case ELOOP:
            return fail(Errc::denied,
                        "it is a magic link, or its symbolic links lead in a circle; not followed");
        case EACCES:
        case EPERM:
            return fail(Errc::denied, "this user may not read it; change its mode or owner");
        case EAGAIN:
            return fail(Errc::conflict, "it is in use by another program; try again");
        default:
            return fail(Errc::io, fmt::format("cannot open it: {}", error_text(error)));
    }
}

const char* kind_of(mode_t mode) {
    switch (mode & S_IFMT) {
        case S_IFIFO:
            return "a FIFO";
        case S_IFCHR:
            return "a character device";
        case S_IFSOCK:
            return "a socket";
        case S_IFDIR:
            return "a directory";
        default:
            return "not a regular file";
    }
}

Result<struct stat> examine(int fd, const RepositoryOptions& options) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) {
        return fail(Errc::io, fmt::format("cannot examine it: {}", error_text(errno)));
    }
    if (S_ISREG(status.st_mode) || (S_ISBLK(status.st_mode) && options.block_devices)) {
        return status;
    }
    if (S_ISBLK(status.st_mode)) {
        return fail(Errc::denied, "it is a block device, which this server may not serve");
    }
    return fail(Errc::denied,
                fmt::format("it is {}, which is never served", kind_of(status.st_mode)));
}

// A read lease is granted only while nobody has the file open for writing. It is given back at
// once. Should somebody ask to write just then, the kernel sends the lease's signal: SIGURG, which
// is ignored unless a program wants it, rather than SIGIO, which would end the process.
bool somebody_writes(int fd) {
    ::fcntl(fd, F_SETSIG, SIGURG);
    if (::fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        ::fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
    }
    return errno == EAGAIN;
}

Result<std::uint64_t> size_of(int fd, const struct stat& status) {
    if (!S_ISBLK(status.st_mode)) {
        return static_cast<std::uint64_t>(status.st_size);
    }
    std::uint64_t size = 0;
    if (::ioctl(fd, BLKGETSIZE64, &size) != 0) {
        return fail(Errc::io, fmt::format("cannot learn its size: {}", error_text(errno)));
    }
    return size;
}

// Opening a device can have effects of its own, so its kind is looked at before.
Result<void> check_kind(const Repository& repository, const std::string& path) {
    auto handle = open_beneath(repository.root(), path, O_PATH);
    if (!handle) {
        return refuse_open(handle.error());
    }
    auto status = examine(handle->get(), repository.options());
    return status ? Result<void>{} : std::unexpected(status.error());
}

bool keeps_us_from_writing(int error) {
    return error == EACCES || error == EPERM || error == EROFS;
}

std::expected<UniqueFd, int> open_for(const Repository& repository, const std::string& path,
                                      Access access, bool& writable) {
    if (access == Access::serve && repository.options().writable) {
        auto fd = open_beneath(repository.root(), path, O_RDWR | kOpenFlags);
        writable = fd.has_value();
        if (fd || !keeps_us_from_writing(fd.error())) {
            return fd;
        }
    }
    auto fd = open_beneath(repository.root(), path, O_RDONLY | kOpenFlags);
    if (fd && access == Access::look && repository.options().writable) {
        writable = ::faccessat(fd->get(), "", W_OK, AT_EACCESS | AT_EMPTY_PATH) == 0;
    }
    return fd;
}

}  // namespace

std::string display_path(const Repository& repository, const std::string& path) {
    constexpr std::size_t kLimit = 400;
    return escaped(repository.directory() + '/' + path, kLimit);
}

Result<CheckedFile> open_image_file(const Repository& repository, const std::string& path,
                                    Access access) {
    if (auto good = check_kind(repository, path); !good) {
        return std::unexpected(good.error());
    }
    CheckedFile file;
    auto fd = open_for(repository, path, access, file.writable);
    if (!fd) {
        return refuse_open(fd.error());
    }
    file.fd = std::move(*fd);
    auto status = examine(file.fd.get(), repository.options());
    if (!status) {
        return std::unexpected(status.error());
    }
    // In a writable repository it may be ourselves who write.
    file.being_written = !repository.options().writable && somebody_writes(file.fd.get());
    auto size = size_of(file.fd.get(), *status);
    if (!size) {
        return std::unexpected(size.error());
    }
    file.size = *size;
    file.device = status->st_dev;
    file.inode = status->st_ino;
    file.changed = status->st_ctim;
    return file;
}

ImageBytes image_bytes(int fd, std::uint64_t size) {
    auto read_at = [fd](std::uint64_t offset, std::span<std::byte> out) -> Result<void> {
        while (!out.empty()) {
            const ssize_t got = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got < 0) {
                return fail(Errc::io, fmt::format("cannot read it: {}", error_text(errno)));
            }
            if (got == 0) {
                return fail(Errc::conflict, "it became shorter while it was read; try again");
            }
            out = out.subspan(static_cast<std::size_t>(got));
            offset += static_cast<std::uint64_t>(got);
        }
        return {};
    };
    return ImageBytes{.size = size, .read_at = std::move(read_at)};
}

void wait_until_clock_passes(timespec changed) {
    constexpr int kMilliseconds = 20;  // more than a tick of any kernel
    for (int i = 0; i < kMilliseconds; ++i) {
        timespec now{};
        ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
        if (now.tv_sec > changed.tv_sec ||
            (now.tv_sec == changed.tv_sec && now.tv_nsec > changed.tv_nsec)) {
            return;
        }
        const timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000};
        ::nanosleep(&pause, nullptr);
    }
}

}  // namespace signpost
