// SPDX-License-Identifier: BSD-3-Clause
//
// Which copies `repair` has to have made: for each disk as many good, equal copies as are wished,
// each on a server of its own. A copy counts when it is ready, its content is known (a digest) and
// its server is there. Where only one copy is left, it counts without a digest, too.
//
// A damaged raw image is copied again at its own server, over itself; others stay until somebody
// removes them. New places: Signpost servers that are alive and take clients, on another site than
// the good copies if there is one, and of these the one that holds the fewest bytes.
//
// Pure. One thread.

#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "catalog/records.h"
#include "nbd-server/disk/wished_copies.h"

namespace signpost {

// A server that has been silent for so long has lost what it held.
inline constexpr std::int64_t kLostAfter_s = 600;

class RepairPlan {
   public:
    RepairPlan(std::vector<Server> servers, std::vector<WishedCopies> wishes, std::int64_t now)
        : servers_(std::move(servers)), wishes_(std::move(wishes)), now_(now) {}

    // First all disks, for what each server holds.
    void note(const DiskRecord& disk);

    // Where that disk shall never go: what was tried there has failed.
    void exclude(const DiskName& disk, const std::string& server);

    struct Need {
        unsigned wished = 0;  // 0: nothing is wished for this disk
        unsigned good = 0;
        std::vector<std::string> targets;  // to be copied to, counted as theirs from now on
        std::string problem;               // empty: the targets are enough
    };
    Need look_at(const DiskRecord& disk);

   private:
    const Server* server(const std::string& name) const;
    bool is_there(const Server* server, std::int64_t silence) const;
    unsigned wished(const DiskName& disk) const;
    std::vector<const Location*> good_copies(const DiskRecord& disk, std::string& problem) const;
    std::optional<std::string> best_place(const DiskRecord& disk,
                                          const std::set<std::string>& taken_sites) const;

    const std::vector<Server> servers_;
    const std::vector<WishedCopies> wishes_;
    const std::int64_t now_;
    std::map<std::string, std::uint64_t> bytes_;  // by server
    std::set<std::pair<DiskName, std::string>> excluded_;
};

}  // namespace signpost
