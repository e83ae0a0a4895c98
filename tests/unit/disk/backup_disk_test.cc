// SPDX-License-Identifier: BSD-3-Clause
//
// Backup sets that virtnbdbackup would not write, one fault each, and what belongs together in one
// that it would. Sets that it does write: e2e-signpostd-backup-random, -virtnbdbackup.

#include "nbd-server/disk/backup_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <vector>

#include "nbd-server/wire/protocol.h"
#include "tests/unit/disk/backup_bytes.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

constexpr std::string_view kFull = "web01/vda.full.data";
constexpr std::string_view kFullPoint = "web01/vda@2026-11-20T02:00:03";

class BackupDiskTest : public testing::Test {
   protected:
    RepositorySet set() const {
        std::vector<Repository> all;
        all.push_back(Repository::open(tree_.root(), {}).value());
        return RepositorySet(std::move(all));
    }

    Result<std::shared_ptr<Disk>> open(std::string_view point) {
        auto image = set().open_image(DiskName::parse(point).value());
        if (!image) {
            return std::unexpected(image.error());
        }
        return make_backup_disk(std::move(*image), indexes_, log_);
    }

    void expect_refused(std::string_view point, std::string_view part) {
        const auto disk = open(point);
        ASSERT_FALSE(disk.has_value());
        EXPECT_NE(disk.error().message.find(part), std::string::npos) << disk.error().message;
        EXPECT_EQ(disk.error().message.find('\n'), std::string::npos);
    }

    // The bytes there; "!" when they cannot be read.
    static std::string read(Disk& disk, std::uint64_t offset, std::size_t length) {
        std::string bytes(length, '?');
        Request request;
        request.offset = offset;
        request.length = length;
        request.buffer = reinterpret_cast<std::byte*>(bytes.data());
        return submit_and_wait(disk, request) == 0 ? bytes : "!";
    }

    std::string read(std::string_view point, std::uint64_t offset, std::size_t length) {
        const auto disk = open(point);
        EXPECT_TRUE(disk) << disk.error().message;
        return disk ? read(**disk, offset, length) : "";
    }

    std::vector<std::string> scanned() const {
        std::vector<std::string> names;
        for (const Image& image : set().scan().images) {
            EXPECT_EQ(image.format, ImageFormat::virtnbdbackup);
            EXPECT_TRUE(image.read_only);
            names.push_back(image.name.str());
        }
        return names;
    }

    TempTree tree_;
    KeptLog log_;
    BackupIndexes indexes_;
};

