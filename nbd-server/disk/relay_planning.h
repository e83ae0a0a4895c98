// SPDX-License-Identifier: BSD-3-Clause
//
// From a referral to the plan of a relay: which URIs to dial, which export to ask for, what the
// disk looks like before any peer was dialled. This is where the hop rule is kept: a Signpost peer
// is asked for `local:NAME`, so it answers only from its own repositories and no loop can be built;
// a foreign server is asked for the export that the catalog names.
//
// Lifetime: the catalog outlives the planner, the plans and the disks made of them. Threads: any;
// no mutable state.

#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catalog/resolver.h"
#include "nbd-server/disk/federation.h"
#include "nbd-server/disk/relayed_disk.h"

namespace signpost {

class RelayPlanner {
   public:
    // OWN_SITE as Resolver's.
    RelayPlanner(Catalog& catalog, std::string own_server, std::string own_site,
                 const Liveness* liveness = nullptr, std::shared_ptr<UntrueRows> untrue = nullptr)
        : catalog_(&catalog),
          untrue_(std::move(untrue)),
          resolver_(catalog, std::move(own_server), std::move(own_site), liveness, untrue_.get()) {}

    // WRITABLE is granted when the first location allows it (that which was written last, if it
    // can be had); the plan then holds that location only, because writes go to one image. Signpost
    // servers are told of the ASKER. Fails as Resolver::resolve.
    Result<RelayPlan> plan(const DiskName& disk, bool writable, const Asker& asker = {}) const;

   private:
    Result<Referral> resolve_for_writing(const DiskName& disk) const;

    Catalog* catalog_;
    std::shared_ptr<UntrueRows> untrue_;  // plans fill it; null: each row is believed
    Resolver resolver_;
};

// In the referral's order. A Signpost server's location that may be written has its digest dropped:
// clients may change it under a digest that was true a moment ago, so it is never mixed with
// another. Of a foreign server we know only what `signpost verify` saw: there the operator's word
// counts.
std::vector<Upstream> upstreams_of(const Referral& referral, bool writable = false,
                                   const Asker& asker = {});

// Says in the catalog that SERVER's copy is about to change, when that copy has a digest by which
// it could be taken for another's. An error when the catalog cannot be asked: then the copy must
// not be changed.
Result<void> tell_before_write(Catalog& catalog, const DiskName& disk, const std::string& server);

}  // namespace signpost
