// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/part_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>

#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/image_file.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

constexpr std::uint64_t kHeader = 4096;          // of the record; then a digest for each chunk
constexpr std::uint64_t kZeroBlock = 64 * 1024;  // smaller runs of zeroes are written
constexpr mode_t kFileMode = 0640;
constexpr mode_t kDirectoryMode = 0755;
constexpr std::string_view kDataEnd = ".part";
constexpr std::string_view kRecordEnd = ".state";

using ChunkDigest = DigestTree::ChunkDigest;

std::string header_of(const PartFile::Purpose& purpose) {
    std::string header =
        fmt::format("signpost copy 1\nsize {}\n{}\n", purpose.size, purpose.content);
    header.resize(kHeader);
    return header;
}

Errc errc_of(int error) {
    switch (error) {
        case ENOSPC:
        case EDQUOT:
            return Errc::full;
        case EACCES:
        case EPERM:
        case EROFS:
            return Errc::denied;
        case EEXIST:
            return Errc::conflict;
        default:
            return Errc::io;
    }
}

// In pieces: one write of some megabytes gets pages of that size, and in a virtual machine memory
// of that size that is not in use is memory that the host has to find first (four times the time).
constexpr std::size_t kPiece = 256 * 1024;

bool write_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
        const ssize_t put =
            ::pwrite(fd, bytes.data(), std::min(bytes.size(), kPiece), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return false;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(put));
        offset += static_cast<std::uint64_t>(put);
    }
    return true;
}

// All of TO, or false; errno is 0 where the file ends.
bool read_all(int fd, std::span<std::byte> to, std::uint64_t offset) {
    while (!to.empty()) {
        const ssize_t got = ::pread(fd, to.data(), to.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            errno = got < 0 ? errno : 0;
            return false;
        }
        to = to.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return true;
}

// A plain file of ours, and no link to one: opened by a name that has no slash.
std::expected<UniqueFd, int> open_staged(int directory, const std::string& name) {
    UniqueFd fd(::openat(directory, name.c_str(),
                         O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                         kFileMode));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) {
        return std::unexpected(errno);
    }
    if (!S_ISREG(status.st_mode) || status.st_nlink != 1) {
        return std::unexpected(EPERM);
    }
    return fd;
}

int rename_fresh(int from, const std::string& old_name, int to, const std::string& new_name) {
    if (::syscall(SYS_renameat2, from, old_name.c_str(), to, new_name.c_str(), RENAME_NOREPLACE) ==
        0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return errno;
    }
    // A file system that does not know how: a second name, then the first away.
    if (::linkat(from, old_name.c_str(), to, new_name.c_str(), 0) != 0) {
        return errno;
    }
    return ::unlinkat(from, old_name.c_str(), 0) == 0 ? 0 : errno;
}

// The directory that PATH's file is to be in, made where it is missing, each made durable.
std::expected<UniqueFd, int> make_parents(const Repository& repository, std::string_view path) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY;
    auto directory = open_beneath(repository.root(), ".", kFlags, Links::refuse);
    while (directory && path.contains('/')) {
        const std::string name(path.substr(0, path.find('/')));
        path.remove_prefix(name.size() + 1);
        if (::mkdirat(directory->get(), name.c_str(), kDirectoryMode) == 0) {
            if (::fsync(directory->get()) != 0) {
                return std::unexpected(errno);
            }
        } else if (errno != EEXIST) {
            return std::unexpected(errno);
        }
        directory = open_beneath(directory->get(), name, kFlags, Links::refuse);
    }
    return directory;
}

// What is in the part file, as a disk.
class PartDisk final : public Disk {
   public:
    PartDisk(int fd, std::uint64_t size) : fd_(fd) { traits_.size = size; }

    const DiskTraits& traits() const override { return traits_; }

   private:
    void start(Request& request) override { request.done(request, run(request)); }

    int run(Request& request) {
        if (request.op == Op::read) {
            const std::span to(request.buffer, request.length);
            return read_all(fd_, to, request.offset) ? 0 : EIO;
        }
        return request.op == Op::extents ? extent(request) : EINVAL;
    }

    int extent(Request& request) {
        const auto at = static_cast<off_t>(request.offset);
        const off_t data = ::lseek(fd_, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) {
            *request.extents = {{.length = request.length, .flags = wire::kStateZero}};
        } else if (data > at) {
            *request.extents = {
                {.length = static_cast<std::uint64_t>(data - at), .flags = wire::kStateZero}};
        } else {
            const off_t hole = ::lseek(fd_, at, SEEK_HOLE);
            if (data < 0 || hole <= at) {
                return EIO;
            }
            *request.extents = {{.length = static_cast<std::uint64_t>(hole - at), .flags = 0}};
        }
        return 0;
    }

