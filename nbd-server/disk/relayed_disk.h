// SPDX-License-Identifier: BSD-3-Clause
//
// RelayedDisk serves a disk from exports of other servers: a peer's, a foreign server's, or that of
// a helper process of our own. Requests are pipelined over a few connections. What a dead or hung
// server has not answered goes to the next location with the same content, and the client sees only
// latency; with none left, requests are held and the connection is tried again until peer-timeout.
//
// relay_engine.h says how. Threads and lifetime: as Disk; the RelayEngine outlives the disk.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "catalog/records.h"
#include "nbd-server/disk/disk.h"

namespace signpost {

class RelayEngine;

// Where one copy can be reached. The engine dials `uris` in their order.
struct Upstream {
    Location location;
    std::vector<NbdUri> uris;      // with the export name to ask for
    bool trusted_address = false;  // made by ourselves, not by a catalog row: skip address rules
    unsigned rank = 0;             // of those with the same rank none is better; 0: the best
    bool spare = false;            // only while no other answers: its server is being drained

    // Runs before each dial, on a thread that may block, at most as long as a connect may take: a
    // helper process is started here. Empty: nothing to do.
    std::function<Result<void>()> prepare;

    // Makes what is shown to the server before the export is asked for, new for each connection: a
    // ticket that says for which client this relay asks. Called on the loop, so it does not block.
    // A server that does not take it is not used. Empty: nothing is shown.
    std::function<Result<std::string>()> ticket;
};

struct RelayPlan {
    DiskName disk;
    DiskTraits traits;                // fixed for the life of the disk
    std::vector<Upstream> upstreams;  // in the order in which to try them; not empty

    // Nobody is told when a server turns out not to have it: whoever asks knows that it may not.
    bool only_asks = false;

    // False: whoever asks reads ahead itself.
    bool reads_ahead = true;

    // Asks the catalog again: when a location turns out stale, when all are down, and after the
    // catalog has changed (RelayEngine::catalog_changed). A location that the answer no longer has
    // is left for another with the same content, if there is one. May block (bounded by the
    // catalog); called on a thread of its own. Empty: no second opinion.
    std::function<Result<std::vector<Upstream>>()> ask_again = {};

    // Told, on the loop, which copy the content is held to from now on, and the fingerprint that
    // its server shows. Empty: nobody wants to know.
    std::function<void(const Location& copy, const std::string& fingerprint)> pinned = {};

    // Asked, on the loop, when the first connection comes up: the copy to whose content the disk
    // has been held before, without asking its server. Nothing: to none, so that connection
    // decides. Empty: the same.
    std::function<std::optional<Location>()> held = {};

    // Told, on the loop, of a copy that is not of the size that the catalog says. Empty: nobody
    // wants to know.
    std::function<void(const Location& row)> untrue = {};

    // Runs before the first write is sent, on a thread that may block: the place to say that copies
    // are equal no more. A failure fails the write with EIO. Empty: nothing to do.
    std::function<Result<void>()> before_first_write = {};

    // The foreign server whose image is written: it takes no lease in the catalog, so whoever
    // relays for the client does. Empty: none, or a Signpost server, which does that itself.
    std::string leased_for = {};
};

std::shared_ptr<Disk> make_relayed_disk(RelayEngine& engine, RelayPlan plan);

}  // namespace signpost
