// SPDX-License-Identifier: BSD-3-Clause
//
// Tells that something may have changed in a catalog file, whoever changed it: each change is
// written to the log beside the file (PATH-wal), which inotify shows. Nothing depends on it: where
// inotify is used up, or the file lies on a file system that tells nothing, whoever is to be told
// looks by itself.
//
// Lifetime: one thread, stopped and joined by the destructor. Threads: any. Not to be carried
// across a fork.

#pragma once

#include <memory>
#include <string>
#include <thread>

#include "catalog/change_hints.h"

namespace signpost {

class SqliteChanges {
   public:
    SqliteChanges(const std::string& path, std::shared_ptr<const ChangeHints> hints);
    SqliteChanges(const SqliteChanges&) = delete;
    SqliteChanges& operator=(const SqliteChanges&) = delete;
    ~SqliteChanges();

   private:
    void run(const std::string& log_name);

    const std::shared_ptr<const ChangeHints> hints_;
    int inotify_ = -1;
    int stop_ = -1;
    std::thread thread_;
};

}  // namespace signpost