    const int fd_;
    DiskTraits traits_;
};

}  // namespace

bool is_job_id(std::string_view text) {
    return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

Result<UniqueFd> open_staging(const Repository& repository, bool create) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY;
    auto directory = open_beneath(repository.root(), kStagingDirectory, kFlags, Links::refuse);
    if (!directory && directory.error() == ENOENT && create) {
        if (::mkdirat(repository.root(), kStagingDirectory, 0700) != 0 && errno != EEXIST) {
            directory = std::unexpected(errno);
        } else {
            directory = open_beneath(repository.root(), kStagingDirectory, kFlags, Links::refuse);
        }
    }
    if (!directory) {
        const int error = directory.error();
        return fail(error == ENOENT ? Errc::not_found : errc_of(error),
                    fmt::format("no image can be made in {}: {}",
                                display_path(repository, kStagingDirectory), error_text(error)));
    }
    return std::move(*directory);
}

Result<PartFile> PartFile::open(const Repository& repository, Purpose purpose) {
    auto directory = open_staging(repository, true);
    if (!directory) {
        return std::unexpected(directory.error());
    }
    const std::string name = purpose.id;
    PartFile file(std::move(purpose), std::move(*directory), {}, {});
    auto data = open_staged(file.directory_.get(), fmt::format("{}{}", name, kDataEnd));
    if (!data) {
        return file.trouble("cannot be made", data.error());
    }
    if (::flock(data->get(), LOCK_EX | LOCK_NB) != 0) {
        return fail(Errc::conflict, "another process makes this copy already");
    }
    auto record = open_staged(file.directory_.get(), fmt::format("{}{}", name, kRecordEnd));
    if (!record) {
        return file.trouble("cannot be made", record.error());
    }
    file.data_ = std::move(*data);
    file.record_ = std::move(*record);
    if (auto begun = file.begin(); !begun) {
        return std::unexpected(begun.error());
    }
    return file;
}

// The record is emptied before the file, so that it never speaks of bytes that are not there.
Result<void> PartFile::begin() {
    const std::string header = header_of(purpose_);
    std::string there(kHeader, '\0');
    struct stat status {};
    if (::fstat(data_.get(), &status) != 0) {
        return trouble("cannot be examined", errno);
    }
    resumed_ = static_cast<std::uint64_t>(status.st_size) == purpose_.size &&
               read_all(record_.get(), std::as_writable_bytes(std::span(there)), 0) &&
               there == header;
    if (resumed_) {
        return {};
    }
    if (::ftruncate(record_.get(), 0) != 0 || ::ftruncate(data_.get(), 0) != 0 ||
        ::ftruncate(data_.get(), static_cast<off_t>(purpose_.size)) != 0 ||
        !write_all(record_.get(), std::as_bytes(std::span(header)), 0)) {
        return trouble("cannot be begun", errno);
    }
    return {};
}

void PartFile::remove(const Repository& repository, const std::string& id) {
    const auto directory = open_staging(repository, false);
    if (directory && is_job_id(id)) {
        ::unlinkat(directory->get(), fmt::format("{}{}", id, kRecordEnd).c_str(), 0);
        ::unlinkat(directory->get(), fmt::format("{}{}", id, kDataEnd).c_str(), 0);
    }
}

void PartFile::drop() {
    ::unlinkat(directory_.get(), fmt::format("{}{}", purpose_.id, kRecordEnd).c_str(), 0);
    ::unlinkat(directory_.get(), fmt::format("{}{}", purpose_.id, kDataEnd).c_str(), 0);
}

std::unexpected<Error> PartFile::trouble(const char* what, int error) const {
    return fail(errc_of(error), fmt::format("its file {}/{}{} {}: {}", kStagingDirectory,
                                            purpose_.id, kDataEnd, what, error_text(error)));
}

std::unique_ptr<Disk> PartFile::disk() const {
    return std::make_unique<PartDisk>(data_.get(), purpose_.size);
}

Result<void> PartFile::make_hole(std::uint64_t offset, std::uint64_t length) {
    if (::fallocate(data_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(offset), static_cast<off_t>(length)) == 0) {
        return {};
    }
    if (errno != EOPNOTSUPP) {
        return trouble("cannot be written", errno);
    }
    const std::vector<std::byte> zeroes(length);
    return write_all(data_.get(), zeroes, offset) ? Result<void>()
                                                  : trouble("cannot be written", errno);
}

