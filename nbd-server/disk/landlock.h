// SPDX-License-Identifier: BSD-3-Clause
//
// LandlockRules are the files that a process may open from some moment on, as the kernel's Landlock
// keeps them: for helpers (helper_sandbox.h), and for the server itself.
//
// Threads: one at a time; restrict_to_ruleset is async-signal-safe.

#pragma once

#include <linux/landlock.h>

#include <cstdint>

#include "nbd-server/disk/unique_fd.h"

namespace signpost {

class LandlockRules {
   public:
    enum class Scope {
        files,
        everything,  // no TCP, no abstract sockets and no signals to others either
    };

    static constexpr std::uint64_t kReadFile = LANDLOCK_ACCESS_FS_READ_FILE;
    static constexpr std::uint64_t kReadTree =
        kReadFile | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE;

    // Empty when the kernel has no Landlock, or does not want to.
    static LandlockRules make(Scope scope);

    explicit operator bool() const { return static_cast<bool>(ruleset_); }

    std::uint64_t write_file() const;  // write and cut, as far as the kernel tells these apart
    std::uint64_t write_tree() const;  // and make, rename and remove all but devices

    std::uint64_t change_names() const;  // of files and directories; writes none

    // RIGHTS beneath an open file or directory; of a file, those that a file can have.
    bool allow(int beneath, std::uint64_t rights);

    // What is not there need not be allowed: true.
    bool allow_path(const char* path, std::uint64_t rights);

    // The system's programs and libraries, and what their start reads.
    void allow_programs();

    int fd() const { return ruleset_.get(); }
    UniqueFd release() { return std::move(ruleset_); }

   private:
    std::uint64_t handled_ = 0;
    UniqueFd ruleset_;
};

// For the calling thread and its children, for good. Needs PR_SET_NO_NEW_PRIVS (or root).
bool restrict_to_ruleset(int ruleset);

}  // namespace signpost
