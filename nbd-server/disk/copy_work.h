// SPDX-License-Identifier: BSD-3-Clause
//
// One attempt at one job, as the Copier makes it: the target's side (pull) and the source's of a
// move (give up). Each is a sequence of steps of which every one looks first whether it has been
// taken, so that it may be begun again after a crash at any point.
//
// Lifetime: the call's. Threads: the copier's.

#pragma once

#include <functional>
#include <string>

#include "nbd-server/disk/copier.h"
#include "nbd-server/disk/copy_source.h"
#include "nbd-server/disk/digest_tree.h"

namespace signpost {

// What a job's worker tells while it works. An error (unavailable) ends the work: the job was
// cancelled, or the server stops.
struct CopyProgress {
    std::uint64_t size = 0;
    std::uint64_t done = 0;
    std::string message;
};
using TellProgress = std::function<Result<void>(const CopyProgress&)>;

enum class CopyEnd {
    done,
    wrong_digest,  // what came is not what the catalog says: try the sources one by one
    other_side,    // done here; the other server has to do its part of the move
};

struct PulledCopy {
    CopyEnd end = CopyEnd::done;
    bool last_source = false;  // of a wrong digest: there is none left to try
    std::uint64_t size = 0;
    std::string message;  // for people: what was done, or what is wrong
};

// As the target. ATTEMPT: as choose_source. Errors: unavailable (try again later); all others are
// final.
Result<PulledCopy> pull_copy(const CopierParts& parts, const Job& job, unsigned attempt,
                             const TellProgress& tell);

// As the source of a move whose copy stands. Errors as above.
Result<PulledCopy> give_up_image(const CopierParts& parts, const Job& job,
                                 const TellProgress& tell);

struct ContentDigest {
    std::string digest;
    DigestTree::Leaves leaves;
};

// Of all that DISK holds. WATCH, RATE: as for a sweep.
Result<ContentDigest> digest_of(Disk& disk, bool trust_map, std::uint64_t rate,
                                const std::function<Result<void>(std::uint64_t done)>& watch);

}  // namespace signpost
