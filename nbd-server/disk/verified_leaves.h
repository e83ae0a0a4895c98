// SPDX-License-Identifier: BSD-3-Clause
//
// A leaf search gets the chunk digests of a disk from one of the Signpost servers that have it, and
// proves them against the disk's digest: it does not matter who gave them. Servers are asked in
// their order, each later one after a second, or when the one before had nothing.
//
// Lifetime: keeps itself alive until DONE, which is called once, on the loop. Threads: the loop's.

#pragma once

#include <functional>
#include <memory>
#include <string>

#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/disk/verified_disk.h"

namespace signpost {

struct LeafQuestion {
    RelayPlan plan;  // of the disk itself
    std::string digest;
    bool again = false;  // asked before, so that what is wrong has been logged
};

using LeafAnswer = Result<std::shared_ptr<const DigestTree::Leaves>>;
using LeavesFound = std::move_only_function<void(LeafAnswer answer)>;

// Fails with unavailable: who was asked, and what came of it, to follow the name of the disk.
void find_leaves(VerifyServices& services, EventLoop& loop, LeafQuestion question,
                 LeavesFound done);

}  // namespace signpost
