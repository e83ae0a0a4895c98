// SPDX-License-Identifier: BSD-3-Clause
//
// Goes through a directory of a disk and all beneath it, in the order of names. A file system that
// says that a directory lies in itself, or more than is plausible, is not followed there.
//
// Threads: one.

#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "cli/guest_disk.h"

namespace signpost {

class GuestVisitor {
   public:
    virtual ~GuestVisitor() = default;

    // Anything but a directory. PATH is from the walk's beginning, with the entry's own name last.
    virtual Outcome<void> file(const std::string& path, const files::Entry& entry) = 0;
    // False: not into it.
    virtual Outcome<bool> enter(const std::string& path, const files::Entry& entry) = 0;
    virtual Outcome<void> leave(const std::string& path, const files::Entry& entry) = 0;
    // What cannot be read; the walk goes on.
    virtual void trouble(const std::string& path, const Error& error) = 0;
};

// A directory's entries by name.
Result<void> list_sorted(FileReader& reader, const files::AskList& question,
                         std::vector<files::Entry>& entries);

struct WalkWishes {
    bool attributes = true;
    bool deleted = false;
};

// ROOT is a directory; it is entered and left, too, under the name PATH.
Outcome<void> walk(const GuestFile& root, const std::string& path, const WalkWishes& wishes,
                   GuestVisitor& visitor);

}  // namespace signpost
