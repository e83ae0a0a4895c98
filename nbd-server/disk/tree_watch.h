// SPDX-License-Identifier: BSD-3-Clause
//
// TreeWatch learns from inotify what comes, changes and goes in the directories of the
// repositories. A directory is watched through a descriptor that was opened beneath its root, so no
// path is resolved a second time. Whoever walks a directory adds its watch first: then nothing
// falls between.
//
// inotify may lose events, and has a limit on watches; the owner rescans when told so.
//
// Lifetime: the log outlives it. Threads: one at a time.

#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "nbd-server/disk/log.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

class TreeWatch {
   public:
    explicit TreeWatch(Log& log);
    TreeWatch(const TreeWatch&) = delete;
    TreeWatch& operator=(const TreeWatch&) = delete;

    // Readable when there are events; -1 when inotify cannot be used at all.
    int fd() const { return inotify_.get(); }

    // DIRECTORY_FD is open on the directory.
    void add(const RepositoryPath& directory, int directory_fd);

    enum class Change {
        file,            // came, changed or went
        directory_came,  // not watched yet
        directory_went,  // no longer watched, nor is what lies beneath
        lost,            // anything may have happened: look at everything; `where` means nothing
    };
    struct Event {
        Change change;
        RepositoryPath where;
    };

    // Takes all events that wait, without waiting.
    std::vector<Event> take();

   private:
    void take_one(int watch, std::uint32_t mask, const std::string& name,
                  std::vector<Event>& events);
    void forget_beneath(const RepositoryPath& directory);
    void complain(int error);

    Log& log_;
    UniqueFd inotify_;
    // A directory that is seen at two places (nested repositories) has one watch.
    std::map<int, std::vector<RepositoryPath>> places_;
    bool complained_ = false;
};

// True when INNER is OUTER or lies beneath it; the empty path is the root.
bool lies_beneath(const std::string& inner, const std::string& outer);

}  // namespace signpost
