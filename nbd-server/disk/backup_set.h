// SPDX-License-Identifier: BSD-3-Clause
//
// A set of virtnbdbackup is a directory with files such as vda.full.data,
// vda.inc.virtnbdbackup.1.data and vda.diff.1763601000.data. Each is a restore point of its disk:
// DIRECTORY/vda@2026-11-20T02:00:03, by the time that the file itself says, or, of a file that is
// the disk as it is and says none, by the time when it was last written, in UTC. An increment is
// read over the file that has the checkpoint it was taken from, and that over its own.
//
// Files that others are based on are looked for by their name in the same directory, and must say
// the same disk, the checkpoint, and no later time: nothing is combined that does not belong
// together. Files that end in ".partial" are no points.
//
// Errors: as RepositorySet::open_image. Threads: any.

#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/disk/backing_chain.h"
#include "nbd-server/disk/image_file.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

bool is_backup_file(std::string_view path);

// The disk that the file at PATH is, which is_backup_file(). The message goes after the file's
// name; not_found when there is no file.
Result<DiskName> backup_point_of(const Repository& repository, const std::string& path);

// The files that are the point NAME; more than one is a mistake.
std::vector<std::string> backup_files_of(const Repository& repository, const DiskName& name);

// As open_chain(): the file, which is_backup_file(), and all that it is based on.
Result<OpenChain> open_backup_chain(const std::vector<Repository>& repositories,
                                    const RepositoryPath& top, Access access,
                                    std::chrono::milliseconds settle);

}  // namespace signpost
