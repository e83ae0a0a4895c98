// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/record_merge.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/catalog/sample_records.h"

namespace signpost {
namespace {

using namespace test;

Location at(std::string_view holder, std::uint64_t generation, char digit = '1') {
    Location location;
    location.server = holder;
    location.generation = generation;
    location.size = 4096;
    location.digest = digest(digit);
    return location;
}

DiskRecord record(std::vector<Location> locations) {
    return {disk("a"), std::move(locations)};
}

TEST(RecordMerge, NewerLocationWins) {
    const DiskRecord a = record({at("beta", 3), at("gamma", 9)});
    const DiskRecord b = record({at("beta", 4), at("delta", 1), at("gamma", 8)});
    const DiskRecord merged = record({at("beta", 4), at("delta", 1), at("gamma", 9)});
    EXPECT_EQ(merge_newest(a, b), merged);
    EXPECT_EQ(merge_newest(b, a), merged);
}

TEST(RecordMerge, ServerKnowsBestWhatItHolds) {
    const DiskRecord of_beta = record({at("beta", 3), at("gamma", 9)});
    const DiskRecord of_delta = record({at("beta", 7), at("gamma", 8)});
    const MergedDisk merged =
        merge_testimonies({{"delta", &of_delta}, {"beta", &of_beta}}, {"beta", "delta"});
    EXPECT_EQ(merged.locations, (std::vector{at("beta", 3), at("gamma", 9)}));
}

TEST(RecordMerge, WhatAServerDoesNotSayOfItselfIsNotThere) {
    const DiskRecord of_delta = record({at("beta", 7)});
    EXPECT_TRUE(merge_testimonies({{"delta", &of_delta}}, {"beta", "delta"}).locations.empty());
    EXPECT_EQ(merge_testimonies({{"delta", &of_delta}}, {"delta"}).locations.size(), 1u);
}

TEST(RecordMerge, DisputeIsToldAndTheNewestTaken) {
    const DiskRecord a = record({at("gamma", 5)});
    const DiskRecord b = record({at("gamma", 6, '2')});
    const MergedDisk merged = merge_testimonies({{"x", &a}, {"y", &b}}, {"x", "y"});
    EXPECT_EQ(merged.locations, std::vector{at("gamma", 6, '2')});
    EXPECT_EQ(merged.disputed, std::vector<std::string>{"gamma"});
    EXPECT_TRUE(merge_testimonies({{"x", &a}, {"y", &a}}, {"x", "y"}).disputed.empty());
}

TEST(RecordMerge, OrderOfWitnessesDoesNotMatter) {
    std::vector<DiskRecord> records{record({at("p", 1), at("q", 2, '3')}),
                                    record({at("p", 4), at("q", 2, '2')}),
                                    record({at("p", 4, '9'), at("r", 2)})};
    std::vector<Testimony> all{{"q", &records[0]}, {"s", &records[1]}, {"t", &records[2]}};
    const std::vector<std::string> witnesses{"q", "s", "t"};
    const auto expected = merge_testimonies(all, witnesses).locations;
    std::sort(all.begin(), all.end(),
              [](const Testimony& a, const Testimony& b) { return a.witness < b.witness; });
    do {
        EXPECT_EQ(merge_testimonies(all, witnesses).locations, expected);
    } while (std::next_permutation(
        all.begin(), all.end(),
        [](const Testimony& a, const Testimony& b) { return a.witness < b.witness; }));
}

TEST(RecordMerge, ServersOwnRowWins) {
    Server own = server("beta", "nbd://own:1");
    Server heard = server("beta", "nbd://heard:1");
    heard.heartbeat_sequence = 99;
    EXPECT_EQ(merge_servers({{"x", heard}, {"beta", own}}), own);
    EXPECT_EQ(merge_servers({{"x", own}, {"y", heard}}), heard);
}

}  // namespace
}  // namespace signpost
