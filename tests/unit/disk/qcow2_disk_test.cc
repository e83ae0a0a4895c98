// SPDX-License-Identifier: BSD-3-Clause
//
// Tables of qcow2 images that qemu-img would not write, one fault each: what is wrong in one place
// makes that place unreadable, and no other. Images that it does write: e2e-signpostd-qcow2-random.

#include "nbd-server/disk/qcow2_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cerrno>
#include <vector>

#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/disk/image_run.h"
#include "nbd-server/wire/protocol.h"
#include "tests/unit/disk/header_bytes.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

constexpr std::uint64_t kCluster = 65536;
constexpr std::uint64_t kL1 = 3 * kCluster;
constexpr std::uint64_t kL2 = 4 * kCluster;
constexpr std::uint64_t kData = 5 * kCluster;
constexpr std::uint64_t kFile = 8 * kCluster;
constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;

// A disk of 16 clusters; the first is at kData and full of `d`.
struct Image : Qcow2Bytes {
    Image() {
        bytes.resize(kFile, 'd');
        std::fill(bytes.begin() + kL1, bytes.begin() + kData, '\0');
        put_big<std::uint64_t>(bytes, kL1, kL2);
        entry(0, kData);
    }

    Image& entry(std::uint64_t cluster, std::uint64_t value) {
        put_big<std::uint64_t>(bytes, kL2 + cluster * 8, value);
        return *this;
    }

    // Subclusters: 2 KiB each, and of each a bit in the lower half (it is there) and in the upper
    // (it is zero).
    Image& extended_entry(std::uint64_t cluster, std::uint64_t value, std::uint64_t bits) {
        incompatible(1 << 4);
        put_big<std::uint64_t>(bytes, kL2 + cluster * 16, value);
        put_big<std::uint64_t>(bytes, kL2 + cluster * 16 + 8, bits);
        return *this;
    }
};

class Qcow2DiskTest : public testing::Test {
   protected:
    std::shared_ptr<Disk> open(const std::vector<std::string>& chain) {
        OpenImage image{.name = *DiskName::parse("a"), .chain = {}, .fingerprint = {}};
        std::vector<int> fds;
        for (const std::string& bytes : chain) {
            const std::string name = "f" + std::to_string(fds.size());
            tree_.write(name, bytes);
            UniqueFd fd(::open(tree_.path(name).c_str(), O_RDONLY | O_CLOEXEC));
            fds.push_back(fd.get());
            const bool raw = !bytes.starts_with("QFI\xfb");
            image.chain.push_back(
                {std::move(fd), name, raw ? ImageFormat::raw : ImageFormat::qcow2});
        }
        image.size = header_of(ImageFormat::qcow2, chain.front())->size;
        image.fingerprint = *image_fingerprint(fds, false);
        EXPECT_TRUE(is_plain_qcow2(image));
        auto disk = make_qcow2_disk(std::move(image), log_);
        EXPECT_TRUE(disk) << disk.error().message;
        return disk ? *disk : nullptr;
    }

    // The byte there; '!' when it cannot be read.
    char at(Disk& disk, std::uint64_t offset) {
        std::byte byte{};
        Request request;
        request.offset = offset;
        request.length = 1;
        request.buffer = &byte;
        const int error = submit_and_wait(disk, request);
        EXPECT_TRUE(error == 0 || error == EIO) << error;
        return error == 0 ? static_cast<char>(byte) : '!';
    }

    // Of each of the first clusters.
    std::string beginnings(Disk& disk, std::uint64_t clusters) {
        std::string all;
        for (std::uint64_t i = 0; i < clusters; ++i) {
            const char byte = at(disk, i * kCluster);
            all += byte == '\0' ? '0' : byte;
        }
        return all;
    }

    TempTree tree_;
    KeptLog log_;
};

TEST_F(Qcow2DiskTest, ReadsWhatTheTablesSay) {
    const auto disk = open({Image().entry(1, kData | 1).bytes});
    EXPECT_EQ(beginnings(*disk, 3), "d00");
}

TEST_F(Qcow2DiskTest, ClusterOutsideOfTheFileIsUnreadable) {
    const auto disk = open({Image().entry(1, kFile).entry(2, kData + kCluster).bytes});
    EXPECT_EQ(beginnings(*disk, 3), "d!d");
    EXPECT_TRUE(log_.has("its tables say what cannot be"));
}

