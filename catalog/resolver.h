// SPDX-License-Identifier: BSD-3-Clause
//
// Resolver turns a disk name into a referral: the ready locations on other servers, in the order in
// which to try them. Own site first, then priority (location, then server; lower first), then
// servers with a fresh heartbeat (or foreign ones, which send none) before silent ones, then the
// freshest. This server's own location is never in it: the caller looks into its own repositories
// first.
//
// Lifetime: the catalog outlives it. Threads: any; it keeps no state.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"

namespace signpost {

// A location as a resolution looked at it.
struct Candidate {
    Location location;
    std::optional<Server> server = std::nullopt;  // as it is registered
    std::string passed_over = {};                 // why; empty: it is a route
};

// All that a resolution went by.
struct Survey {
    DiskName disk;
    std::vector<Candidate> candidates = {};  // routes first, in their order
    std::string own_site = {};
    std::int64_t now = 0;    // by the store's clock, as heartbeats tell it
    std::int64_t as_of = 0;  // as DiskRecord's
};

class Resolver {
   public:
    // OWN_SITE empty: what the catalog has for this server. A gateway that is not registered has
    // nothing there, so it says its site itself.
    Resolver(Catalog& catalog, std::string own_server, std::string own_site = {})
        : catalog_(catalog), own_server_(std::move(own_server)), own_site_(std::move(own_site)) {}

    // Empty when the catalog has no such disk. Else the catalog's own errors.
    Result<std::optional<Survey>> survey(const DiskName& name) const;

    // not_found when no other server has a usable location; the message says which locations there
    // are and why each was passed over. Else the catalog's own errors.
    Result<Referral> resolve(const DiskName& name) const;

   private:
    Catalog& catalog_;
    std::string own_server_;
    std::string own_site_;
};

// No heartbeat for so long that it is asked last; a foreign server sends none.
bool is_silent(const Server& server, std::int64_t now);

// What decides, in this order, for people.
inline constexpr std::string_view kOrderText =
    "own site, then lower rank (copy's/server's), then live servers, then the latest heartbeat";

// The order, apart from any store, for tests: sorts ROUTES as said above.
void order_routes(std::vector<Route>& routes, std::string_view own_site, std::int64_t now);

}  // namespace signpost
