// SPDX-License-Identifier: BSD-3-Clause
//
// CopySource is where a copy is read from, and how one will know in the end that it is right: the
// copy that is meant (the reference), and the relay plan over it and all that are interchangeable
// with it.
//
// With a digest in the catalog the copy must come to that digest, whoever it was read from. Without
// one it is read from the reference alone, which has to be an image that its server serves
// read-only: such a server shows a fingerprint, and gives errors rather than bytes of a changed
// image. A copy for which neither can be had is refused.
//
// Values. The planner and the catalog outlive the plan. Threads: any.

#pragma once

#include <optional>
#include <string>

#include "nbd-server/disk/relay_planning.h"

namespace signpost {

struct CopySource {
    Location reference;  // as the catalog has it now
    RelayPlan plan;
    std::size_t sources = 0;  // that show this content; the plan may have one of them only
    bool trust_map = false;

    // What the copy will hold, in words: the same content has the same ones.
    std::string content() const;
};

// From PREFERRED (a server; empty: the first of the referral). ATTEMPT: how often the digest was
// found wrong at the end: from then on the sources are tried one by one, and no map is believed.
// not_found: nobody else has it; conflict: as said above; unavailable.
Result<CopySource> choose_source(Catalog& catalog, const RelayPlanner& planner,
                                 const DiskName& disk, const std::string& preferred,
                                 unsigned attempt);

// What the catalog has of DISK now. unavailable: it does not answer; what was known of the disk
// before (DiskRecord::as_of) is good enough to read from, and not to copy or remove by.
Result<std::optional<DiskRecord>> record_now(Catalog& catalog, const DiskName& disk);

// SERVER's copy in DISK; null: it has none.
const Location* copy_on(const DiskRecord& disk, const std::string& server);

// "disk 'web01/vda'", for messages.
std::string disk_text(const DiskName& disk);

}  // namespace signpost
