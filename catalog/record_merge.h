// SPDX-License-Identifier: BSD-3-Clause
//
// What two sources say of the same disk, made one: for merging a file into a catalog, and for
// making a lost catalog anew from what its servers remember.
//
// Pure functions. Threads: any.

#pragma once

#include <string>
#include <vector>

#include "catalog/records.h"

namespace signpost {

// Of each server the location with the newer generation; at a draw the one seen last.
DiskRecord merge_newest(const DiskRecord& a, const DiskRecord& b);

// What one source says of a disk.
struct Testimony {
    std::string witness;  // the server whose memory it is
    const DiskRecord* disk;
};

struct MergedDisk {
    std::vector<Location> locations;    // ordered by server; none: no location is left
    std::vector<std::string> disputed;  // servers of whose location two witnesses, neither of which
                                        // is that server, have different contents
};

// ALL are of one disk. WITNESSES: all servers whose memory was read, ordered. A server knows best
// what it holds: what it says of itself counts, also that it holds nothing. Of other servers the
// newest generation counts.
MergedDisk merge_testimonies(const std::vector<Testimony>& all,
                             const std::vector<std::string>& witnesses);

// The same for a server's row: its own word, else the one with the last heartbeat.
struct ServerTestimony {
    std::string witness;
    Server server;
};
Server merge_servers(const std::vector<ServerTestimony>& all);

}  // namespace signpost
