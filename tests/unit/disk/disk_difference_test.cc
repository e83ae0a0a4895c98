// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/disk_difference.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "nbd-server/disk/backup_disk.h"
#include "nbd-server/disk/local_disk.h"
#include "nbd-server/disk/qcow2_disk.h"
#include "tests/unit/disk/backup_bytes.h"
#include "tests/unit/disk/header_bytes.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

constexpr std::uint64_t kCluster = 65536;

class DiskDifference : public testing::Test {
   protected:
    std::shared_ptr<Disk> open(std::string_view name) {
        std::vector<Repository> all;
        all.push_back(Repository::open(tree_.root(), {}).value());
        auto image = RepositorySet(std::move(all)).open_image(DiskName::parse(name).value());
        EXPECT_TRUE(image) << image.error().message;
        if (is_backup(*image)) {
            return *make_backup_disk(std::move(*image), indexes_, log_);
        }
        return image->format() == ImageFormat::raw ? *make_local_disk(std::move(*image), {}, log_)
                                                   : *make_qcow2_disk(std::move(*image), log_);
    }

    // "=4096 !512" and so on.
    std::string between(std::string_view one, std::string_view other) {
        const auto disk = open(one);
        const auto with = open(other);
        return list(*disk, *with, 0, disk->traits().size);
    }

    static std::string list(Disk& disk, Disk& other, std::uint64_t offset, std::uint64_t length) {
        std::vector<Extent> extents;
        if (const int error = list_differences(disk, other, offset, length, extents)) {
            return error == EIO ? "EIO" : std::to_string(error);
        }
        std::string text;
        for (const Extent& extent : extents) {
            text += (text.empty() ? "" : " ");
            text += ((extent.flags & kDiffers) != 0 ? "!" : "=") + std::to_string(extent.length);
        }
        return text;
    }

    TempTree tree_;
    KeptLog log_;
    BackupIndexes indexes_;
};

TEST_F(DiskDifference, PointsOfOneSetDifferWhereTheyHaveOwnData) {
    const std::string some(4096, 's');
    tree_.write("d/vda.full.data", BackupBytes().data(0, some).data(8192, some).bytes());
    tree_.write("d/vda.inc.virtnbdbackup.1.data",
                BackupBytes::increment(1, "2026-11-21T02:00:00").data(1024, "new").bytes());
    EXPECT_EQ(between("d/vda@2026-11-21T02:00:00", "d/vda@2026-11-20T02:00:03"),
              "=1024 !3 =1047549");
    EXPECT_EQ(between("d/vda@2026-11-20T02:00:03", "d/vda@2026-11-20T02:00:03"), "=1048576");
}

TEST_F(DiskDifference, CompressedBlocksAreComparedByTheirPlace) {
    tree_.write("d/vda.full.data", BackupBytes().block(0, std::string(9000, 'c')).bytes());
    tree_.write("d/vda.inc.virtnbdbackup.1.data",
                BackupBytes::increment(1, "2026-11-21T02:00:00").block(4096, "new").bytes());
    EXPECT_EQ(between("d/vda@2026-11-21T02:00:00", "d/vda@2026-11-20T02:00:03"),
              "=4096 !3 =1044477");
}

TEST_F(DiskDifference, AnOverlayDiffersFromItsRawBaseWhereItHasClusters) {
    tree_.write("base.raw", std::string(4 * kCluster, 'r'));
    std::string top = Qcow2Bytes(4 * kCluster).backing("base.raw", "raw").bytes;
    top.resize(6 * kCluster);
    put_big<std::uint64_t>(top, 3 * kCluster, 4 * kCluster);          // L1
    put_big<std::uint64_t>(top, 4 * kCluster + 2 * 8, 5 * kCluster);  // cluster 2
    tree_.write("top.qcow2", top);
    EXPECT_EQ(between("top", "base"), "=131072 !65536 =65536");
    EXPECT_EQ(between("base", "top"), "=131072 !65536 =65536");
}

TEST_F(DiskDifference, HolesOfABaseAreThoseOfItsOverlay) {
    tree_.make_sparse("base.raw", 4 * kCluster);
    std::string top = Qcow2Bytes(4 * kCluster).backing("base.raw", "raw").bytes;
    top.resize(4 * kCluster);
    tree_.write("top.qcow2", top);
    EXPECT_EQ(between("top", "base"), "=262144");
}

TEST_F(DiskDifference, OfOtherFilesOnlyZeroesAreEqual) {
    tree_.make_sparse("one.raw", 4 * kCluster);
    tree_.make_sparse("two.raw", 4 * kCluster);
    EXPECT_EQ(between("one", "two"), "=262144");
    tree_.write("three.raw", std::string(4 * kCluster, '3'));
    tree_.write("four.raw", std::string(4 * kCluster, '3'));
    EXPECT_EQ(between("three", "four"), "!262144");
    EXPECT_EQ(between("one", "four"), "!262144");
}

TEST_F(DiskDifference, WhatTheOtherDoesNotReachDiffers) {
    tree_.make_sparse("long.raw", 4 * kCluster);
    tree_.make_sparse("short.raw", kCluster);
    EXPECT_EQ(between("long", "short"), "=65536 !196608");
    EXPECT_EQ(between("short", "long"), "=65536");
    const auto disk = open("long");
    const auto other = open("short");
    EXPECT_EQ(list(*disk, *other, 2 * kCluster, kCluster), "!65536");
}

TEST_F(DiskDifference, AChangedFileIsComparedNoMore) {
    tree_.write("d/vda.full.data", BackupBytes().data(0, "full").bytes());
    const auto disk = open("d/vda@2026-11-20T02:00:03");
    tree_.write("d/vda.full.data", BackupBytes().data(0, "FULL").bytes());
    const auto other = open("d/vda@2026-11-20T02:00:03");
    EXPECT_EQ(list(*disk, *other, 0, 512), "EIO");
}

}  // namespace
}  // namespace signpost::test
