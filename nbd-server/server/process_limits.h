// SPDX-License-Identifier: BSD-3-Clause
//
// What the process takes of the machine, and what it gives up: descriptors up to the hard limit,
// then root, then new privileges, then every file that it has no business with (Landlock).
//
// In this order, from main, before there are threads: each of the last three holds for the calling
// thread and those that it starts, for good.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "catalog/error.h"

namespace signpost {

// Raises the soft limit of open files to the hard one. The limit now.
std::uint64_t raise_open_files();

// Becomes USER, with the user's groups, in all three ids, and makes sure that there is no way back.
// Does nothing when we are that user. not_found: no such user; denied: not root, or it failed.
Result<void> drop_privileges(const std::string& user);

// setuid programs gain nothing from us any more.
Result<void> forbid_new_privileges();

// Paths that do not exist (yet) are left out: whoever needs them makes them before.
struct FileTrees {
    std::vector<std::string> readable;  // files or directories with all beneath
    std::vector<std::string> writable;  // read, write, create, remove, rename
    // What is beneath may be read; names of files and directories may be made, moved and removed,
    // but no file be written.
    std::vector<std::string> landing;
    std::vector<std::string> programs;  // what is beneath may be run, too
    bool devices = false;  // block devices may be opened
};

enum class Confinement { done, not_supported };  // by the kernel, or switched off in it

// Forbids new privileges, too. From now on only TREES, and what any program needs (the system's
// programs and libraries, /etc, /proc/self, a few devices). Helpers inherit it. io: a rule was
// refused; nothing is restricted.
Result<Confinement> confine_to(const FileTrees& trees);

}  // namespace signpost
