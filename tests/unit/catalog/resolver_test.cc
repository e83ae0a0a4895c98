// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/resolver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "catalog/memory_catalog.h"
#include "tests/unit/catalog/sample_records.h"

namespace signpost {
namespace {

using namespace test;

constexpr std::int64_t kNow = 1'000'000;

Route route(std::string_view name, std::string_view site = "", int location_priority = 100,
            int server_priority = 100, std::int64_t heartbeat = kNow) {
    Route made;
    made.server = server(name);
    made.server.site = site;
    made.server.priority = server_priority;
    made.server.last_heartbeat = heartbeat;
    made.location.server = name;
    made.location.priority = location_priority;
    return made;
}

std::vector<std::string> order(std::vector<Route> routes, std::string_view own_site = "",
                               std::vector<SiteCost> costs = {}) {
    std::mt19937 random(4);
    std::shuffle(routes.begin(), routes.end(), random);
    order_routes(routes, {.site = std::string(own_site), .costs = std::move(costs), .now = kNow});
    std::vector<std::string> names;
    for (const Route& each : routes)
        names.push_back(each.server.name);
    return names;
}

using Names = std::vector<std::string>;

TEST(RouteOrder, OwnSiteComesFirst) {
    EXPECT_EQ(order({route("a", "far", 1), route("b", "near", 200)}, "near"), (Names{"b", "a"}));
}

TEST(RouteOrder, UnknownSiteIsNobodysOwn) {
    EXPECT_EQ(order({route("a", "", 200), route("b", "far", 1)}, ""), (Names{"b", "a"}));
}

TEST(RouteOrder, LocationPriorityComesBeforeServerPriority) {
    EXPECT_EQ(order({route("a", "", 100, 1), route("b", "", 99, 200), route("c", "", 100, 2)}),
              (Names{"b", "a", "c"}));
}

TEST(RouteOrder, SilentServersComeAfterFreshOnes) {
    EXPECT_EQ(order({route("a", "", 100, 100, kNow - 16), route("b", "", 100, 100, kNow - 15),
                     route("c", "", 100, 100, 0)}),
              (Names{"b", "a", "c"}));
}

TEST(RouteOrder, PriorityComesBeforeSilence) {
    EXPECT_EQ(order({route("a", "", 100, 100, kNow), route("b", "", 50, 100, 0)}),
              (Names{"b", "a"}));
}

TEST(RouteOrder, ForeignServersAreNeverSilent) {
    Route foreign = route("z", "", 100, 100, 0);
    foreign.server.kind = ServerKind::foreign;
    EXPECT_EQ(order({route("a", "", 100, 100, kNow - 3600), foreign}), (Names{"z", "a"}));
}

TEST(RouteOrder, FreshestComesFirstThenTheName) {
    EXPECT_EQ(order({route("a", "", 100, 100, kNow - 3), route("b", "", 100, 100, kNow - 1),
                     route("c", "", 100, 100, kNow - 3)}),
              (Names{"b", "a", "c"}));
}

Route of_class(Route route, PriorityClass priority_class) {
    route.server.priority_class = priority_class;
    return route;
}

TEST(RouteOrder, CheaperSitesComeFirst) {
    const std::vector<SiteCost> costs{{"cellar", "near", 10}, {"attic", "near", 5}};
    EXPECT_EQ(order({route("a", "far", 1), route("b", "cellar", 1), route("c", "attic", 200),
                     route("d", "near", 200)},
                    "near", costs),
              (Names{"d", "c", "b", "a"}));
}

TEST(RouteOrder, GlobalClassesComeBeforeAndAfterAllSites) {
    EXPECT_EQ(order({of_class(route("a", "near"), PriorityClass::global_low),
                     of_class(route("b", "far"), PriorityClass::global_high), route("c", "near"),
                     route("d", "far")},
                    "near"),
              (Names{"b", "c", "d", "a"}));
}

TEST(RouteOrder, ClassCountsWithinEqualCostAndBeforePriority) {
    EXPECT_EQ(
        order({of_class(route("a", "near", 1), PriorityClass::site_low),
               of_class(route("b", "near", 200), PriorityClass::site_high), route("c", "near", 1),
               of_class(route("d", "far", 1), PriorityClass::site_high)},
              "near"),
        (Names{"b", "c", "a", "d"}));
}

TEST(RouteOrder, RanksTellTheBetterFromTheEqual) {
    std::vector<Route> routes{route("a", "far"), route("b", "near", 100, 100, 0),
                              route("c", "near"), route("d", "near", 200)};
    order_routes(routes, {.site = "near", .costs = {}, .now = kNow});
    std::vector<unsigned> ranks;
    for (const Route& each : routes)
        ranks.push_back(each.rank);
    EXPECT_EQ(ranks, (std::vector<unsigned>{0, 0, 1, 2}));
}

TEST(RouteOrder, WhatWasSeenOfHeartbeatsCountsMoreThanAnyClock) {
    const auto start = std::chrono::steady_clock::now() - std::chrono::seconds(20);
    Liveness liveness;
    Route skewed = route("a", "", 100, 100, kNow - 7200);
    Route dead = route("b", "", 100, 100, kNow + 7200);
    for (int second = 0; second <= 20; second += 5) {
        ++skewed.server.heartbeat_sequence;
        liveness.note({skewed.server, dead.server}, start + std::chrono::seconds(second));
    }
    std::vector<Route> routes{dead, skewed};
    order_routes(routes, {.now = kNow, .liveness = &liveness});
    EXPECT_EQ(routes.front().server.name, "a");
}

class LivenessTest : public testing::Test {
   protected:
    void look(int second) { liveness_.note({server_}, at(second)); }
    std::optional<bool> beats(int second) { return liveness_.beats(server_, at(second)); }
    static Liveness::Time at(int second) {
        return Liveness::Time() + std::chrono::hours(1) + std::chrono::seconds(second);
    }

