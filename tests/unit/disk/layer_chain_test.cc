// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/layer_chain.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "tests/unit/disk/header_bytes.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

using Names = std::map<std::string, std::string>;  // of disks, and the first file of each

constexpr std::time_t kTime = 1'795'140'000;  // 2026-11-20T02:00:00Z

class Layers : public testing::Test {
   protected:
    // A qcow2 file, based on BASE if that is not empty, last written MINUTE minutes after kTime.
    void layer(std::string_view file, std::string_view base, int minute) {
        Qcow2Bytes header;
        if (!base.empty()) {
            header.backing(base, base.ends_with(".raw") ? "raw" : "qcow2");
        }
        tree.write(file, header.bytes);
        written(file, minute);
    }

    void written(std::string_view file, int minute) {
        const timespec time{kTime + 60 * minute, 0};
        const timespec times[2] = {time, time};
        ASSERT_EQ(::utimensat(AT_FDCWD, tree.path(file).c_str(), times, 0), 0);
    }

    RepositorySet set(RepositoryOptions options = {}) {
        std::vector<Repository> all;
        all.push_back(Repository::open(tree.root(), std::move(options)).value());
        return RepositorySet(std::move(all));
    }

    // What a scan finds; each is found again by its name, in the same file.
    Names scanned(RepositoryOptions options = {}) {
        const RepositorySet repositories = set(options);
        const auto scan = repositories.scan();
        notes = scan.notes;
        Names names;
        for (const Image& image : scan.images) {
            const auto opened = repositories.open_image(image.name);
            EXPECT_TRUE(opened) << image.name.str() << ": " << opened.error().message;
            EXPECT_EQ(opened->fingerprint, image.fingerprint) << image.name.str();
            names[image.name.str()] = opened->chain.front().path;
        }
        EXPECT_TRUE(scan.refusals.empty()) << scan.refusals.front();
        return names;
    }

    TempTree tree;
    std::vector<std::string> notes;
};

TEST_F(Layers, OfOneDiskAreItsPointsAndTheNewestIsTheDisk) {
    layer("web01/vda.qcow2", "", 0);
    layer("web01/vda.snap1.qcow2", "vda.qcow2", 1);
    layer("web01/vda.snap2.qcow2", "vda.snap1.qcow2", 2);
    EXPECT_EQ(scanned(), (Names{{"web01/vda", "web01/vda.snap2.qcow2"},
                                {"web01/vda@2026-11-20T02:00:00Z", "web01/vda.qcow2"},
                                {"web01/vda@2026-11-20T02:01:00Z", "web01/vda.snap1.qcow2"}}));
}

TEST_F(Layers, AsLibvirtNamesThemNeedNoExtension) {
    layer("vda.qcow2", "", 0);
    layer("vda.1763600000", tree.path("vda.qcow2"), 1);
    layer("vda.snap-2", tree.path("vda.1763600000"), 2);
    tree.write("vda.sha256", "no image");
    tree.write("vda.xml", "<domainsnapshot/>");
    EXPECT_EQ(scanned(), (Names{{"vda", "vda.snap-2"},
                                {"vda@20261120T020000Z", "vda.qcow2"},
                                {"vda@20261120T020100Z", "vda.1763600000"}}));
}

TEST_F(Layers, MayLieOnARawImage) {
    tree.make_sparse("vda.raw", 1 << 20);
    written("vda.raw", 0);
    layer("vda@new.qcow2", "vda.raw", 1);
    EXPECT_EQ(scanned(), (Names{{"vda", "vda@new.qcow2"}, {"vda@20261120T020000Z", "vda.raw"}}));
}

