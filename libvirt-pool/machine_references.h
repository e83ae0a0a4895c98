// SPDX-License-Identifier: BSD-3-Clause
//
// Which files of a pool's directory belong to somebody: a machine that libvirt knows has them,
// running or not, or an image is based on them. Of a machine that is off libvirt does not know what
// lies behind its images, so the images' own headers are asked.
//
// Threads: any.

#pragma once

#include <map>
#include <string>
#include <vector>

#include "libvirt-pool/libvirt_host.h"
#include "libvirt-pool/pool_directory.h"

namespace signpost {

// Names of files, each with the machine that has it, the first if there are more; empty: an image
// of no machine's is based on it.
using FileOwners = std::map<std::string, std::string>;

// The files in DIRECTORY, which is the directory of POOL. PRESENT: what lies in it. invalid: a
// machine's XML cannot be read, so that nothing is known for certain.
Result<FileOwners> referenced_files(const std::vector<MachineFacts>& machines,
                                    const std::string& pool, const PoolDirectory& directory,
                                    const std::vector<PresentVolume>& present);

}  // namespace signpost
