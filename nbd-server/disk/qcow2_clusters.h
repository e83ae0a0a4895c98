// SPDX-License-Identifier: BSD-3-Clause
//
// The compressed clusters of a chain of images, unpacked when they are read; the last few are kept,
// because a reader in sequence comes back for the rest of one.
//
// What does not unpack to a whole cluster is an error: nothing of it is given.
//
// Lifetime: descriptors outlive it; what it gives lives as long as it is held. Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "nbd-server/disk/qcow2_map.h"

namespace signpost {

class Qcow2Clusters {
   public:
    using Bytes = std::shared_ptr<const std::vector<std::byte>>;

    // Of which cluster: the file's descriptor and tables, and a run of kind packed.
    struct Wanted {
        const ChainFile& file;
        const Qcow2Run& run;
    };

    // Null when it would have to be read.
    Bytes known(const Qcow2Run& run);
    // Errors: io (also: it does not unpack).
    Result<Bytes> get(const Wanted& wanted);

   private:
    struct Kept {
        std::uint16_t file;
        std::uint64_t at;
        Bytes bytes;
    };

    std::mutex mutex_;      // guards all below
    std::list<Kept> kept_;  // the last used first
    std::size_t kept_bytes_ = 0;
};

}  // namespace signpost
