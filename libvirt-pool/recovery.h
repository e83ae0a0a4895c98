// SPDX-License-Identifier: BSD-3-Clause
//
// A recovery is what `recover` was asked for: a machine, and which disks of the federation it
// stands on. It is written into the pool's directory before anything is made, so that each step can
// be taken again after a crash of whatever it was; and it says whose a file is.
//
// The machine's volumes are its own: "web01~vda.qcow2", a name that no disk's volume has. So any
// number of machines can be brought back from one disk.
//
// Values; threads: any.

#pragma once

#include <string>
#include <vector>

#include "catalog/disk_name.h"
#include "libvirt-pool/volume_file.h"

namespace signpost {

struct RecoveredDisk {
    DiskName disk;
    std::string target;  // "vda"
    VolumeTerms terms;   // of its volume; of a live disk nothing but what they say

    bool operator==(const RecoveredDisk&) const = default;
};

struct Recovery {
    std::string machine;
    bool live = false;  // the machine has the exports themselves, no volumes
    std::vector<RecoveredDisk> disks;

    // The volume of a disk, in the pool's directory.
    std::string file(const RecoveredDisk& disk) const;

    bool operator==(const Recovery&) const = default;
};

// invalid: the name of a machine that could not be the beginning of a file's.
Result<void> check_machine_name(const std::string& name);

// Whether "vda" could be the name of a machine's disk.
bool check_target(const std::string& target);

// not_found: that machine was not brought back in this pool; invalid: somebody has changed the
// file; else as read_state.
Result<Recovery> read_recovery(int directory, const std::string& machine);

// invalid: read_recovery would refuse it; else as write_state.
Result<void> write_recovery(int directory, const Recovery& recovery);

Result<void> remove_recovery(int directory, const std::string& machine);

}  // namespace signpost
