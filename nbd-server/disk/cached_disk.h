// SPDX-License-Identifier: BSD-3-Clause
//
// A cached disk relays from other servers, and keeps what it has relayed in a BlockCache. What is
// there is served like a local file, on any loop; what is missing is fetched once, for all who want
// it, and stored behind their backs. A client that reads in sequence finds the next blocks there.
//
// Nothing is served from the cache before it is certain whose content the relay has: its first
// connection says that (RelayPlan::pinned), or the digest to which a verified disk holds it. What
// has neither is relayed as ever. Where no server can be asked, the catalog says it, if it knows of
// one content only; the relay is held to that from then on (RelayPlan::held).
//
// Threads and lifetime: as Disk; the cache outlives the disks.

#pragma once

#include <functional>
#include <memory>

#include "nbd-server/disk/block_cache.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/relayed_disk.h"

namespace signpost {

// take: what is there is used, and nothing is kept.
enum class CacheUse { take_and_keep, take };

// PLAN is read-only. RELAY makes the disk below, which lives on a loop.
std::shared_ptr<Disk> make_cached_disk(BlockCache& cache, RelayPlan plan,
                                       const std::function<std::shared_ptr<Disk>(RelayPlan)>& relay,
                                       CacheUse use = CacheUse::take_and_keep);

// Whether clients of PLAN's disk may be served what is kept of it while no server can be asked.
// Where servers apply rules of their own to the client, they have to be asked first.
bool may_be_served_alone(const RelayPlan& plan);

// VERIFIED holds its content to DIGEST; CHECKS says whether what is asked of it from now on is
// checked, or relayed as it is: that is not kept. ALONE: as may_be_served_alone() said.
std::shared_ptr<Disk> make_cached_disk(BlockCache& cache, const DiskName& name,
                                       std::shared_ptr<Disk> verified, const std::string& digest,
                                       std::function<bool()> checks, bool alone);

}  // namespace signpost
