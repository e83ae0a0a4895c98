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

#include <string>

#include "catalog/catalog.h"

namespace signpost {

class Resolver {
   public:
    Resolver(Catalog& catalog, std::string own_server)
        : catalog_(catalog), own_server_(std::move(own_server)) {}

    // not_found when no other server has a usable location; the message says which locations there
    // are and why each was passed over. Else the catalog's own errors.
    Result<Referral> resolve(const DiskName& name) const;

   private:
    Catalog& catalog_;
    std::string own_server_;
};

// The order, apart from any store, for tests: sorts ROUTES as said above.
void order_routes(std::vector<Route>& routes, std::string_view own_site, std::int64_t now);

}  // namespace signpost
