// SPDX-License-Identifier: BSD-3-Clause
//
// ContentGuard tells whether an open image file still has the bytes that it had. It is asked after
// each read: the kernel moves a file's times before it moves its bytes, so bytes that were read
// before the times were found unmoved are the old ones.
//
// Read-only: size and mtime must be those of the beginning. A ctime that moved alone is either
// harmless (rename, unlink, link, chmod, chown; F13 wants the opened file served on) or somebody
// who changed bytes and put the mtime back, as `cp -p` and `rsync --times --inplace` do. So it is
// accepted only when what moved it is seen: another link count, mode, owner or path than at the
// last look. Anything else, also a harmless setfattr, `touch -a`, or a rename there and back again
// between two reads, counts as changed content: a needless error rather than a wrong byte.
// Writable: our own writes move the times, so only a file that shrank is noticed.
// A block device's times say nothing of its content: it always holds.
//
// Lifetime: the descriptor and the log outlive it. Threads: any.

#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "catalog/error.h"
#include "nbd-server/disk/log.h"

namespace signpost {

class ContentGuard {
   public:
    // LABEL is how log lines name disk and file.
    ContentGuard(int fd, bool writable, std::string label, Log& log);
    ContentGuard(const ContentGuard&) = delete;
    ContentGuard& operator=(const ContentGuard&) = delete;

    // io when the file cannot be examined. Once, before anything else.
    Result<void> begin();

    // False for ever once the content has, or may have, changed; says so in the log, once.
    bool holds();

    // For who found out otherwise: from now on it does not hold.
    void condemn(const std::string& why);

   private:
    struct Facts {
        struct stat status {};
        std::string path;  // where the kernel says that the file is
    };

    std::optional<Facts> look() const;
    bool explained();
    bool try_explain(const Facts& now);

    const int fd_;
    const bool writable_;
    const std::string label_;
    Log& log_;

    struct stat begin_ {};
    std::atomic<std::int64_t> known_change_{0};  // ctime, nanoseconds
    std::atomic<bool> condemned_{false};

    std::mutex mutex_;  // of known_ and of changes of known_change_
    Facts known_;
};

}  // namespace signpost