    Server server_ = server("beta");
    Liveness liveness_;
};

TEST_F(LivenessTest, KnowsNothingAtFirst) {
    EXPECT_EQ(beats(0), std::nullopt);
    look(0);
    EXPECT_EQ(beats(0), std::nullopt);
}

TEST_F(LivenessTest, NumberThatMovesIsALife) {
    look(0);
    ++server_.heartbeat_sequence;
    look(5);
    EXPECT_EQ(beats(6), true);
    server_.instance = "another";
    look(10);
    EXPECT_EQ(beats(20), true);
}

TEST_F(LivenessTest, NumberThatStandsStillForALeaseIsSilence) {
    for (int second = 0; second <= 15; second += 5)
        look(second);
    EXPECT_EQ(beats(15), std::nullopt);
    look(20);
    EXPECT_EQ(beats(20), false);
}

TEST_F(LivenessTest, WhatWasNotLookedAtForLongIsNotKnown) {
    look(0);
    ++server_.heartbeat_sequence;
    look(5);
    EXPECT_EQ(beats(21), std::nullopt);
    ++server_.heartbeat_sequence;
    look(60);
    EXPECT_EQ(beats(60), std::nullopt);
}

class ResolverTest : public testing::Test {
   protected:
    void hold(const Server& holder, std::string_view name = "web01/vda") {
        ASSERT_TRUE(catalog_.put_server(holder));
        ASSERT_TRUE(catalog_.publish(holder.name, images({image(name)})));
    }