TEST_F(Layers, OnATemplateLeaveItADiskOfItsOwn) {
    layer("templates/debian.qcow2", "", 0);
    layer("web01/vda.qcow2", "../templates/debian.qcow2", 1);
    layer("web01/debian.qcow2", "../templates/debian.qcow2", 1);
    layer("templates/other.qcow2", "debian.qcow2", 1);
    layer("templates/debian12.qcow2", "debian.qcow2", 1);
    EXPECT_EQ(scanned(), (Names{{"templates/debian", "templates/debian.qcow2"},
                                {"templates/debian12", "templates/debian12.qcow2"},
                                {"templates/other", "templates/other.qcow2"},
                                {"web01/debian", "web01/debian.qcow2"},
                                {"web01/vda", "web01/vda.qcow2"}}));
    EXPECT_TRUE(notes.empty());
}

TEST_F(Layers, TwoOnOneFileAreNoPoints) {
    layer("vda.qcow2", "", 0);
    layer("vda-a.qcow2", "vda.qcow2", 1);
    layer("vda-b.qcow2", "vda.qcow2", 2);
    layer("vda-b-1.qcow2", "vda-b.qcow2", 3);
    EXPECT_EQ(scanned(), (Names{{"vda", "vda.qcow2"},
                                {"vda-a", "vda-a.qcow2"},
                                {"vda-b", "vda-b.qcow2"},
                                {"vda-b-1", "vda-b-1.qcow2"}}));
    ASSERT_EQ(notes.size(), 1u);
    EXPECT_NE(notes[0].find("both vda-a.qcow2 and vda-b.qcow2"), std::string::npos) << notes[0];
}

TEST_F(Layers, WrittenAtOnceHaveDifferentTimesInTheirOrder) {
    layer("d/vda.qcow2", "", 7);
    layer("d/vda.1.qcow2", "vda.qcow2", 7);
    layer("d/vda.2.qcow2", "vda.1.qcow2", 3);
    layer("d/vda.3.qcow2", "vda.2.qcow2", 0);
    EXPECT_EQ(scanned(), (Names{{"d/vda", "d/vda.3.qcow2"},
                                {"d/vda@2026-11-20T02:07:00Z", "d/vda.qcow2"},
                                {"d/vda@2026-11-20T02:07:01Z", "d/vda.1.qcow2"},
                                {"d/vda@2026-11-20T02:07:02Z", "d/vda.2.qcow2"}}));
}

TEST_F(Layers, WithADateInTheirNamesArePointsOfThatDate) {
    layer("d/vda-2026-01-01.qcow2", "", 0);
    layer("d/vda-2026-01-02.qcow2", "vda-2026-01-01.qcow2", 1);
    EXPECT_EQ(scanned(), (Names{{"d/vda@2026-01-01", "d/vda-2026-01-01.qcow2"},
                                {"d/vda@2026-01-02", "d/vda-2026-01-02.qcow2"}}));
}

TEST_F(Layers, AreImagesLikeAnyOtherWithoutTheWord) {
    layer("vda.qcow2", "", 0);
    layer("vda.snap1.qcow2", "vda.qcow2", 1);
    EXPECT_EQ(scanned({.points = PointPatterns::off()}),
              (Names{{"vda", "vda.qcow2"}, {"vda.snap1", "vda.snap1.qcow2"}}));
}

TEST_F(Layers, BelowAnotherAreNeverWritten) {
    layer("vda.qcow2", "", 0);
    layer("vda.snap1.qcow2", "vda.qcow2", 1);
    const auto repositories = set({.writable = true});
    const auto point = repositories.open_image(DiskName::parse("vda@20261120T020000Z").value());
    ASSERT_TRUE(point) << point.error().message;
    EXPECT_FALSE(point->writable);
    EXPECT_TRUE(repositories.open_image(DiskName::parse("vda").value())->writable);
}

TEST_F(Layers, AreFoundByTheirPathWithTheNameThatTheyHave) {
    layer("vda.qcow2", "", 0);
    layer("vda.snap1.qcow2", "vda.qcow2", 1);
    const auto repositories = set();
    const auto name = DiskName::parse("vda.snap1").value();
    EXPECT_EQ(repositories.open_image(name).error().code, Errc::not_found);
    EXPECT_EQ(repositories.open_by_path(name)->name.str(), "vda");
}

