// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/export_list.h"

#include <fmt/format.h>

#include "nbd-server/disk/disk_description.h"
#include "tests/unit/disk/federation_fixture.h"

namespace signpost::test {

namespace {

class ExportList : public FederationTest {
   protected:
    std::vector<std::string> list(std::size_t limit = 100) {
        const auto listing = start()->exports(limit);
        EXPECT_TRUE(listing);
        complete_ = listing->complete;
        std::vector<std::string> lines;
        for (const ExportEntry& entry : listing->entries) {
            lines.push_back(entry.name + ": " + entry.description);
        }
        return lines;
    }

    bool complete_ = false;
};

using Lines = std::vector<std::string>;

TEST(SizeForPeople, NamesTheLargestUnitThatFits) {
    EXPECT_EQ(size_for_people(0), "0 bytes");
    EXPECT_EQ(size_for_people(1023), "1023 bytes");
    EXPECT_EQ(size_for_people(1024), "1 KiB");
    EXPECT_EQ(size_for_people(1536), "1.5 KiB");
    EXPECT_EQ(size_for_people(40ULL << 30), "40 GiB");
    EXPECT_EQ(size_for_people((40ULL << 30) - 1), "39.9 GiB");
    EXPECT_EQ(size_for_people((1ULL << 63) - 1), "7.9 EiB");
}

TEST(DescribesRelay, TellsARelayFromAnImage) {
    EXPECT_TRUE(describes_relay(describe_relayed_disk(1024, ImageFormat::raw, "beta", 0)));
    EXPECT_TRUE(describes_relay(describe_relayed_disk(1024, ImageFormat::qcow2, "beta", 2)));
    EXPECT_FALSE(describes_relay(describe_own_disk(1024, ImageFormat::raw)));
    EXPECT_FALSE(describes_relay(""));
}

TEST_F(ExportList, MergesOwnImagesAndOthersInByteOrder) {
    write_image("b.raw", 1024);
    write_image("d.raw", 1024);
    join(server_named("beta"),
         {image_named("a", 1024), image_named("c", 1024), image_named("e", 1024)});
    EXPECT_EQ(list(), (Lines{"a: 1 KiB raw on beta, relayed", "b: 1 KiB raw, here",
                             "c: 1 KiB raw on beta, relayed", "d: 1 KiB raw, here",
                             "e: 1 KiB raw on beta, relayed"}));
    EXPECT_TRUE(complete_);
}

TEST_F(ExportList, NamesADiskOnceThoughSeveralHaveIt) {
    write_image("a.raw", 1024);
    join(server_named("beta"), {image_named("a", 1024), image_named("b", 1024)});
    join(server_named("gamma"), {image_named("a", 1024), image_named("b", 1024)});
    const Lines lines = list();
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0], "a: 1 KiB raw, here");
    EXPECT_NE(lines[1].find("and 1 more, relayed"), std::string::npos);
}

TEST_F(ExportList, LeavesOutWhatThisServerHasNoMore) {
    join(server_named("alpha"), {image_named("gone", 1024)});
    EXPECT_EQ(list(), Lines{});
}

TEST_F(ExportList, IsCutAtTheLimit) {
    write_image("a.raw", 1024);
    join(server_named("beta"), {image_named("b", 1024), image_named("c", 1024)});
    EXPECT_EQ(list(3).size(), 3u);
    EXPECT_TRUE(complete_);
    EXPECT_EQ(list(2).size(), 2u);
    EXPECT_FALSE(complete_);
    EXPECT_EQ(list(1), Lines{"a: 1 KiB raw, here"});
    EXPECT_FALSE(complete_);
}

TEST_F(ExportList, ReadsTheCatalogOverManyPages) {
    std::vector<Image> images;
    for (int i = 0; i < 2500; ++i) {
        images.push_back(image_named(fmt::format("disk{:05}", i), 1024));
    }
    join(server_named("beta"), images);
    write_image("disk01000x.raw", 1024);
    const Lines lines = list(10'000);
    ASSERT_EQ(lines.size(), 2501u);
    EXPECT_TRUE(complete_);
    EXPECT_TRUE(std::ranges::is_sorted(lines));
    EXPECT_EQ(lines[1001], "disk01000x: 1 KiB raw, here");
}

}  // namespace

}  // namespace signpost::test
