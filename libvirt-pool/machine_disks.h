// SPDX-License-Identifier: BSD-3-Clause
//
// The disks of a machine whose images lie in a pool's directory, and whether each still needs what
// is behind it.
//
// Threads: any.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "libvirt-pool/machine.h"
#include "libvirt-pool/machine_xml.h"
#include "libvirt-pool/pool_directory.h"

namespace signpost {

struct MachineDisk {
    std::string target;  // "vda"
    std::string file;    // in the pool's directory
    VolumeFacts facts;
    bool on_server = false;  // as the machine's XML has it: part of its chain is a server's

    bool needs_server() const { return on_server || !facts.terms.backing.empty(); }
};

// The image that SOURCE names, settled; empty: it is another pool's. DIRECTORY is POOL's.
std::filesystem::path image_of(const DiskSource& source, const std::string& pool,
                               const PoolDirectory& directory);

// invalid: the machine's XML cannot be read; else as inspect_volume.
Result<std::vector<MachineDisk>> disks_in_pool(const MachineFacts& machine, const std::string& pool,
                                               const PoolDirectory& directory);

}  // namespace signpost
