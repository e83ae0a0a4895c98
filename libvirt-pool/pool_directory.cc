// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/pool_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "libvirt-pool/pool_file.h"

namespace signpost {

namespace fs = std::filesystem;

namespace {

struct DirectoryClose {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

constexpr std::string_view kKind = "pool directory";

// The names in a directory; what begins with a dot is no volume of this pool.
Result<std::vector<std::string>> names_in(int directory, const std::string& path, bool hidden) {
    const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, DirectoryClose> open(copy < 0 ? nullptr : ::fdopendir(copy));
    if (!open) {
        return file_failed(kKind, path, errno);
    }
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(open.get())) {
        if ((entry->d_name[0] == '.') == hidden) {
            names.emplace_back(entry->d_name);
        }
    }
    std::ranges::sort(names);
    return names;
}

}  // namespace

fs::path settled(const fs::path& path) {
    std::error_code error;
    fs::path settled = fs::weakly_canonical(path, error);
    return error ? path.lexically_normal() : settled;
}

Result<PoolDirectory> PoolDirectory::open(const std::string& path, bool make) {
    if (make) {
        std::error_code error;
        const bool made = fs::create_directories(path, error);
        if (error) {
            return file_failed(kKind, path, error.value());
        }
        if (made && ::chmod(path.c_str(), 0711) != 0) {
            return file_failed(kKind, path, errno);
        }
    }
    UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
        return file_failed(kKind, path, errno);
    }
    return PoolDirectory(path, settled(path), std::move(directory));
}

PoolDirectory::PoolDirectory(std::string path, fs::path home, UniqueFd directory)
    : path_(std::move(path)),
      home_(std::move(home)),
      directory_(std::move(directory)),
      records_(::open(records_path().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) {}

Result<void> PoolDirectory::make_records() {
    const std::string path = records_path();
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
        return file_failed(kKind, path, errno);
    }
    records_.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!records_) {
        return file_failed(kKind, path, errno);
    }
    return {};
}

void PoolDirectory::remove_records() {
    ::rmdir(records_path().c_str());
}

Result<std::vector<PresentVolume>> PoolDirectory::list() const {
    auto names = names_in(directory_.get(), path_, false);
    if (!names) {
        return std::unexpected(names.error());
    }
    std::vector<PresentVolume> volumes;
    volumes.reserve(names->size());
    for (std::string& name : *names) {
        auto facts = inspect_volume(directory_.get(), name);
        if (!facts && facts.error().code == Errc::not_found) {
            continue;  // gone meanwhile
        }
        volumes.push_back({std::move(name), facts.value_or(VolumeFacts{}), false});
    }
    return volumes;
}

Result<UniqueFd> PoolDirectory::lock_pristine(const std::string& file) const {
    auto lock = lock_volume(directory_.get(), file);
    if (!lock) {
        return lock;
    }
    const auto facts = inspect_volume(directory_.get(), file);
    if (!facts) {
        return std::unexpected(facts.error());
    }
    struct stat held {};
    struct stat named {};
    const bool same = ::fstat(lock->get(), &held) == 0 &&
                      ::fstatat(directory_.get(), file.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
                      held.st_dev == named.st_dev && held.st_ino == named.st_ino;
    if (!same || facts->state != VolumeState::pristine) {
        return fail(Errc::conflict, fmt::format("volume {}: somebody has changed it meanwhile; it "
                                                "stays as it is",
                                                escaped(file)));
    }
    return lock;
}

Result<void> PoolDirectory::apply(const PoolPlan::Action& action) const {
    if (action.step == PoolPlan::Step::create) {
        return write_volume(directory_.get(), action.file, action.terms);
    }
    const auto lock = lock_pristine(action.file);
    if (!lock) {
        return std::unexpected(lock.error());
    }
    if (action.step == PoolPlan::Step::replace) {
        return replace_volume(directory_.get(), action.file, action.terms);
    }
    if (::unlinkat(directory_.get(), action.file.c_str(), 0) != 0) {
        return file_failed(kKind, path_ + "/" + action.file, errno);
    }
    return {};
}

void PoolDirectory::remove_leftovers() const {
    const auto names = names_in(directory_.get(), path_, true);
    for (const std::string& name : names.value_or(std::vector<std::string>())) {
        if (name.starts_with(kTemporaryPrefix)) {
            ::unlinkat(directory_.get(), name.c_str(), 0);
        }
    }
}

}  // namespace signpost