TEST_F(Qcow2DiskTest, LastClusterMayBeCutShort) {
    Image image;
    image.entry(1, kFile - kCluster);
    image.bytes.resize(kFile - 1000);
    const auto disk = open({image.bytes});
    EXPECT_EQ(at(*disk, 2 * kCluster - 1001), 'd');
    EXPECT_EQ(at(*disk, 2 * kCluster - 1000), '\0');
}

TEST_F(Qcow2DiskTest, ClusterThatIsNotAlignedIsUnreadable) {
    const auto disk = open({Image().entry(1, kData + 512).bytes});
    EXPECT_EQ(beginnings(*disk, 3), "d!0");
}

TEST_F(Qcow2DiskTest, ZeroFlagInVersion2IsUnreadable) {
    Image image;
    image.entry(1, 1);
    put_big<std::uint32_t>(image.bytes, 4, 2);
    EXPECT_EQ(beginnings(*open({image.bytes}), 3), "d!0");
}

TEST_F(Qcow2DiskTest, TableOutsideOfTheFileIsUnreadable) {
    Image image;
    put_big<std::uint64_t>(image.bytes, kL1, kFile);
    EXPECT_EQ(beginnings(*open({image.bytes}), 2), "!!");
}

TEST_F(Qcow2DiskTest, TableThatIsNotAlignedIsUnreadable) {
    Image image;
    put_big<std::uint64_t>(image.bytes, kL1, kL2 + 512);
    EXPECT_EQ(beginnings(*open({image.bytes}), 2), "!!");
}

TEST_F(Qcow2DiskTest, SubclusterThatIsThereAndZeroIsUnreadable) {
    const std::uint64_t both = 0x0000'0008'0000'0009;  // 0: there; 3: there and zero
    Image image;
    image.entry(0, 0).entry(1, 0).extended_entry(0, kData, both);
    const auto disk = open({image.bytes});
    EXPECT_EQ(at(*disk, 0), 'd');
    EXPECT_EQ(at(*disk, 2048), '\0');
    EXPECT_EQ(at(*disk, 3 * 2048), '!');
}

TEST_F(Qcow2DiskTest, SubclusterOfNoClusterIsUnreadable) {
    Image image;
    image.entry(0, 0).entry(1, 0).extended_entry(0, 0, 1);
    const auto disk = open({image.bytes});
    EXPECT_EQ(at(*disk, 0), '!');
    EXPECT_EQ(at(*disk, 2048), '\0');
}

TEST_F(Qcow2DiskTest, CompressedClusterThatDoesNotUnpackIsUnreadable) {
    const auto disk = open({Image().entry(1, kCompressed | kData).bytes});
    EXPECT_EQ(beginnings(*disk, 3), "d!0");
    EXPECT_TRUE(log_.has("does not unpack"));
}

TEST_F(Qcow2DiskTest, CompressedClusterOutsideOfTheFileIsUnreadable) {
    const auto disk = open({Image().entry(1, kCompressed | (kFile + 7)).bytes});
    EXPECT_EQ(beginnings(*disk, 3), "d!0");
}

// PLAIN as QEMU packs a cluster.
std::string packed(const std::string& plain) {
    std::string bytes(plain.size() + 4096, '\0');
    z_stream stream{};
    EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
    stream.avail_in = static_cast<uInt>(plain.size());
    stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
    stream.avail_out = static_cast<uInt>(bytes.size());
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    bytes.resize(stream.total_out);
    deflateEnd(&stream);
    return bytes;
}

TEST_F(Qcow2DiskTest, CompressedClusterMayEndWithTheFile) {
    Image image;
    const std::uint64_t sectors = std::uint64_t{3} << 54;  // more than there are
    image.entry(1, kCompressed | sectors | kFile);
    image.bytes += packed(std::string(kCluster, 'p'));
    const auto disk = open({image.bytes});
    EXPECT_EQ(beginnings(*disk, 3), "dp0");
    EXPECT_EQ(at(*disk, 2 * kCluster - 1), 'p');
}

