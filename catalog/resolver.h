// SPDX-License-Identifier: BSD-3-Clause
//
// Resolver turns a disk name into a referral: the ready locations on other servers, in the order in
// which to try them. This server's own location is never in it: the caller looks into its own
// repositories first.
//
// The order is that of DFS (MS-DFSC): servers of class global-high; then by what it costs to reach
// the server's site (0 for the own, kDefaultSiteCost unless the catalog says otherwise), within
// equal cost by class (site-high, -normal, -low), then by priority (the location's, then the
// server's; lower first); global-low comes last. Within all that servers that beat (or foreign
// ones, which do not) come before silent ones, then the freshest.
//
// A server that is being drained comes last where another location will do, as a spare: for when no
// other answers.
//
// A row that UntrueRows has is passed over, as if it were not there, while there are others.
//
// Whether a server beats is judged by what Liveness has seen, and where that is not enough by the
// store's clock; never by the clock of this machine.
//
// Lifetime: the catalog, and LIVENESS and UNTRUE if they are given, outlive it. Threads: any; it
// keeps no state.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/liveness.h"
#include "catalog/untrue_rows.h"

namespace signpost {

// From where, and with what knowledge, servers are looked at.
struct Viewpoint {
    std::string site = {};  // empty: unknown, so that every server is as far as any other
    std::vector<SiteCost> costs = {};
    std::int64_t now = 0;  // by the store's clock
    const Liveness* liveness = nullptr;
};

// A location as a resolution looked at it.
struct Candidate {
    Location location;
    std::optional<Server> server = std::nullopt;  // as it is registered
    unsigned rank = 0;                            // as Route's
    std::string passed_over = {};                 // why; empty: it is a route
    bool spare = false;                           // passed over, but a route when no other answers
};

// All that a resolution went by.
struct Survey {
    DiskName disk;
    std::vector<Candidate> candidates = {};  // routes first, in their order
    Viewpoint from = {};
    std::int64_t as_of = 0;  // as DiskRecord's
};

class Resolver {
   public:
    // OWN_SITE empty: what the catalog has for this server. A gateway that is not registered has
    // nothing there, so it says its site itself.
    Resolver(Catalog& catalog, std::string own_server, std::string own_site = {},
             const Liveness* liveness = nullptr, const UntrueRows* untrue = nullptr)
        : catalog_(catalog),
          own_server_(std::move(own_server)),
          own_site_(std::move(own_site)),
          liveness_(liveness),
          untrue_(untrue) {}

    // Empty when the catalog has no such disk. Else the catalog's own errors. DRAINING: servers
    // that are being drained are routes like any other.
    Result<std::optional<Survey>> survey(const DiskName& name, bool draining = false) const;

    // not_found when no other server has a usable location; the message says which locations there
    // are and why each was passed over. Else as survey().
    Result<Referral> resolve(const DiskName& name, bool draining = false) const;

    // How the servers look from here.
    Result<Viewpoint> viewpoint() const;

   private:
    struct Judged {
        std::vector<Route> routes = {};
        std::vector<Candidate> passed_over = {};
    };

    DiskRecord believed(const DiskRecord& record) const;
    Result<Judged> judge(const DiskRecord& record, const DiskRecord& believed) const;

    Catalog& catalog_;
    std::string own_server_;
    std::string own_site_;
    const Liveness* liveness_;
    const UntrueRows* untrue_;
};

// What decides, in this order, for people.
inline constexpr std::string_view kOrderText =
    "class global-high, then the site's cost, then class, then lower rank (copy's/server's), "
    "then live servers, then the latest heartbeat";

// Sorts ROUTES as said above, and gives them their ranks.
void order_routes(std::vector<Route>& routes, const Viewpoint& from);

// Whether SERVER counts as one that does not answer.
bool is_silent(const Server& server, const Viewpoint& from);

// Takes the routes to draining servers out of ROUTES that can be done without: the same content is
// elsewhere, or of neither it is known.
void leave_out_draining(std::vector<Route>& routes);

}  // namespace signpost
