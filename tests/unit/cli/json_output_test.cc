// SPDX-License-Identifier: BSD-3-Clause

#include "cli/json_output.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "catalog/restore_point.h"

namespace signpost {
namespace {

using nlohmann::json;

DiskName name(std::string_view text) {
    return DiskName::parse(text).value();
}

Location location(std::string server) {
    Location made;
    made.server = std::move(server);
    made.export_name = "web01/vda";
    made.size = 42;
    made.format = ImageFormat::qcow2;
    made.generation = 7;
    made.last_seen = 1'791'770'400;
    return made;
}

DiskReport report() {
    const NbdUri uri = NbdUri::parse("nbd://beta.example/web01/vda").value();
    return {name("web01/vda"), 42, {{location("beta"), uri, std::nullopt}}, {{"beta"}}};
}

std::set<std::string> keys(const json& object) {
    std::set<std::string> names;
    for (const auto& [key, value] : object.items()) {
        names.insert(key);
    }
    return names;
}

TEST(PointJson, HasTheContractsKeys) {
    DiskRecord disk{.name = name("web01/vda@2026-11-20T02:00"),
                    .locations = {location("alpha"), location("beta")}};
    const RestorePoint point = RestorePoint::of(disk.name).value();
    const json first = json::parse(point_json(disk, point, false));
    EXPECT_EQ(first, (json{{"name", "web01/vda@2026-11-20T02:00"},
                           {"disk", "web01/vda"},
                           {"time", "2026-11-20T02:00:00Z"},
                           {"size", 42},
                           {"servers", {"alpha", "beta"}},
                           {"verified", false},
                           {"conflict", false},
                           {"newest", false}}));
    disk.locations[0].digest = "sha256-4m:aa";
    EXPECT_EQ(json::parse(point_json(disk, point, true))["verified"], false);
    disk.locations[1].digest = "sha256-4m:aa";
    EXPECT_EQ(json::parse(point_json(disk, point, true))["verified"], true);
    EXPECT_EQ(json::parse(point_json(disk, point, true))["newest"], true);
    disk.locations[1].digest = "sha256-4m:bb";
    EXPECT_EQ(json::parse(point_json(disk, point, false))["conflict"], true);
}

TEST(WhereJson, HasTheContractsKeys) {
    const json where = json::parse(where_json(report()));
    EXPECT_EQ(keys(where),
              (std::set<std::string>{"disk", "size", "conflict", "locations", "writer"}));
    EXPECT_TRUE(where["writer"].is_null());
    EXPECT_EQ(where["disk"], "web01/vda");
    EXPECT_EQ(where["size"], 42);
    const json& first = where["locations"][0];
    EXPECT_EQ(first["server"], "beta");
    EXPECT_EQ(first["export"], "web01/vda");
    EXPECT_EQ(first["uri"], "nbd://beta.example/web01/vda");
    EXPECT_EQ(first["format"], "qcow2");
    EXPECT_EQ(first["state"], "ready");
    EXPECT_EQ(first["generation"], 7);
    EXPECT_EQ(first["read_only"], true);
    EXPECT_EQ(first["last_seen"], "2026-10-12T02:00:00Z");
}

TEST(WhereJson, SaysWhoWrites) {
    DiskReport disk = report();
    disk.writer = WriterLease{.disk = disk.disk, .server = "beta", .writer = "uid 1", .fence = 3};
    const json writer = json::parse(where_json(disk))["writer"];
    EXPECT_EQ(writer["server"], "beta");
    EXPECT_EQ(writer["client"], "uid 1");
    EXPECT_EQ(writer["fence"], 3);
}

TEST(WhereJson, WhatIsNotKnownIsNull) {
    DiskReport disk = report();
    disk.locations[0].uri.reset();
    disk.locations[0].location.last_seen = 0;
    const json first = json::parse(where_json(disk))["locations"][0];
    EXPECT_TRUE(first["digest"].is_null());
    EXPECT_TRUE(first["uri"].is_null());
    EXPECT_TRUE(first["last_seen"].is_null());
    EXPECT_FALSE(first.contains("reachable"));
}

TEST(WhereJson, SaysWhatTheServersSaid) {
    DiskReport disk = report();
    ProbeResult dead;
    dead.error = Error{Errc::unavailable, "connection refused"};
    disk.locations[0].probe = dead;
    const json first = json::parse(where_json(disk))["locations"][0];
    EXPECT_EQ(first["reachable"], false);
    EXPECT_EQ(first["error"], "connection refused");
    EXPECT_TRUE(first["latency_ms"].is_null());
}

TEST(WhereJson, SizesBeyondDoublesAreExact) {
    DiskReport disk = report();
    disk.size = (std::uint64_t{1} << 62) + 1;
    EXPECT_NE(where_json(disk).find("4611686018427387905"), std::string::npos);
}

TEST(WhereJson, TextThatIsNoUtf8IsReplaced) {
    DiskReport disk = report();
    disk.locations[0].location.export_name =
        "a\xff"
        "b";
    EXPECT_EQ(json::parse(where_json(disk))["locations"][0]["export"],
              "a\xef\xbf\xbd"
              "b");
}

TEST(InfoJson, AddsLiveAndSameContent) {
    DiskReport disk = report();
    ProbeResult alive;
    alive.answered = true;
    alive.latency = std::chrono::microseconds(1500);
    alive.facts = ExportFacts{};
    disk.locations[0].probe = alive;
    const json info = json::parse(info_json(disk));
    EXPECT_EQ(info["same_content"], json::parse(R"([["beta"]])"));
    EXPECT_EQ(info["locations"][0]["latency_ms"], 1.5);
    EXPECT_EQ(info["locations"][0]["live"]["read_only"], true);
    EXPECT_TRUE(info["locations"][0]["live"]["maximum_payload"].is_null());
}

TEST(ListJson, ItemHasNameSizeAndWhoHasIt) {
    const DiskRecord disk{name("a"), {location("x"), location("y")}};
    EXPECT_EQ(json::parse(list_item_json(disk, 42)),
              json::parse(R"({"name": "a", "size": 42, "locations": 2, "conflict": false,
                              "ready_locations": 2, "servers": ["x", "y"]})"));
}

TEST(JsonList, IsAnArrayOrLines) {
    JsonList array(false);
    std::string text = array.item("{\"a\":1}");
    text += array.item("{\"a\":2}") + array.end();
    EXPECT_EQ(json::parse(text), json::parse(R"([{"a":1},{"a":2}])"));

    JsonList lines(true);
    text = lines.item("{}");
    text += lines.item("{}") + lines.end();
    EXPECT_EQ(text, "{}\n{}\n");
}

TEST(JsonList, OfNothingIsAnEmptyArray) {
    EXPECT_EQ(JsonList(false).end(), "[]\n");
    EXPECT_EQ(JsonList(true).end(), "");
}

TEST(ServerJson, AForeignServerHasNoHeartbeat) {
    Server server;
    server.name = "vault";
    server.kind = ServerKind::foreign;
    server.uris = {NbdUri::parse("nbd://127.0.0.1:10810").value()};
    const json object = json::parse(server_json(server, 1000));
    EXPECT_EQ(object["kind"], "foreign");
    EXPECT_EQ(object["uris"].size(), 1U);
    EXPECT_TRUE(object["last_heartbeat"].is_null());
    EXPECT_TRUE(object["heartbeat_age_s"].is_null());
    EXPECT_TRUE(object["site"].is_null());
}

TEST(ServerJson, HeartbeatHasItsAge) {
    Server server;
    server.name = "beta";
    server.last_heartbeat = 990;
    EXPECT_EQ(json::parse(server_json(server, 1000))["heartbeat_age_s"], 10);
    EXPECT_EQ(json::parse(server_json(server, 900))["heartbeat_age_s"], 0);
}

TEST(VerifyJson, SaysWhatBecameOfEachCopy) {
    VerifiedLocation good;
    good.server = "a";
    good.result = VerifiedLocation::Result::verified;
    good.digest = "sha256-32k:00";
    VerifiedLocation away;
    away.server = "b";
    away.result = VerifiedLocation::Result::unreachable;
    away.message = "hung";
    const json item = json::parse(verify_item_json({name("d"), {good, away}, true, false}));
    EXPECT_EQ(item["copies_agree"], true);
    EXPECT_EQ(item["locations"][0]["result"], "verified");
    EXPECT_TRUE(item["locations"][0]["message"].is_null());
    EXPECT_EQ(item["locations"][1]["result"], "unreachable");
    EXPECT_TRUE(item["locations"][1]["digest"].is_null());
}

TEST(DoctorJson, CountsFailuresAndWarnings) {
    const json doctor = json::parse(doctor_json({{Finding::Level::ok, "a", "fine", ""},
                                                 {Finding::Level::warning, "b", "hm", "do"},
                                                 {Finding::Level::failure, "c", "bad", "mend"}}));
    EXPECT_EQ(doctor["failures"], 1);
    EXPECT_EQ(doctor["warnings"], 1);
    EXPECT_EQ(doctor["findings"][2]["level"], "fail");
    EXPECT_EQ(doctor["findings"][2]["fix"], "mend");
    EXPECT_TRUE(doctor["findings"][0]["fix"].is_null());
}

TEST(StatusJson, HasItsNumbers) {
    StatusReport status;
    status.catalog = "sqlite:/c.db";
    status.totals = {.disks = 3, .locations = 5};
    status.single_copy_disks = 1;
    const json object = json::parse(status_json(status));
    EXPECT_EQ(object["disks"], 3);
    EXPECT_EQ(object["locations"], 5);
    EXPECT_EQ(object["single_copy_disks"], 1);
    EXPECT_TRUE(object["schema"].is_null());
    EXPECT_TRUE(object["servers"].is_array());
}

}  // namespace
}  // namespace signpost
