// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/row_check.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/catalog/sample_records.h"

namespace signpost {
namespace {

using test::digest;

LocationRow good_row() {
    LocationRow row;
    row.server = "beta";
    row.export_name = "web01/vda";
    row.size = 4096;
    row.generation = 7;
    return row;
}

template <class Change>
void expect_bad(Change change) {
    LocationRow row = good_row();
    change(row);
    const auto checked = check_location_row(row);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, Errc::invalid);
}

TEST(LocationRow, GoodOneBecomesALocation) {
    LocationRow row = good_row();
    row.digest = std::string(32, '\xab');
    row.state = 2;
    const Location location = check_location_row(row).value();
    EXPECT_EQ(location.server, "beta");
    EXPECT_EQ(location.size, 4096u);
    EXPECT_EQ(location.generation, 7u);
    EXPECT_EQ(location.state, LocationState::stale);
    EXPECT_EQ(location.digest,
              "sha256-32k:abababababababababababababababababababababababababababababababab");
}

TEST(LocationRow, LargestSizeIsAccepted) {
    LocationRow row = good_row();
    row.size = std::numeric_limits<std::int64_t>::max();
    EXPECT_EQ(check_location_row(row).value().size, 0x7fffffffffffffffu);
}

TEST(LocationRow, RefusesNumbersOutOfRange) {
    expect_bad([](LocationRow& row) { row.size = -1; });
    expect_bad([](LocationRow& row) { row.format = 7; });
    expect_bad([](LocationRow& row) { row.format = -1; });
    expect_bad([](LocationRow& row) { row.read_only = 2; });
    expect_bad([](LocationRow& row) { row.generation = 0; });
    expect_bad([](LocationRow& row) { row.state = 4; });
    expect_bad([](LocationRow& row) { row.priority = std::int64_t{1} << 31; });
    expect_bad([](LocationRow& row) { row.last_seen = -1; });
}

TEST(LocationRow, RefusesMinimumBlocksThatNoClientCouldKeep) {
    for (const std::int64_t block : {-512, 0, 3, 131072})
        expect_bad([&](LocationRow& row) { row.minimum_block = block; });
}

TEST(LocationRow, RefusesBadText) {
    expect_bad([](LocationRow& row) { row.server = "../beta"; });
    expect_bad([](LocationRow& row) { row.export_name = "\xff"; });
    expect_bad([](LocationRow& row) { row.export_name = std::string(4097, 'a'); });
    expect_bad([](LocationRow& row) { row.export_name = std::string("a\0b", 3); });
    expect_bad([](LocationRow& row) { row.fingerprint = "\n"; });
    expect_bad([](LocationRow& row) { row.fingerprint = std::string(129, 'f'); });
    expect_bad([](LocationRow& row) { row.digest = "short"; });
}

TEST(ServerRow, RefusesBadFields) {
    const auto bad = [](ServerRow row) { return !check_server_row(std::move(row)); };
    EXPECT_FALSE(bad({.name = "beta"}));
    EXPECT_TRUE(bad({.name = ""}));
    EXPECT_TRUE(bad({.name = "-beta"}));
    EXPECT_TRUE(bad({.name = "beta", .site = "\x01"}));
    EXPECT_TRUE(bad({.name = "beta", .kind = 2}));
    EXPECT_TRUE(bad({.name = "beta", .last_heartbeat = -1}));
    EXPECT_TRUE(bad({.name = "beta", .heartbeat_sequence = -1}));
    EXPECT_TRUE(bad({.name = "beta", .instance = "\xff"}));
}

TEST(ServerUri, MustNotNameAnExport) {
    EXPECT_TRUE(check_server_uri("nbd://host:1"));
    EXPECT_FALSE(check_server_uri("nbd://host:1/a"));
    EXPECT_FALSE(check_server_uri("nbd+ssh://host"));
}

TEST(ServerCheck, RefusesTooManyUris) {
    Server server = test::server("beta");
    server.uris.resize(kMaxServerUris, server.uris.front());
    EXPECT_TRUE(check_server(server));
    server.uris.push_back(server.uris.front());
    EXPECT_FALSE(check_server(server));
}

TEST(ServerName, HasItsGrammar) {
    for (const auto* name : {"a", "_", "Beta-1.example", "0"})
        EXPECT_TRUE(check_server_name(name)) << name;
    for (const auto* name : {"", ".a", "-a", "a b", "a/b", "é", "a:b"})
        EXPECT_FALSE(check_server_name(name)) << name;
    EXPECT_TRUE(check_server_name(std::string(128, 'a')));
    EXPECT_FALSE(check_server_name(std::string(129, 'a')));
}

TEST(ImageCheck, RefusesSizesFrom2To63) {
    Image image = test::image("a");
    image.size = (std::uint64_t{1} << 63) - 1;
    EXPECT_TRUE(check_image(image));
    image.size = std::uint64_t{1} << 63;
    EXPECT_FALSE(check_image(image));
}

TEST(Digest, RoundTrips) {
    EXPECT_EQ(digest_text(digest_bytes(digest('a')).value()), digest('a'));
    EXPECT_EQ(digest_text(""), "");
}

TEST(Digest, RefusesOtherTexts) {
    EXPECT_FALSE(digest_bytes(""));
    EXPECT_FALSE(digest_bytes("sha256-32k:"));
    EXPECT_FALSE(digest_bytes(digest('a') + "a"));
    EXPECT_FALSE(digest_bytes(digest('A')));
    EXPECT_FALSE(digest_bytes(digest('g')));
    EXPECT_FALSE(digest_bytes("sha256:" + std::string(64, 'a')));
}

TEST(Words, RoundTrip) {
    for (const auto format : {ImageFormat::raw, ImageFormat::qcow2, ImageFormat::vmdk,
                              ImageFormat::vhdx, ImageFormat::vdi, ImageFormat::vpc,
                              ImageFormat::virtnbdbackup})
        EXPECT_EQ(parse_image_format(to_string(format)), format);
    for (const auto state : {LocationState::ready, LocationState::copying, LocationState::stale,
                             LocationState::damaged})
        EXPECT_EQ(parse_location_state(to_string(state)), state);
    for (const auto kind : {ServerKind::signpost, ServerKind::foreign})
        EXPECT_EQ(parse_server_kind(to_string(kind)), kind);
    EXPECT_FALSE(parse_image_format("RAW"));
    EXPECT_FALSE(parse_location_state(""));
}

TEST(Interchangeable, NeedsGenerationDigestSizeAndReadiness) {
    Location a;
    a.size = 1;
    a.generation = 3;
    a.digest = digest('a');
    EXPECT_TRUE(interchangeable(a, a));
    const auto differs = [&](auto change) {
        Location b = a;
        change(b);
        return !interchangeable(a, b) && !interchangeable(b, a);
    };
    EXPECT_TRUE(differs([](Location& b) { b.generation = 4; }));
    EXPECT_TRUE(differs([](Location& b) { b.digest = digest('b'); }));
    EXPECT_TRUE(differs([](Location& b) { b.size = 2; }));
    EXPECT_TRUE(differs([](Location& b) { b.state = LocationState::stale; }));
    EXPECT_TRUE(differs([](Location& b) { b.digest.clear(); }));
    a.digest.clear();
    EXPECT_FALSE(interchangeable(a, a));
}

}  // namespace
}  // namespace signpost
