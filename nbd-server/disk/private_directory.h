// SPDX-License-Identifier: BSD-3-Clause
//
// PrivateDirectory is a directory for Unix sockets that only this user may enter, gone again with
// the object. A lock on it says that it is in use; what a process that was killed left behind is
// removed by the next that comes.
//
// Lifetime: files in it should be gone before; those that are left go with it. Threads: any.

#pragma once

#include <string>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

class PrivateDirectory {
   public:
    // Beneath $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR or /tmp: the first where it can be made and a
    // socket's path is short enough. PREFIX is a plain file name.
    static Result<PrivateDirectory> make(const std::string& prefix);

    PrivateDirectory(PrivateDirectory&& other) noexcept
        : path_(std::move(other.path_)), lock_(std::move(other.lock_)) {}
    PrivateDirectory& operator=(PrivateDirectory&&) = delete;
    ~PrivateDirectory();

    const std::string& path() const { return path_; }

   private:
    PrivateDirectory(std::string path, UniqueFd lock)
        : path_(std::move(path)), lock_(std::move(lock)) {}

    std::string path_;
    UniqueFd lock_;
};

// Where make() looks, in its order.
std::vector<std::string> private_directory_parents();

// A listening socket bound to PATH; what was there before is removed.
Result<UniqueFd> listen_at(const std::string& path);

}  // namespace signpost
