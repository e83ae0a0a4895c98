// SPDX-License-Identifier: BSD-3-Clause
//
// Copies of one name with different content: shown, and never mixed.

#include <gtest/gtest.h>

#include <algorithm>

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
                {name_, server, generation_of(server), "sha256-4m:" + std::string(64, digest)}));
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

}  // namespace
}  // namespace signpost::test
