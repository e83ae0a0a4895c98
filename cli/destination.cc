// SPDX-License-Identifier: BSD-3-Clause

#include "cli/destination.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <random>

#include "catalog/disk_name.h"
#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

constexpr mode_t kWhileWriting = 0600;
constexpr mode_t kPermissions = 0777;  // nobody else's disk makes a program setuid here

std::unexpected<Error> refuse(int error, const std::string& name) {
    const Errc code = error == EEXIST || error == ENOTEMPTY || error == EISDIR || error == ENOTDIR
                          ? Errc::conflict
                      : error == EACCES || error == EPERM || error == EROFS ? Errc::denied
                      : error == ENOSPC || error == EDQUOT                  ? Errc::full
                                                                            : Errc::io;
    const std::string_view advice = code == Errc::conflict ? "; --force replaces files" : "";
    return fail(code, fmt::format("{}: {}{}", escaped(name), error_text(error), advice));
}

std::string temporary_name() {
    std::random_device random;
    return fmt::format(".signpost-{:08x}{:08x}", random(), random());
}

// What the file system here cannot keep is no reason to fail.
void restore_attributes(int fd, const files::Entry& entry) {
    if (::geteuid() == 0) {
        (void)!::fchown(fd, static_cast<uid_t>(entry.uid), static_cast<gid_t>(entry.gid));
    }
    // Some file systems have no permissions; then these are the usual ones.
    const bool is_directory = entry.type == files::FileType::directory;
    const mode_t usual = is_directory ? 0755 : 0644;
    (void)!::fchmod(fd, entry.mode == 0 ? usual : entry.mode & kPermissions);
    const std::array<timespec, 2> times{
        timespec{0, UTIME_OMIT}, timespec{entry.modified, static_cast<long>(entry.modified_ns)}};
    (void)!::futimens(fd, times.data());
}

}  // namespace

Result<Destination> Destination::open(const std::string& path, bool replace) {
    UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return directory ? Result<Destination>(Destination(std::move(directory), replace))
                     : refuse(errno, path);
}

Result<Destination> Destination::enter(const std::string& name) const {
    if (!files::is_component(name)) {
        return refuse(EINVAL, name);
    }
    if (::mkdirat(directory_.get(), name.c_str(), 0700) != 0 && (errno != EEXIST || !replace_)) {
        return refuse(errno, name);
    }
    auto opened =
        open_beneath(directory_.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, Links::refuse);
    return opened ? Result<Destination>(Destination(std::move(*opened), replace_))
                  : refuse(opened.error(), name);
}

Result<std::unique_ptr<NewFile>> Destination::create(const std::string& name) const {
    if (!files::is_component(name)) {
        return refuse(EINVAL, name);
    }
    struct stat there {};
    if (::fstatat(directory_.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        (!replace_ || S_ISDIR(there.st_mode))) {
        return refuse(S_ISDIR(there.st_mode) ? EISDIR : EEXIST, name);
    }
    std::unique_ptr<NewFile> file(new NewFile(*this, name));
    // Without a name it cannot stay behind.
    file->file_.reset(
        ::openat(directory_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, kWhileWriting));
    if (!file->file_) {
        file->temporary_ = temporary_name();
        file->file_.reset(::openat(directory_.get(), file->temporary_.c_str(),
                                   O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC,
                                   kWhileWriting));
    }
    return file->file_ ? Result<std::unique_ptr<NewFile>>(std::move(file)) : refuse(errno, name);
}

Result<void> Destination::link(const files::Entry& entry, const std::string& name) const {
    if (!files::is_component(name) || entry.target.empty()) {
        return refuse(EINVAL, name);
    }
    const std::string temporary = temporary_name();
    const int directory = directory_.get();
    if (::symlinkat(entry.target.c_str(), directory, temporary.c_str()) != 0) {
        return refuse(errno, name);
    }
    const unsigned flags = replace_ ? 0 : RENAME_NOREPLACE;
    if (::renameat2(directory, temporary.c_str(), directory, name.c_str(), flags) != 0) {
        const int error = errno;
        ::unlinkat(directory, temporary.c_str(), 0);
        return refuse(error, name);
    }
    if (::geteuid() == 0) {
        (void)!::fchownat(directory, name.c_str(), static_cast<uid_t>(entry.uid),
                          static_cast<gid_t>(entry.gid), AT_SYMLINK_NOFOLLOW);
    }
    return {};
}

Result<void> Destination::restore(const files::Entry& entry) const {
    restore_attributes(directory_.get(), entry);
    return {};
}

NewFile::~NewFile() {
    if (!temporary_.empty()) {
        ::unlinkat(into_.directory_.get(), temporary_.c_str(), 0);
    }
}

Result<void> NewFile::bytes(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t written =
            ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (written < 0 && errno != EINTR) {
            return refuse(errno, name_);
        }
        const auto done = static_cast<std::size_t>(std::max<ssize_t>(written, 0));
        offset += done;
        bytes = bytes.subspan(done);
    }
    return {};
}

Result<void> NewFile::hole(std::uint64_t /*offset*/, std::uint64_t /*length*/) {
    return {};  // keep() gives the file its size, and what was not written is a hole
}

Result<void> NewFile::keep(const files::Entry& entry) {
    if (::ftruncate(file_.get(), static_cast<off_t>(entry.size)) != 0) {
        return refuse(errno, name_);
    }
    restore_attributes(file_.get(), entry);
    return give_name();
}

Result<void> NewFile::give_name() {
    const int directory = into_.directory_.get();
    if (temporary_.empty()) {
        const std::string self = fmt::format("/proc/self/fd/{}", file_.get());
        std::string name = temporary_name();
        if (::linkat(AT_FDCWD, self.c_str(), directory, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
            return refuse(errno, name_);
        }
        temporary_ = std::move(name);
    }
    const unsigned flags = into_.replace_ ? 0 : RENAME_NOREPLACE;
    int error = ::renameat2(directory, temporary_.c_str(), directory, name_.c_str(), flags) == 0
                    ? 0
                    : errno;
    // Some network file systems know no such flag.
    if (error == EINVAL && flags != 0 &&
        ::linkat(directory, temporary_.c_str(), directory, name_.c_str(), 0) == 0) {
        return {};
    }
    if (error != 0) {
        return refuse(error, name_);
    }
    temporary_.clear();
    return {};
}

}  // namespace signpost
