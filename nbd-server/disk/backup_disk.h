// SPDX-License-Identifier: BSD-3-Clause
//
// A restore point of a virtnbdbackup set as a read-only Disk (chain_disk.h), without merging the
// set first. What is not compressed goes from the file to the client by the kernel.
//
// To know where in a file what is, all of its frames have to be visited once. So the indexes of the
// last files are kept, as long as a file is what it was; opens of one file at the same time read it
// once, and few are read at the same time.
//
// Lifetime and threads: as Disk; BackupIndexes from any thread.

#pragma once

#include <condition_variable>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "nbd-server/disk/backup_stream.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/repository.h"
#include "nbd-server/disk/unpacked_blocks.h"

namespace signpost {

class BackupIndexes {
   public:
    using Index = std::shared_ptr<const BackupIndex>;

    // Who asks for one that another is reading waits for it, but not for long: unavailable. The
    // message of an error goes after the file's name.
    Result<Index> get(int fd);

    // Of compressed blocks of all disks over these files.
    const std::shared_ptr<UnpackedBlocks::Budget>& budget() const { return budget_; }

   private:
    struct Kept {
        std::string state;  // which file, and as it was when
        bool reading = false;
        Index index;
    };

    static constexpr std::size_t kUnpackedOfAll = 512 << 20;

    std::shared_ptr<Kept> find(const std::string& state);
    void drop_oldest();

    const std::shared_ptr<UnpackedBlocks::Budget> budget_ =
        std::make_shared<UnpackedBlocks::Budget>(kUnpackedOfAll);

    std::mutex mutex_;  // guards all below, and what is kept; not held while one is read
    std::condition_variable ended_;
    unsigned reading_ = 0;
    std::list<std::shared_ptr<Kept>> kept_;  // the last used first
};

inline bool is_backup(const OpenImage& image) {
    return image.format() == ImageFormat::virtnbdbackup;
}

// IMAGE: is_backup(). Errors: conflict, when it has changed since it was opened; invalid, io. LOG
// outlives the disk.
Result<std::shared_ptr<Disk>> make_backup_disk(OpenImage image, BackupIndexes& indexes, Log& log);

}  // namespace signpost