TEST_F(Layers, InACircleAreRefusedAndEnd) {
    layer("vda.qcow2", "vda.1.qcow2", 0);
    layer("vda.1.qcow2", "vda.qcow2", 1);
    const auto scan = set().scan();
    EXPECT_TRUE(scan.images.empty());
    EXPECT_EQ(scan.refusals.size(), 2u);
}

TEST_F(Layers, WhoseHeadersAreBadAreNone) {
    layer("vda.qcow2", "", 0);
    tree.write("vda.1.qcow2", "no header");
    tree.write("vda.2", std::string("QFI\xfb") + std::string(200, '\xff'));
    layer("vda.3", "json:{\"driver\":\"raw\"}", 1);
    layer("vda.4", "/etc/passwd", 1);
    layer("vda.5", "../vda.qcow2", 1);
    const auto scan = set().scan();
    ASSERT_EQ(scan.images.size(), 1u);
    EXPECT_EQ(scan.images[0].name.str(), "vda");
}

TEST_F(Layers, AreNotLookedForAmongVeryManyFiles) {
    layer("vda.qcow2", "", 0);
    layer("vda.snap1.qcow2", "vda.qcow2", 1);
    for (std::size_t i = 0; i < LayerFinder::kMostFiles; ++i) {
        tree.write("other" + std::to_string(i), "");
    }
    EXPECT_EQ(scanned(), (Names{{"vda", "vda.qcow2"}, {"vda.snap1", "vda.snap1.qcow2"}}));
}

class DatedImages : public Layers {};

TEST_F(DatedImages, AreFoundByTheirNamesWithoutAScan) {
    for (const char* file : {"web01/vda-2026-11-20.raw", "web01/2026-11-21/vda.img",
                             "20261122T0200/web01/vda.raw", "web01/vda/2026-11-23.raw"}) {
        tree.make_sparse(file, 4096);
    }
    EXPECT_EQ(scanned(), (Names{{"web01/vda@2026-11-20", "web01/vda-2026-11-20.raw"},
                                {"web01/vda@2026-11-21", "web01/2026-11-21/vda.img"},
                                {"web01/vda@2026-11-22T02:00", "20261122T0200/web01/vda.raw"},
                                {"web01/vda@2026-11-23", "web01/vda/2026-11-23.raw"}}));
}

TEST_F(DatedImages, OfOneNameAreBothRefused) {
    tree.make_sparse("web01/vda-2026-11-20.raw", 4096);
    tree.make_sparse("web01/20261120/vda.raw", 4096);
    const auto repositories = set();
    const auto scan = repositories.scan();
    EXPECT_TRUE(scan.images.empty());
    ASSERT_EQ(scan.refusals.size(), 1u);
    for (const char* part : {"vda-2026-11-20.raw", "20261120/vda.raw", "web01/vda@2026-11-20"}) {
        EXPECT_NE(scan.refusals[0].find(part), std::string::npos) << scan.refusals[0];
    }
    const auto opened = repositories.open_image(DiskName::parse("web01/vda@2026-11-20").value());
    EXPECT_EQ(opened.error().code, Errc::conflict);
}

TEST_F(DatedImages, InHiddenOrUnfinishedPlacesAreNotSeen) {
    tree.make_sparse("x.part/2026-11-20.raw", 4096);
    tree.make_sparse("d/.trash/2026-11-20/vda.raw", 4096);
    const auto repositories = set();
    EXPECT_TRUE(repositories.scan().images.empty());
    EXPECT_FALSE(repositories.open_image(DiskName::parse("x.part@2026-11-20").value()));
}

TEST_F(DatedImages, DoNotLeadOutOfTheRepository) {
    TempTree outside;
    outside.make_sparse("vda.raw", 4096);
    tree.make_sparse("web01/other.raw", 4096);
    tree.link(outside.root(), "web01/2026-11-20");
    EXPECT_FALSE(set().open_image(DiskName::parse("web01/vda@2026-11-20").value()));
}

}  // namespace
}  // namespace signpost::test
