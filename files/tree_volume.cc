// SPDX-License-Identifier: BSD-3-Clause

#include "files/tree_volume.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost::files {

namespace {

constexpr std::uint64_t kMaxAnswer = 8 * kMaxRead;

struct CloseDirectory {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

FileType type_of(mode_t mode) {
    return S_ISREG(mode)   ? FileType::regular
           : S_ISDIR(mode) ? FileType::directory
           : S_ISLNK(mode) ? FileType::symlink
                           : FileType::unknown;
}

// GRUB finds a damaged file system where it looks: what is not "not there" is damage.
End trouble(int error) {
    if (error == ENOENT || error == ENOTDIR) {
        return {End::Status::not_found, ""};
    }
    return {End::Status::damaged, "GRUB cannot read it: " + error_text(error)};
}

}  // namespace

std::uint64_t TreeVolume::number_of(const std::string& path) {
    if (path == paths_.front()) {
        return 0;
    }
    const auto [found, is_new] = numbers_.try_emplace(path, paths_.size());
    if (is_new) {
        paths_.push_back(path);
    }
    return found->second;
}

const std::string* TreeVolume::path_of(std::uint64_t inode) const {
    return inode < paths_.size() ? &paths_[inode] : nullptr;
}

bool TreeVolume::take(const std::string& path, std::string_view name, Entry& entry) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
        return false;
    }
    entry.name = name;
    entry.inode = number_of(path);
    entry.type = type_of(status.st_mode);
    entry.size = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
    entry.modified = status.st_mtim.tv_sec;
    return true;
}

End TreeVolume::find(const AskPath& question, Entry& found) {
    std::string path = paths_.front();
    std::string name;
    for (std::size_t at = 0; at < question.path.size();) {
        const std::size_t end = std::min(question.path.find('/', at), question.path.size());
        const std::string component = question.path.substr(at, end - at);
        at = end + 1;
        if (component == ".." && path.size() > paths_.front().size()) {
            path.resize(path.rfind('/'));
        }
        if (!is_component(component)) {
            continue;
        }
        path += "/" + component;
        name = component;
    }
    return take(path, path == paths_.front() ? "" : name, found) ? End{} : trouble(errno);
}

End TreeVolume::list(const AskList& question, const std::function<void(const Entry&)>& see) {
    const std::string* path = path_of(question.inode);
    if (path == nullptr) {
        return {End::Status::invalid, "no such directory"};
    }
    const std::string directory = *path;
    const std::unique_ptr<DIR, CloseDirectory> opened(::opendir(directory.c_str()));
    if (!opened) {
        return trouble(errno);
    }
    End end;
    errno = 0;
    while (const dirent* each = ::readdir(opened.get())) {
        const std::string_view name = each->d_name;
        Entry entry;
        if (is_component(name)) {
            if (!take(directory + "/" + std::string(name), name, entry)) {
                // A symbolic link to nowhere has no attributes that GRUB could tell.
                entry.name = name;
                entry.type = FileType::unknown;
            }
            see(entry);
        }
        errno = 0;
    }
    return errno != 0 ? trouble(errno) : end;
}

End TreeVolume::pieces(const AskPieces& question, const std::function<void(const Piece&)>& see) {
    const std::string* path = path_of(question.inode);
    const UniqueFd file(path != nullptr ? ::open(path->c_str(), O_RDONLY | O_CLOEXEC) : -1);
    if (!file) {
        return trouble(errno);
    }
    const std::uint64_t asked = std::min(question.length, kMaxAnswer);
    for (std::uint64_t done = 0; done < asked;) {
        Piece piece;
        piece.kind = Piece::Kind::bytes;
        piece.offset = question.offset + done;
        piece.bytes.resize(std::min<std::uint64_t>(asked - done, kMaxRead));
        const ssize_t got = ::pread(file.get(), piece.bytes.data(), piece.bytes.size(),
                                    static_cast<off_t>(piece.offset));
        if (got <= 0) {
            return got == 0 ? End{} : End{End::Status::read_error, error_text(errno)};
        }
        piece.bytes.resize(static_cast<std::size_t>(got));
        piece.length = piece.bytes.size();
        see(piece);
        done += piece.length;
    }
    return {};
}

}  // namespace signpost::files
