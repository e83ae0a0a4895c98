// SPDX-License-Identifier: BSD-3-Clause
//
// What has to be done to a pool's directory so that it shows the disks that it should. Only files
// that are pristine and that no machine refers to are changed or removed: all else is a user's, and
// is told of, never touched.
//
// Pure; threads: any.

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "catalog/disk_name.h"
#include "libvirt-pool/volume_file.h"

namespace signpost {

// libvirt lists 16,384 volumes of a pool, and refuses to list one more.
inline constexpr std::size_t kMaxVolumes = 16'000;

struct WantedVolume {
    DiskName disk;
    VolumeTerms terms;
};

struct PresentVolume {
    std::string file;
    VolumeFacts facts;
    bool referenced = false;  // a machine that libvirt knows has it, running or not
};

struct PoolPlan {
    enum class Step { create, replace, remove };

    struct Action {
        Step step;
        std::string file;
        VolumeTerms terms;  // of create and replace

        bool operator==(const Action&) const = default;
    };

    enum class Matter {
        overlay,     // holds writes; its disk is there
        orphan,      // holds writes; its disk is gone from the selection
        held_back,   // should be changed or removed, but a machine refers to it
        damaged,     // no qcow2: a machine that uses it will not start
        not_ours,    // a file that no disk's volume can have
        unnameable,  // the disk cannot be a volume; `file` is the disk's name
    };

    struct Remark {
        Matter matter;
        std::string file;

        bool operator==(const Remark&) const = default;
    };

    std::vector<Action> actions;  // removals first: they make room
    std::vector<Remark> remarks;
    std::size_t unchanged = 0;
};

// invalid: more volumes than libvirt lists; the message says how to split the pool.
Result<PoolPlan> plan_pool(std::vector<WantedVolume> wanted, std::vector<PresentVolume> present);

}  // namespace signpost
