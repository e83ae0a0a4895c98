// SPDX-License-Identifier: BSD-3-Clause
//
// ScratchDirectory is a place for what a verb needs while it runs: sockets, logs, images that may
// grow large. Only this user may enter it. It goes with the object and all that is in it; what a
// command that was killed has left, the next one removes.
//
// Lifetime: outlives what uses its files. Threads: one.

#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

class ScratchDirectory {
   public:
    // Beneath $TMPDIR, else /var/tmp, where large files are at home.
    static Result<ScratchDirectory> make();

    ScratchDirectory(ScratchDirectory&& other) noexcept
        : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}
    ScratchDirectory& operator=(ScratchDirectory&&) = delete;
    ~ScratchDirectory();

    std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
    const std::string& path() const { return path_; }

   private:
    ScratchDirectory(std::string path, UniqueFd lock)
        : path_(std::move(path)), lock_(std::move(lock)) {}

    std::string path_;
    UniqueFd lock_;  // says that it is in use
};

}  // namespace signpost
