// SPDX-License-Identifier: BSD-3-Clause
//
// PoolDirectory is the directory of a pool's volumes: what lies in it, and the three things that
// may be done to it. Before a file is replaced or removed it is locked as a machine would lock it,
// and looked at again: what is not pristine any more stays.
//
// Lifetime: holds the directory open. Threads: one at a time; other processes are expected.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "libvirt-pool/pool_plan.h"

namespace signpost {

// Where a path leads: symbolic links followed, as far as they go.
std::filesystem::path settled(const std::filesystem::path& path);

class PoolDirectory {
   public:
    // not_found, denied, invalid (not a directory). MAKE: it and its parents are made, mode 0711.
    static Result<PoolDirectory> open(const std::string& path, bool make = false);

    // Every file that libvirt would show as a volume, in byte order, `referenced` left false. What
    // cannot be looked at is shown as damaged.
    Result<std::vector<PresentVolume>> list() const;

    // conflict: the file is not what the plan saw, so that it is somebody's; unavailable: it is
    // open; or as write_volume.
    Result<void> apply(const PoolPlan::Action& action) const;

    // What a sync that was killed has left behind.
    void remove_leftovers() const;

    const std::string& path() const { return path_; }
    // The same settled: the parent of every image that lies in it.
    const std::filesystem::path& home() const { return home_; }
    int descriptor() const { return directory_.get(); }

    // The directory of the pool's records (pool_file.h), beside its own: in it libvirt would show
    // them as volumes. Where there is none, there are no records: the pool's own.
    int records() const { return records_ ? records_.get() : directory_.get(); }
    Result<void> make_records();  // mode 0700
    void remove_records();        // if nothing is in it

   private:
    PoolDirectory(std::string path, std::filesystem::path home, UniqueFd directory);

    std::string records_path() const { return home_.native() + ".records"; }
    Result<UniqueFd> lock_pristine(const std::string& file) const;

    std::string path_;
    std::filesystem::path home_;
    UniqueFd directory_;
    UniqueFd records_;
};

}  // namespace signpost