    std::int64_t now_ = kNow;
    MemoryCatalog catalog_{[this] { return now_; }};
    Resolver resolver_{catalog_, "alpha"};
};

Names servers_of(const Referral& referral) {
    Names names;
    for (const Route& each : referral.routes)
        names.push_back(each.server.name);
    return names;
}

TEST_F(ResolverTest, GivesOtherServersLocations) {
    hold(server("beta"));
    const auto referral = resolver_.resolve(disk("web01/vda"));
    ASSERT_TRUE(referral);
    EXPECT_EQ(referral->disk, disk("web01/vda"));
    EXPECT_EQ(servers_of(*referral), Names{"beta"});
    EXPECT_EQ(referral->routes.front().location.server, "beta");
}

TEST_F(ResolverTest, LeavesOwnServerOut) {
    hold(server("alpha"));
    hold(server("beta"));
    EXPECT_EQ(servers_of(resolver_.resolve(disk("web01/vda")).value()), Names{"beta"});
}

TEST_F(ResolverTest, UnknownDiskIsNotFound) {
    const auto referral = resolver_.resolve(disk("nowhere"));
    ASSERT_FALSE(referral);
    EXPECT_EQ(referral.error().code, Errc::not_found);
    EXPECT_NE(referral.error().message.find("nowhere"), std::string::npos);
}

TEST_F(ResolverTest, OnlyOwnCopyIsNotFoundAndSaysSo) {
    hold(server("alpha"));
    const auto referral = resolver_.resolve(disk("web01/vda"));
    ASSERT_FALSE(referral);
    EXPECT_EQ(referral.error().code, Errc::not_found);
    EXPECT_NE(referral.error().message.find("alpha (this server)"), std::string::npos);
}

TEST_F(ResolverTest, PassesServerWithoutUriOver) {
    hold(server("beta", ""));
    hold(server("gamma"));
    EXPECT_EQ(servers_of(resolver_.resolve(disk("web01/vda")).value()), Names{"gamma"});
    ASSERT_TRUE(catalog_.remove_server("gamma"));
    const auto referral = resolver_.resolve(disk("web01/vda"));
    ASSERT_FALSE(referral);
    EXPECT_NE(referral.error().message.find("beta (the server has no URI"), std::string::npos);
}

TEST_F(ResolverTest, PutsOwnSiteFirst) {
    Server own = server("alpha");
    own.site = "near";
    ASSERT_TRUE(catalog_.put_server(own));
    Server near = server("zeta");
    near.site = "near";
    hold(server("beta"));
    hold(near);
    EXPECT_EQ(servers_of(resolver_.resolve(disk("web01/vda")).value()), (Names{"zeta", "beta"}));
}

TEST_F(ResolverTest, JudgesSilenceByTheStoresClock) {
    // Any clock of this machine would call both silent; the store's says that beta died.
    ASSERT_TRUE(catalog_.put_server(server("alpha", "nbd://127.0.0.1:1", "i")));
    hold(server("beta", "nbd://127.0.0.1:2", "i"));
    now_ += 100;
    ASSERT_TRUE(catalog_.heartbeat("alpha", "i"));
    hold(foreign_server("vault"));
    EXPECT_EQ(servers_of(resolver_.resolve(disk("web01/vda")).value()), (Names{"vault", "beta"}));
}

TEST_F(ResolverTest, DrainingServerIsASpareWhereAnotherWillDo) {
    hold(server("beta"));
    hold(server("gamma"));
    ASSERT_TRUE(catalog_.set_draining("beta", true));
    const auto referral = resolver_.resolve(disk("web01/vda")).value();
    EXPECT_EQ(servers_of(referral), (Names{"gamma", "beta"}));
    EXPECT_FALSE(referral.routes.front().spare);
    EXPECT_TRUE(referral.routes.back().spare);
    EXPECT_EQ(servers_of(resolver_.resolve(disk("web01/vda"), true).value()),
              (Names{"beta", "gamma"}));
    ASSERT_TRUE(catalog_.set_draining("beta", false));
    EXPECT_EQ(resolver_.resolve(disk("web01/vda"))->routes.size(), 2);
}

TEST_F(ResolverTest, DrainingServerServesWhatItAloneHas) {
    hold(server("beta"));
    ASSERT_TRUE(catalog_.set_draining("beta", true));
    EXPECT_EQ(servers_of(resolver_.resolve(disk("web01/vda")).value()), Names{"beta"});
    hold(server("gamma"));
    ASSERT_TRUE(catalog_.set_draining("gamma", true));
    EXPECT_EQ(resolver_.resolve(disk("web01/vda"))->routes.size(), 2);
}

// Of two contents the newest is served, and that is beta's.
TEST_F(ResolverTest, DrainingServerServesContentThatOthersDoNotHave) {
    hold(server("gamma"));
    hold(server("beta"));
    const auto found = catalog_.find(disk("web01/vda")).value();
    for (const Location& location : found->locations)
        ASSERT_TRUE(catalog_.record_digest({found->name, location.server, location.generation,
                                            digest(location.server == "beta" ? 'b' : 'c')}));
    ASSERT_TRUE(catalog_.set_draining("beta", true));
    const auto referral = resolver_.resolve(disk("web01/vda")).value();
    EXPECT_EQ(servers_of(referral), (Names{"beta"}));
    EXPECT_FALSE(referral.routes.front().spare);
}

TEST_F(ResolverTest, SiteCostsOfTheCatalogCount) {
    for (const auto& [name, site] : {std::pair("beta", "far"), std::pair("gamma", "cellar")}) {
        Server holder = server(name);
        holder.site = site;
        hold(holder);
    }
    ASSERT_TRUE(catalog_.put_site_cost({"near", "cellar", 10}));
    EXPECT_EQ(servers_of(Resolver(catalog_, "alpha", "near").resolve(disk("web01/vda")).value()),
              (Names{"gamma", "beta"}));
    ASSERT_TRUE(catalog_.put_site_cost({"near", "far", 1}));
    EXPECT_EQ(servers_of(Resolver(catalog_, "alpha", "near").resolve(disk("web01/vda")).value()),
              (Names{"beta", "gamma"}));
}

// A catalog whose rows say what no store of ours would have written.
class ForgedCatalog : public MemoryCatalog {
   public:
    Result<std::optional<DiskRecord>> find(const DiskName& name) override {
        if (error)
            return std::unexpected(*error);
        return DiskRecord{name, locations};
    }

