// SPDX-License-Identifier: BSD-3-Clause

#include "cli/scratch_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "catalog/disk_name.h"
#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "signpost-scratch-";

UniqueFd open_and_lock(const std::string& path) {
    UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (directory && (::fstat(directory.get(), &status) != 0 || status.st_uid != ::geteuid() ||
                      ::flock(directory.get(), LOCK_EX | LOCK_NB) != 0)) {
        directory.reset();
    }
    return directory;
}

// Those of ours that nobody has locked: their command is gone.
void remove_left_behind(const fs::path& parent) {
    std::error_code error;
    for (fs::directory_iterator entry(parent, error), end; !error && entry != end;
         entry.increment(error)) {
        const std::string path = entry->path().string();
        if (!entry->path().filename().string().starts_with(kPrefix)) {
            continue;
        }
        if (const UniqueFd lock = open_and_lock(path)) {
            std::error_code ignored;
            fs::remove_all(path, ignored);
        }
    }
}

}  // namespace

Result<ScratchDirectory> ScratchDirectory::make() {
    const char* given = std::getenv("TMPDIR");
    const std::string parent = given != nullptr && *given == '/' ? given : "/var/tmp";
    remove_left_behind(parent);
    int error = 0;
    for (int attempt = 0; attempt < 3 && error == 0; ++attempt) {
        std::string path = fmt::format("{}/{}XXXXXX", parent, kPrefix);
        error = ::mkdtemp(path.data()) == nullptr ? errno : 0;
        UniqueFd lock = error == 0 ? open_and_lock(path) : UniqueFd();
        // Another command may have taken it for one that was left, before it was locked.
        if (lock && ::access(path.c_str(), F_OK) == 0) {
            return ScratchDirectory(path, std::move(lock));
        }
    }
    return fail(Errc::io, fmt::format("no directory for temporary files can be made in {}: {}; "
                                      "TMPDIR names another place",
                                      escaped(parent), error_text(error)));
}

ScratchDirectory::~ScratchDirectory() {
    if (!path_.empty()) {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
}

}  // namespace signpost