// A file that was begun anew has holes everywhere; else there may be anything.
Result<void> PartFile::write(const Chunk& chunk) {
    if (resumed_) {
        if (auto emptied = make_hole(chunk.offset, chunk.length); !emptied) {
            return emptied;
        }
    }
    const auto block = [&](std::uint64_t at) {
        return chunk.bytes.subspan(at, std::min(kZeroBlock, chunk.bytes.size() - at));
    };
    for (std::uint64_t at = 0; at < chunk.bytes.size();) {
        std::uint64_t end = at;
        while (end < chunk.bytes.size() && !is_zero(block(end))) {
            end += block(end).size();
        }
        if (end > at &&
            !write_all(data_.get(), chunk.bytes.subspan(at, end - at), chunk.offset + at)) {
            return trouble("cannot be written", errno);
        }
        at = end < chunk.bytes.size() ? end + block(end).size() : end;
    }
    // The storage begins now, so that there is little left to wait for at the end. A wish.
    (void)::sync_file_range(data_.get(), static_cast<off_t>(chunk.offset),
                            static_cast<off_t>(chunk.length), SYNC_FILE_RANGE_WRITE);
    return {};
}

std::optional<ChunkDigest> PartFile::known(std::uint64_t index) const {
    ChunkDigest digest{};
    if (!read_all(record_.get(), digest, kHeader + index * digest.size()) ||
        digest == ChunkDigest{}) {
        return std::nullopt;
    }
    return digest;
}

Result<void> PartFile::remember(std::uint64_t index, const ChunkDigest& digest) {
    return write_all(record_.get(), digest, kHeader + index * digest.size())
               ? Result<void>()
               : trouble("cannot be noted", errno);
}

Result<std::string> PartFile::digest() const {
    auto tree = DigestTree::start(purpose_.size);
    if (!tree) {
        return std::unexpected(tree.error());
    }
    for (std::uint64_t index = 0; index < chunk_count(purpose_.size); ++index) {
        const auto leaf = known(index);
        if (!leaf) {
            return fail(Errc::invalid, fmt::format("chunk {} of the copy is missing", index));
        }
        if (auto added = tree->add_digest(*leaf); !added) {
            return std::unexpected(added.error());
        }
    }
    return tree->finish();
}

std::uint64_t PartFile::room() const {
    struct statvfs status {};
    if (::fstatvfs(data_.get(), &status) != 0) {
        return 0;
    }
    const std::uint64_t free = status.f_bavail * status.f_frsize;
    const std::uint64_t kept =
        std::min<std::uint64_t>(status.f_blocks * status.f_frsize / 100, std::uint64_t{1} << 30);
    return free - std::min(free, kept);
}

// The file is closed before it is moved: an image that somebody has open for writing is not served.
Result<void> PartFile::land(const Repository& repository, const std::string& path, bool replace) {
    if (::fsync(data_.get()) != 0) {
        return trouble("cannot be made durable", errno);
    }
    const auto parent = make_parents(repository, path);
    if (!parent) {
        return fail(errc_of(parent.error()),
                    fmt::format("the directory of {} cannot be made: {}",
                                display_path(repository, path), error_text(parent.error())));
    }
    data_.reset();
    const std::string staged = fmt::format("{}{}", purpose_.id, kDataEnd);
    const std::string name = path.substr(path.rfind('/') + 1);
    int error = 0;
    if (!replace) {
        error = rename_fresh(directory_.get(), staged, parent->get(), name);
    } else if (::renameat(directory_.get(), staged.c_str(), parent->get(), name.c_str()) != 0) {
        error = errno;
    }
    if (error == 0 && (::fsync(parent->get()) != 0 || ::fsync(directory_.get()) != 0)) {
        error = errno;
    }
    if (error != 0) {
        return fail(
            errc_of(error),
            fmt::format("the copy cannot be moved to {}: {}", display_path(repository, path),
                        error == EEXIST ? "there is a file already" : error_text(error)));
    }
    return {};
}

std::vector<std::string> staged_ids(const Repository& repository) {
    std::set<std::string> ids;
    auto directory = open_staging(repository, false);
    DIR* listing = directory ? ::fdopendir(directory->get()) : nullptr;
    if (listing == nullptr) {
        return {};
    }
    directory->release();
    while (const dirent* entry = ::readdir(listing)) {
        std::string_view name = entry->d_name;
        if (name.ends_with(kDataEnd) || name.ends_with(kRecordEnd)) {
            name.remove_suffix(name.size() - name.find('.'));
            if (is_job_id(name)) {
                ids.emplace(name);
            }
        }
    }
    ::closedir(listing);
    return {ids.begin(), ids.end()};
}

}  // namespace signpost
