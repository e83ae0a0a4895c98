// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/record_merge.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace signpost {

namespace {

// A total order, so that it does not matter who is asked first.
auto rank(const Location& location) {
    return std::tuple(location.generation, location.last_seen, location.verified,
                      !location.digest.empty(), location.digest, location.size,
                      location.fingerprint);
}

bool same_content(const Location& a, const Location& b) {
    return a.generation == b.generation && a.digest == b.digest && a.size == b.size &&
           a.fingerprint == b.fingerprint;
}

struct Claim {
    Location location;
    bool own = false;  // the server's own word
    bool disputed = false;
};

void weigh(Claim& held, const Location& location, bool own) {
    if (held.own || own) {
        if (!held.own)
            held = {location, true, false};
        return;
    }
    held.disputed = held.disputed || !same_content(held.location, location);
    if (rank(held.location) < rank(location))
        held.location = location;
}

}  // namespace

DiskRecord merge_newest(const DiskRecord& a, const DiskRecord& b) {
    std::map<std::string, Location> newest;
    for (const DiskRecord* disk : {&a, &b})
        for (const Location& location : disk->locations) {
            const auto [held, is_new] = newest.try_emplace(location.server, location);
            if (!is_new && rank(held->second) < rank(location))
                held->second = location;
        }
    DiskRecord merged{a.name, {}};
    for (auto& [server, location] : newest)
        merged.locations.push_back(std::move(location));
    return merged;
}

MergedDisk merge_testimonies(const std::vector<Testimony>& all,
                             const std::vector<std::string>& witnesses) {
    std::map<std::string, Claim> claims;
    for (const Testimony& each : all)
        for (const Location& location : each.disk->locations) {
            const bool own = location.server == each.witness;
            if (!own && std::ranges::binary_search(witnesses, location.server))
                continue;
            const auto [held, is_new] =
                claims.try_emplace(location.server, Claim{location, own, false});
            if (!is_new)
                weigh(held->second, location, own);
        }
    MergedDisk merged;
    for (auto& [server, claim] : claims) {
        if (claim.disputed)
            merged.disputed.push_back(server);
        merged.locations.push_back(std::move(claim.location));
    }
    return merged;
}

Server merge_servers(const std::vector<ServerTestimony>& all) {
    const auto rank_of = [](const ServerTestimony& each) {
        return std::tuple(each.witness == each.server.name, each.server.heartbeat_sequence,
                          each.server.last_heartbeat, each.witness);
    };
    return std::ranges::max_element(all, {}, rank_of)->server;
}

}  // namespace signpost
