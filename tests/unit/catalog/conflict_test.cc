// SPDX-License-Identifier: BSD-3-Clause
//
// Copies of one name with different content: shown, and never mixed.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "catalog/memory_catalog.h"
#include "catalog/resolver.h"

namespace signpost::test {
namespace {

class ConflictTest : public testing::Test {
   protected:
    // Later ones have higher generations. DIGEST: one letter; 0: not verified.
    void add(const std::string& server, char digest) {
        Server row;
        row.name = server;
        row.uris = {*NbdUri::parse("nbd://" + server + ".example")};
        ASSERT_TRUE(catalog_.put_server(row));
        const Image image{.name = name_, .export_name = "vda", .size = 9, .fingerprint = server};
        ASSERT_TRUE(catalog_.publish(server, {.images = {image}}));
        if (digest != 0) {
            ASSERT_TRUE(catalog_.record_digest(
                {name_, server, generation_of(server), "sha256-32k:" + std::string(64, digest)}));
        }
    }

    DiskRecord disk() { return **catalog_.find(name_); }

    std::uint64_t generation_of(const std::string& server) {
        const DiskRecord record = disk();
        return std::ranges::find(record.locations, server, &Location::server)->generation;
    }

    std::string servers() {
        std::string text;
        if (const auto referral = Resolver(catalog_, "gateway").resolve(name_)) {
            for (const Route& route : referral->routes) {
                text += route.server.name + " ";
            }
        }
        return text;
    }

    MemoryCatalog catalog_;
    const DiskName name_ = *DiskName::parse("vda");
};

TEST_F(ConflictTest, EqualCopiesAndUnverifiedOnesAreNone) {
    add("alpha", 'a');
    add("beta", 'a');
    add("gamma", 0);
    EXPECT_FALSE(in_conflict(disk()));
    EXPECT_EQ(servers(), "alpha beta gamma ");
}

TEST_F(ConflictTest, OnlyTheNewestContentIsServed) {
    add("alpha", 'a');
    add("beta", 'b');
    EXPECT_TRUE(in_conflict(disk()));
    EXPECT_EQ(servers(), "beta ");
}

TEST_F(ConflictTest, ADamagedNewestCopyDoesNotBringAnOlderOneBack) {
    add("alpha", 'a');
    add("beta", 'b');
    ASSERT_TRUE(
        catalog_.set_location_state(name_, "beta", generation_of("beta"), LocationState::damaged));
    EXPECT_EQ(servers(), "");
    const auto refused = Resolver(catalog_, "gateway").resolve(name_);
    EXPECT_NE(refused.error().message.find("alpha (has older content than beta)"),
              std::string::npos);
}

Location verified_copy(const std::string& server, std::uint64_t size, char digest) {
    Location copy;
    copy.server = server;
    copy.size = size;
    copy.generation = 7;
    copy.digest = "sha256-32k:" + std::string(64, digest);
    return copy;
}

TEST_F(ConflictTest, OfOneGenerationMostCopiesAreRight) {
    const Location first = verified_copy("alpha", 512, 'a');
    for (const Location& odd : {verified_copy("alpha", 1024, 'a'), verified_copy("alpha", 512, 'b'),
                                verified_copy("zeta", 1024, 'a')}) {
        DiskRecord record{.name = name_, .locations = {odd}};
        record.locations.push_back(verified_copy("beta", 512, 'a'));
        record.locations.push_back(verified_copy("gamma", 512, 'a'));
        std::ranges::sort(record.locations, {}, &Location::server);
        EXPECT_FALSE(conflicting(*newest_verified(record), first));
        EXPECT_TRUE(in_conflict(record));
    }
}

TEST_F(ConflictTest, ANewerCopyIsRightHoweverManyAreOlder) {
    Location newer = verified_copy("gamma", 512, 'b');
    newer.generation = 8;
    const DiskRecord record{
        .name = name_,
        .locations = {verified_copy("alpha", 512, 'a'), verified_copy("beta", 512, 'a'), newer}};
    EXPECT_EQ(newest_verified(record)->server, "gamma");
}

// beta's server shows something else than its row says.
class UntrueRowTest : public ConflictTest {
   protected:
    void note(const std::string& server) {
        const DiskRecord record = disk();
        untrue_.note(name_, *std::ranges::find(record.locations, server, &Location::server),
                     std::chrono::steady_clock::now());
    }

    std::string believed() {
        std::string text;
        if (const auto referral =
                Resolver(catalog_, "gateway", "", nullptr, &untrue_).resolve(name_)) {
            for (const Route& route : referral->routes) {
                text += route.server.name + " ";
            }
        }
        return text;
    }

    UntrueRows untrue_;
};

TEST_F(UntrueRowTest, IsPassedOverAndMakesNoOtherOld) {
    add("alpha", 'a');
    add("beta", 'b');
    note("beta");
    EXPECT_EQ(believed(), "alpha ");
    EXPECT_EQ(servers(), "beta ");
}

TEST_F(UntrueRowTest, IsAllThatIsLeftWhenItStandsAlone) {
    add("beta", 'b');
    note("beta");
    EXPECT_EQ(believed(), "beta ");
}

TEST_F(UntrueRowTest, IsAllThatIsLeftWhenNoOtherCanServe) {
    add("alpha", 'a');
    add("beta", 'b');
    note("beta");
    ASSERT_TRUE(catalog_.set_location_state(name_, "alpha", generation_of("alpha"),
                                            LocationState::damaged));
    EXPECT_EQ(believed(), "beta ");
}

TEST_F(UntrueRowTest, ThatWasChangedIsBelieved) {
    add("alpha", 'a');
    add("beta", 'a');
    note("beta");
    EXPECT_EQ(believed(), "alpha ");
    const Image image{.name = name_, .export_name = "vda", .size = 10, .fingerprint = "new"};
    ASSERT_TRUE(catalog_.publish("beta", {.images = {image}}));
    EXPECT_EQ(believed(), "alpha beta ");
}

TEST_F(UntrueRowTest, IsForgottenAfterAWhile) {
    add("alpha", 'a');
    const Location row = disk().locations.front();
    const auto now = std::chrono::steady_clock::now();
    untrue_.note(name_, row, now);
    EXPECT_TRUE(untrue_.has(name_, row, now + UntrueRows::kRemembered));
    EXPECT_FALSE(untrue_.has(name_, row, now + UntrueRows::kRemembered + std::chrono::seconds(1)));
}

}  // namespace
}  // namespace signpost::test