TEST_F(BackupDiskTest, EachFileOfASetIsAPoint) {
    tree_.write(kFull, BackupBytes().data(0, "full").bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.1.data",
                BackupBytes::increment(1, "2026-11-21T02:00:00").data(2, "in").bytes());
    tree_.write("web01/vda.diff.1763700000.data",
                BackupBytes::increment(2, "2026-11-21T12:00:00").data(0, "d").bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.2.data",
                BackupBytes::increment(2, "2026-11-22T02:00:00").data(5, "2").bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.3.data.partial", "meta");
    tree_.write("web01/web01.cpt", "[]");
    EXPECT_EQ(scanned(), (std::vector<std::string>{
                             "web01/vda@2026-11-20T02:00:03", "web01/vda@2026-11-21T02:00:00",
                             "web01/vda@2026-11-21T12:00:00", "web01/vda@2026-11-22T02:00:00"}));
    const std::string_view zeroes("\0\0", 2);
    EXPECT_EQ(read(kFullPoint, 0, 6), "full" + std::string(zeroes));
    EXPECT_EQ(read("web01/vda@2026-11-21T02:00:00", 0, 6), "fuin" + std::string(zeroes));
    EXPECT_EQ(read("web01/vda@2026-11-21T12:00:00", 0, 4), "duin");
    EXPECT_EQ(read("web01/vda@2026-11-22T02:00:00", 0, 6), std::string("fuin\0002", 6));
}

TEST_F(BackupDiskTest, AnIncrementKnowsTheSizeOfItsDay) {
    tree_.write(kFull, BackupBytes().data((1 << 20) - 1, "e").bytes());
    auto grown = BackupBytes::increment(1, "2026-11-21T02:00:00");
    grown.size = 2 << 20;
    tree_.write("web01/vda.inc.virtnbdbackup.1.data", grown.bytes());
    EXPECT_EQ((*open("web01/vda@2026-11-21T02:00:00"))->traits().size, 2u << 20);
    EXPECT_EQ(read("web01/vda@2026-11-21T02:00:00", (1 << 20) - 1, 2), std::string("e\0", 2));
}

TEST_F(BackupDiskTest, ZeroesOfAnIncrementHideWhatIsBelow) {
    tree_.write(kFull, BackupBytes().data(0, "full").bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.1.data",
                BackupBytes::increment(1, "2026-11-21T02:00:00").zero(1, 2).bytes());
    EXPECT_EQ(read("web01/vda@2026-11-21T02:00:00", 0, 4), std::string("f\0\0l", 4));
}

TEST_F(BackupDiskTest, CompressedBlocksAreReadFromAnyPlace) {
    const std::string one(70'000, 'a');
    const std::string two = std::string(30'000, 'b') + std::string(100, 'c');
    const std::string packed = lz4(one) + lz4(two);
    tree_.write(kFull, BackupBytes()
                           .block(512, one.size() + two.size(), packed,
                                  fmt::format("{{\"{}\": [{}, {}]}}", packed.size(),
                                              lz4(one).size(), lz4(two).size()))
                           .zero(200'000, 100)
                           .block(300'000, "single")
                           .bytes());
    const auto disk = open(kFullPoint);
    ASSERT_TRUE(disk) << disk.error().message;
    EXPECT_EQ(read(**disk, 511, 2), std::string("\0a", 2));
    EXPECT_EQ(read(**disk, 512 + one.size() - 1, 2), "ab");
    EXPECT_EQ(read(**disk, 512 + one.size() + 29'999, 3), "bcc");
    EXPECT_EQ(read(**disk, 300'000, 7), std::string("single\0", 7));
    EXPECT_TRUE(read(**disk, 512, one.size() + two.size()) == one + two);
}

TEST_F(BackupDiskTest, ACompressedBlockNeedNotSayItsSizeWhereItsFrameDoes) {
    const std::string packed = lz4("alone", false);
    tree_.write(kFull, BackupBytes().block(0, 5, packed, std::to_string(packed.size())).bytes());
    EXPECT_EQ(read(kFullPoint, 0, 5), "alone");
}

TEST_F(BackupDiskTest, MapSaysWhatIsZero) {
    tree_.write(kFull, BackupBytes().data(4096, std::string(4096, 'd')).zero(8192, 4096).bytes());
    const auto disk = open(kFullPoint);
    std::vector<Extent> extents;
    Request request;
    request.op = Op::extents;
    request.length = (*disk)->traits().size;
    request.extents = &extents;
    ASSERT_EQ(submit_and_wait(**disk, request), 0);
    ASSERT_EQ(extents.size(), 3u);
    EXPECT_EQ(extents[0].length, 4096u);
    EXPECT_EQ(extents[0].flags, wire::kStateHole | wire::kStateZero);
    EXPECT_EQ(extents[1].flags, 0u);
    EXPECT_EQ(extents[2].length, (1u << 20) - 8192);
}

TEST_F(BackupDiskTest, ARawDiskIsAPointOfTheTimeWhenItWasWritten) {
    tree_.write("web01/vdb.copy.data", "as it is");
    const timespec times[2] = {{1'763'600'400, 0}, {1'763'600'400, 5}};
    ASSERT_EQ(::utimensat(AT_FDCWD, tree_.path("web01/vdb.copy.data").c_str(), times, 0), 0);
    EXPECT_EQ(scanned(), std::vector<std::string>{"web01/vdb@2025-11-20T01:00:00"});
    EXPECT_EQ(read("web01/vdb@2025-11-20T01:00:00", 3, 5), "it is");
}

TEST_F(BackupDiskTest, AtTheRootOfARepositoryNamesHaveNoColon) {
    tree_.write("vda.full.data", BackupBytes().data(0, "full").bytes());
    EXPECT_EQ(scanned(), std::vector<std::string>{"vda@20261120T020003"});
    EXPECT_EQ(read("vda@20261120T020003", 0, 4), "full");
}

TEST_F(BackupDiskTest, WhatIsHiddenIsNoPoint) {
    tree_.write(".signpost/vda.full.data", BackupBytes().bytes());
    EXPECT_TRUE(scanned().empty());
    expect_refused(".signpost/vda@2026-11-20T02:00:03", "no repository of this server");
}

TEST_F(BackupDiskTest, ManyReadersGetTheSame) {
    std::string content;
    BackupBytes full;
    for (char c = 'a'; c < 'i'; ++c) {
        const std::string block(100'000, c);
        full.block(content.size(), block);
        content += block;
    }
    tree_.write(kFull, full.bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.1.data",
                BackupBytes::increment(1, "2026-11-21T02:00:00").data(50, "X").bytes());
    std::string changed = content;
    changed[50] = 'X';
    std::vector<std::jthread> readers;
    for (unsigned i = 0; i < 8; ++i) {
        readers.emplace_back([&, i] {
            const auto disk = open(i % 2 == 0 ? kFullPoint : "web01/vda@2026-11-21T02:00:00");
            ASSERT_TRUE(disk) << disk.error().message;
            for (std::size_t at = 0; at < content.size(); at += 70'000) {
                const std::size_t length = std::min<std::size_t>(70'000, content.size() - at);
                EXPECT_TRUE(read(**disk, at, length) ==
                            (i % 2 == 0 ? content : changed).substr(at, length));
            }
        });
    }
}

TEST_F(BackupDiskTest, AFileThatIsBeingCopiedIsNotComplainedOf) {
    const std::string whole = BackupBytes().data(0, "full").bytes();
    tree_.write(kFull, "");
    const UniqueFd copy(::open(tree_.path(kFull).c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::write(copy.get(), whole.data(), 60), 60);
    const auto scan = set().scan();
    EXPECT_TRUE(scan.images.empty());
    EXPECT_TRUE(scan.refusals.empty()) << scan.refusals.front();
}

// ---- what does not belong together

TEST_F(BackupDiskTest, AnIncrementWithoutItsBaseIsRefused) {
    tree_.write(kFull, BackupBytes().bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.2.data",
                BackupBytes::increment(2, "2026-11-22T02:00:00").bytes());
    expect_refused("web01/vda@2026-11-22T02:00:00", "checkpoint virtnbdbackup.1");
    EXPECT_EQ(scanned(), std::vector<std::string>{std::string(kFullPoint)});
}

TEST_F(BackupDiskTest, AnIncrementOfAnOlderFullIsRefused) {
    tree_.write(kFull, BackupBytes().bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.1.data",
                BackupBytes::increment(1, "2026-11-19T02:00:00").bytes());
    expect_refused("web01/vda@2026-11-19T02:00:00", "do not belong together");
}

TEST_F(BackupDiskTest, AClockThatWasPutBackByAnHourIsNoReasonToRefuse) {
    tree_.write(kFull, BackupBytes().data(0, "full").bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.1.data",
                BackupBytes::increment(1, "2026-11-20T01:10:00").bytes());
    EXPECT_EQ(read("web01/vda@2026-11-20T01:10:00", 0, 4), "full");
}

TEST_F(BackupDiskTest, AFileOfAnotherDiskIsNoBase) {
    auto other = BackupBytes();
    other.disk = "vdb";
    tree_.write(kFull, other.bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.1.data",
                BackupBytes::increment(1, "2026-11-21T02:00:00").bytes());
    expect_refused("web01/vda@2026-11-21T02:00:00", "says vdb");
}

TEST_F(BackupDiskTest, FilesThatAreBasedOnEachOtherAreRefused) {
    auto one = BackupBytes::increment(1, "2026-11-21T02:00:00");
    one.parent = "virtnbdbackup.2";
    tree_.write("web01/vda.inc.virtnbdbackup.1.data", one.bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.2.data",
                BackupBytes::increment(2, "2026-11-21T02:00:00").bytes());
    tree_.write("web01/vda.inc.virtnbdbackup.3.data",
                BackupBytes::increment(3, "2026-11-21T03:00:00").bytes());
    expect_refused("web01/vda@2026-11-21T03:00:00", "checkpoint virtnbdbackup.2");
}

TEST_F(BackupDiskTest, TwoFilesOfOneTimeAreRefused) {
    tree_.write(kFull, BackupBytes().bytes());
    tree_.write("web01/vda.copy.data", BackupBytes().bytes());
    expect_refused(kFullPoint, "both");
    EXPECT_TRUE(scanned().empty());
}

TEST_F(BackupDiskTest, AChangedFileIsReadNoMore) {
    tree_.write(kFull, BackupBytes().data(0, "full").bytes());
    const auto disk = open(kFullPoint);
    ASSERT_TRUE(disk);
    tree_.write(kFull, BackupBytes().data(0, "FULL").bytes());
    EXPECT_EQ(read(**disk, 0, 4), "!");
    EXPECT_EQ(read(kFullPoint, 0, 4), "FULL");
}

// ---- streams that are wrong

struct Fault {
    const char* name;
    std::string bytes;
    const char* said;
};

class BackupFaultTest : public BackupDiskTest, public testing::WithParamInterface<Fault> {};

// Either there is no such point, and the scan says why, or it cannot be opened.
TEST_P(BackupFaultTest, IsRefusedInOneLine) {
    tree_.write(kFull, GetParam().bytes);
    const auto scan = set().scan();
    if (!scan.refusals.empty()) {
        EXPECT_TRUE(scan.images.empty());
        EXPECT_NE(scan.refusals.front().find(GetParam().said), std::string::npos)
            << scan.refusals.front();
        EXPECT_FALSE(open(kFullPoint));
        return;
    }
    expect_refused(kFullPoint, GetParam().said);
}

std::string without_end(std::string bytes, std::size_t count) {
    bytes.resize(bytes.size() - count);
    return bytes;
}

BackupBytes with(std::string BackupBytes::*field, std::string value) {
    BackupBytes made;
    made.data(0, "d");
    made.*field = std::move(value);
    return made;
}

BackupBytes of_size(std::uint64_t size) {
    BackupBytes made;
    made.size = size;
    return made;
}

std::string packed_as(const std::string& entry) {
    return BackupBytes().block(0, 5, lz4("alone"), entry).bytes();
}

const std::string kAlone = std::to_string(lz4("alone").size());

INSTANTIATE_TEST_SUITE_P(
    Streams, BackupFaultTest,
    testing::Values(
        Fault{"CutOff", without_end(BackupBytes().data(0, "d").bytes(), 7), "cut off"},
        Fault{"CutOffInItsList", without_end(packed_as(kAlone), 42), "cut off"},
        Fault{"Overlap", BackupBytes().data(0, "four").data(3, "f").bytes(), "overlap"},
        Fault{"NotInOrder", BackupBytes().zero(100, 10).data(0, "d").bytes(), "in order"},
        Fault{"OutOfTheDisk", BackupBytes().data((1 << 20) - 1, "two").bytes(), "leaves the disk"},
        Fault{"FarOutOfTheDisk", BackupBytes().zero(~0ull, 1).bytes(), "leaves the disk"},
        Fault{"Wraps", BackupBytes().zero(512, ~0ull - 100).bytes(), "leaves the disk"},
        Fault{"MoreDataThanFile",
              [] {
                  BackupBytes made;
                  made.frames = BackupBytes::head("data", 0, 1 << 19);
                  return made.bytes();
              }(),
              "leaves the file"},
        Fault{"NoFrame",
              [] {
                  BackupBytes made;
                  made.frames = std::string(64, 'x');
                  return made.bytes();
              }(),
              "no frame"},
        Fault{"OtherDataThanSaid",
              [] {
                  BackupBytes made;
                  made.data(0, "data").data_bytes = 3;
                  return made.bytes();
              }(),
              "should have 3"},
        Fault{"MoreBehindItsEnd", BackupBytes().bytes() + BackupBytes::head("stop", 0, 0),
              "before the file does"},
        Fault{"ImpossibleSize", of_size(1ull << 63).bytes(), "impossible disk size"},
        Fault{"OtherVersion", with(&BackupBytes::version, "3").bytes(), "version 3"},
        Fault{"IncrementOfNothing",
              [] {
                  std::string bytes = BackupBytes::increment(1, "2026-11-20T02:00:03").bytes();
                  const auto at = bytes.find("virtnbdbackup.0");
                  return bytes.replace(at, 15, "../../etc/passw");
              }(),
              "checkpoint"},
        Fault{"ListEndsEarly", BackupBytes().block(0, "a").block(8, 1, lz4("b"), "").bytes(),
              "list of compressed blocks"},
        Fault{"ListIsLonger", packed_as(kAlone + ", 7"), "before the file does"},
        Fault{"ListOfLists", packed_as(std::string(100'000, '[')), "damaged"},
        Fault{"ListOfNegative", packed_as("-1"), "damaged"},
        Fault{"ListOfHuge", packed_as("4294967296"), "damaged"},
        Fault{"BlockOutOfTheFile", packed_as("4294967295"), "leaves the file"},
        Fault{"BlockOfTwo", packed_as("{\"9\": [" + kAlone + ", 4]}"), "LZ4"},
        Fault{"BlockOfNothing", packed_as("{\"9\": []}"), "damaged"},
        Fault{"NotLz4", BackupBytes().block(0, 5, "plain", "5").bytes(), "not LZ4"},
        Fault{"InflatesBeyondItsFrame",
              BackupBytes()
                  .block(0, 5, lz4(std::string(500'000, '\0')),
                         std::to_string(lz4(std::string(500'000, '\0')).size()))
                  .bytes(),
              "size of their frame"}),
    [](const auto& param) { return param.param.name; });

TEST_F(BackupDiskTest, MetaThatIsNoneGivesNoPoint) {
    const std::string deep = std::string(30'000, '[');
    tree_.write(kFull, BackupBytes::head("meta", 0, deep.size()) + deep + "\r\n" +
                           BackupBytes::head("stop", 0, 0));
    tree_.write("web02/vda.full.data", BackupBytes::head("meta", 0, ~0ull));
    auto no_time = BackupBytes();
    no_time.date = "2026-11-20 02:00";
    tree_.write("web03/vda.full.data", no_time.bytes());
    tree_.write("web04/vda.inc.virtnbdbackup.1.data", "raw bytes");
    const auto scan = set().scan();
    EXPECT_TRUE(scan.images.empty());
    EXPECT_EQ(scan.refusals.size(), 4u);
}

TEST_F(BackupDiskTest, ABlockThatDoesNotUnpackIsUnreadable) {
    std::string packed = lz4(std::string(5'000, 'x') + std::string(5'000, 'y'));
    packed[packed.size() / 2] ^= 0x55;
    tree_.write(kFull, BackupBytes()
                           .block(0, 10'000, packed, std::to_string(packed.size()))
                           .block(20'000, "good")
                           .bytes());
    const auto disk = open(kFullPoint);
    ASSERT_TRUE(disk) << disk.error().message;
    EXPECT_EQ(read(**disk, 0, 1), "!");
    EXPECT_TRUE(log_.has("unpack"));
    EXPECT_EQ(read(**disk, 20'000, 4), "good");
}

TEST_F(BackupDiskTest, TooManyPartsAreRefused) {
    const std::string bytes = BackupBytes().data(0, "a").data(8, "b").data(16, "c").bytes();
    const ImageBytes in_memory{bytes.size(), [&](std::uint64_t offset, std::span<std::byte> out) {
                                   std::memcpy(out.data(), bytes.data() + offset, out.size());
                                   return Result<void>{};
                               }};
    const auto meta = read_backup_meta(in_memory);
    EXPECT_TRUE(BackupIndex::read(in_memory, *meta, 3));
    const auto index = BackupIndex::read(in_memory, *meta, 2);
    ASSERT_FALSE(index);
    EXPECT_NE(index.error().message.find("more than 2 parts"), std::string::npos);
}

}  // namespace
}  // namespace signpost::test
