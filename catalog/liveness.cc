// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/liveness.h"

#include <algorithm>

#include "catalog/catalog.h"

namespace signpost {

void Liveness::note(const std::vector<Server>& servers, Time now) {
    const std::lock_guard lock(mutex_);
    std::erase_if(seen_, [&](const auto& entry) {
        return std::ranges::find(servers, entry.first, &Server::name) == servers.end();
    });
    for (const Server& server : servers) {
        const auto [at, is_new] = seen_.try_emplace(server.name);
        Seen& seen = at->second;
        // After a pause in looking, nobody knows when a number moved.
        if (is_new || now - seen.last > kServerLease) {
            seen = {server.instance, server.heartbeat_sequence, now, now, now};
            continue;
        }
        if (seen.sequence != server.heartbeat_sequence || seen.instance != server.instance) {
            seen.sequence = server.heartbeat_sequence;
            seen.instance = server.instance;
            seen.moved = now;
        }
        seen.last = now;
    }
}

std::optional<bool> Liveness::beats(const Server& server, Time now) const {
    const std::lock_guard lock(mutex_);
    const auto found = seen_.find(server.name);
    if (found == seen_.end() || now - found->second.last > kServerLease) {
        return std::nullopt;
    }
    const Seen& seen = found->second;
    if (seen.moved != seen.first && now - seen.moved <= kServerLease) {
        return true;
    }
    if (now - seen.moved > kServerLease) {
        return false;
    }
    return std::nullopt;
}

}  // namespace signpost