    std::vector<Location> locations;
    std::optional<Error> error;
};

Location forged(std::string_view holder, LocationState state = LocationState::ready) {
    Location location;
    location.server = holder;
    location.state = state;
    return location;
}

TEST(Resolver, PassesUnregisteredServerOver) {
    ForgedCatalog catalog;
    ASSERT_TRUE(catalog.put_server(server("beta")));
    catalog.locations = {forged("mallory"), forged("beta")};
    EXPECT_EQ(servers_of(Resolver(catalog, "alpha").resolve(disk("a")).value()), Names{"beta"});
    catalog.locations = {forged("mallory")};
    const auto referral = Resolver(catalog, "alpha").resolve(disk("a"));
    ASSERT_FALSE(referral);
    EXPECT_NE(referral.error().message.find("mallory (not a registered server)"),
              std::string::npos);
}

TEST(Resolver, UsesReadyLocationsOnly) {
    ForgedCatalog catalog;
    for (const auto* name : {"b", "c", "d", "e"})
        ASSERT_TRUE(catalog.put_server(server(name)));
    catalog.locations = {forged("b", LocationState::copying), forged("c", LocationState::stale),
                         forged("d", LocationState::damaged), forged("e")};
    EXPECT_EQ(servers_of(Resolver(catalog, "alpha").resolve(disk("a")).value()), Names{"e"});
    catalog.locations.pop_back();
    const auto referral = Resolver(catalog, "alpha").resolve(disk("a"));
    ASSERT_FALSE(referral);
    EXPECT_NE(referral.error().message.find("b (copying), c (stale), d (damaged)"),
              std::string::npos);
}

TEST(Resolver, HandsTheCatalogsErrorOn) {
    ForgedCatalog catalog;
    catalog.error = Error{Errc::unavailable, "the catalog sleeps"};
    const auto referral = Resolver(catalog, "alpha").resolve(disk("a"));
    ASSERT_FALSE(referral);
    EXPECT_EQ(referral.error().code, Errc::unavailable);
}

}  // namespace
}  // namespace signpost