TEST_F(Qcow2DiskTest, TwoClustersMayBeTheSameCompressedOne) {
    Image image;
    const std::uint64_t sectors = std::uint64_t{3} << 54;
    image.entry(1, kCompressed | sectors | kFile).entry(2, kCompressed | sectors | kFile);
    const std::string plain = std::string(kCluster / 2, 'p') + std::string(kCluster / 2, 'q');
    image.bytes += packed(plain);
    const auto disk = open({image.bytes});
    std::string bytes(2 * kCluster, '\0');
    Request request;
    request.offset = kCluster;
    request.length = bytes.size();
    request.buffer = reinterpret_cast<std::byte*>(bytes.data());
    ASSERT_EQ(submit_and_wait(*disk, request), 0);
    EXPECT_TRUE(bytes == plain + plain);
}

TEST_F(Qcow2DiskTest, WhatNoFileHasIsZeroBehindAShorterBase) {
    Image top;
    top.entry(0, 0);
    const auto disk = open({top.bytes, std::string(kCluster + 3, 'r')});
    EXPECT_EQ(at(*disk, kCluster + 2), 'r');
    EXPECT_EQ(at(*disk, kCluster + 3), '\0');
    EXPECT_EQ(at(*disk, 15 * kCluster), '\0');
}

TEST_F(Qcow2DiskTest, WhatIsBehindTheEndOfAShorterMiddleIsNotSeen) {
    Image top;
    top.entry(0, 0);
    Image middle;
    middle.entry(0, 0);
    put_big<std::uint64_t>(middle.bytes, 24, 2 * kCluster);
    const auto disk = open({top.bytes, middle.bytes, std::string(4 * kCluster, 'r')});
    EXPECT_EQ(beginnings(*disk, 4), "rr00");
}

TEST_F(Qcow2DiskTest, ChangedFileIsAnErrorWhereItsBytesAreRead) {
    Image top;
    const auto disk = open({top.bytes, std::string(4 * kCluster, 'r')});
    ASSERT_EQ(beginnings(*disk, 2), "dr");
    tree_.write("f1", std::string(4 * kCluster, 's'));
    EXPECT_EQ(beginnings(*disk, 2), "d!");
}

TEST_F(Qcow2DiskTest, AnImageThatChangedBeforeItWasOpenedIsRefused) {
    const std::string bytes = Image().bytes;
    tree_.write("f0", bytes);
    OpenImage image{.name = *DiskName::parse("a"), .chain = {}, .fingerprint = "r-other"};
    image.chain.push_back({UniqueFd(::open(tree_.path("f0").c_str(), O_RDONLY | O_CLOEXEC)), "f0",
                           ImageFormat::qcow2});
    image.size = 16 * kCluster;
    const auto disk = make_qcow2_disk(std::move(image), log_);
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().code, Errc::conflict);
}

TEST_F(Qcow2DiskTest, PlainClustersAreLeftToTheKernel) {
    const auto disk = open({Image().entry(1, kData + kCluster).bytes});
    std::vector<ReadPart> parts;
    EXPECT_EQ(disk->locate_now(0, 3 * kCluster, parts), Disk::Now::would_wait) << "no map yet";
    EXPECT_EQ(beginnings(*disk, 3), "dd0");
    ASSERT_EQ(disk->locate_now(0, 3 * kCluster, parts), Disk::Now::done);
    ASSERT_EQ(parts.size(), 2u);
    EXPECT_EQ(parts[0].place, ReadPart::Place::file);
    EXPECT_EQ(parts[0].at, kData);
    EXPECT_EQ(parts[0].length, 2 * kCluster);
    EXPECT_EQ(parts[1].place, ReadPart::Place::hole);
}

TEST_F(Qcow2DiskTest, MapSaysWhatIsZero) {
    const auto disk = open({Image().entry(1, 1).entry(3, kData + kCluster).bytes});
    std::vector<Extent> extents;
    Request request;
    request.op = Op::extents;
    request.length = disk->traits().size;
    request.extents = &extents;
    ASSERT_EQ(submit_and_wait(*disk, request), 0);
    constexpr std::uint32_t kHole = wire::kStateHole | wire::kStateZero;
    ASSERT_EQ(extents.size(), 4u);
    EXPECT_EQ(extents[0].flags, 0u);
    EXPECT_EQ(extents[1].flags, kHole);
    EXPECT_EQ(extents[1].length, 2 * kCluster);
    EXPECT_EQ(extents[2].flags, 0u);
    EXPECT_EQ(extents[3].flags, kHole);
}

}  // namespace
}  // namespace signpost::test
