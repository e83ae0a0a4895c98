// SPDX-License-Identifier: BSD-3-Clause
//
// Reads an open export from end to end, many requests in flight, and computes the digest of what
// came. Chunks that the server's allocation map calls zero are not read, if the map may be trusted:
// a Signpost server's may, a foreign one's only if the operator says so (a map that lies would make
// two different copies look the same).
//
// Threads: one. Time: a server that sends nothing for kStall is given up (unavailable).

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "cli/peer.h"
#include "nbd-server/disk/digest_tree.h"

namespace signpost {

struct DigestPlan {
    ExportFacts facts;  // of the open export
    bool trust_map = false;
    std::chrono::milliseconds stall{10'000};
    std::function<void(std::uint64_t bytes)> progress;  // how far the digest has come
};

struct DigestReading {
    std::string digest;
    DigestTree::Leaves leaves;
    std::uint64_t bytes_read = 0;  // over the network; the rest was known to be zero
};

// The digest, or: unavailable, io (a read error; the message says where). Closes the connection on
// failure.
Result<DigestReading> digest_export(PeerConnection& connection, const DigestPlan& plan);

}  // namespace signpost
