// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/image_header.h"

#include <gtest/gtest.h>

#include "tests/unit/disk/header_bytes.h"

namespace signpost::test {
namespace {

constexpr ImageFormat kQcow2 = ImageFormat::qcow2;

// Expects a refusal whose message has PART in it.
void expect_refused(const Result<ImageHeader>& header, std::string_view part) {
    ASSERT_FALSE(header.has_value()) << "size " << header->size;
    EXPECT_EQ(header.error().code, Errc::invalid);
    EXPECT_NE(header.error().message.find(part), std::string::npos) << header.error().message;
    EXPECT_EQ(header.error().message.find('\n'), std::string::npos);
}

std::string vmdk(std::string_view descriptor, std::uint64_t capacity = 2048) {
    std::string bytes(65536, '\0');
    bytes.replace(0, 4, "KDMV");
    put_little<std::uint32_t>(bytes, 4, 1);
    put_little<std::uint64_t>(bytes, 12, capacity);
    put_little<std::uint64_t>(bytes, 28, 1);
    put_little<std::uint64_t>(bytes, 36, 20);
    bytes.replace(512, descriptor.size(), descriptor);
    return bytes;
}

std::string vdi() {
    std::string bytes(4096, '\0');
    put_little<std::uint32_t>(bytes, 0x40, 0xbeda107f);
    put_little<std::uint32_t>(bytes, 0x44, 0x00010001);
    put_little<std::uint32_t>(bytes, 0x4c, 1);
    put_little<std::uint32_t>(bytes, 0x168, 512);
    put_little<std::uint64_t>(bytes, 0x170, 3 << 20);
    put_little<std::uint32_t>(bytes, 0x178, 1 << 20);
    put_little<std::uint32_t>(bytes, 0x180, 3);
    return bytes;
}

std::string vpc(std::uint32_t type, std::uint64_t size) {
    std::string footer(512, '\0');
    footer.replace(0, 8, "conectix");
    footer.replace(28, 4, "win ");
    put_big<std::uint64_t>(footer, 48, size);
    put_big<std::uint32_t>(footer, 60, type);
    return type == 2 ? std::string(size, 'x') + footer : footer + std::string(4096, '\0') + footer;
}

constexpr std::size_t kVhdxRegions = 192 << 10;
constexpr std::size_t kVhdxMetadata = 1 << 20;

std::string vhdx(std::uint64_t size, std::uint32_t flags) {
    std::string bytes(2 << 20, '\0');
    bytes.replace(0, 8, "vhdxfile");
    bytes.replace(kVhdxRegions, 4, "regi");
    put_little<std::uint32_t>(bytes, kVhdxRegions + 8, 1);
    bytes.replace(kVhdxRegions + 16, 16,
                  "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e");
    put_little<std::uint64_t>(bytes, kVhdxRegions + 32, kVhdxMetadata);
    bytes.replace(kVhdxMetadata, 8, "metadata");
    put_little<std::uint16_t>(bytes, kVhdxMetadata + 10, 2);
    bytes.replace(kVhdxMetadata + 32, 16,
                  "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b");
    put_little<std::uint32_t>(bytes, kVhdxMetadata + 48, 65536);
    put_little<std::uint32_t>(bytes, kVhdxMetadata + 52, 8);
    put_little<std::uint32_t>(bytes, kVhdxMetadata + 65536 + 4, flags);
    bytes.replace(kVhdxMetadata + 64, 16,
                  "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8");
    put_little<std::uint32_t>(bytes, kVhdxMetadata + 80, 65544);
    put_little<std::uint32_t>(bytes, kVhdxMetadata + 84, 8);
    put_little<std::uint64_t>(bytes, kVhdxMetadata + 65544, size);
    return bytes;
}

TEST(ImageHeader, RawDiskIsAsLargeAsItsFile) {
    const auto header = header_of(ImageFormat::raw, std::string(1000, 'x'));
    ASSERT_TRUE(header.has_value());
    EXPECT_EQ(header->size, 1000u);
}

TEST(ImageHeader, RawIsNeverProbed) {
    const auto header =
        header_of(ImageFormat::raw, Qcow2Bytes().backing("/etc/passwd", "raw").bytes);
    ASSERT_TRUE(header.has_value());
    EXPECT_EQ(header->size, 65536u);
    EXPECT_FALSE(header->backing.has_value());
}

TEST(ImageHeader, Qcow2GivesSizeAndBacking) {
    const auto header = header_of(kQcow2, Qcow2Bytes(5 << 20).backing("base.raw", "raw").bytes);
    ASSERT_TRUE(header.has_value()) << header.error().message;
    EXPECT_EQ(header->size, 5u << 20);
    EXPECT_EQ(header->backing, (BackingReference{.file = "base.raw", .format = "raw"}));
}

TEST(ImageHeader, Qcow2Version2HasNoFeatureBits) {
    Qcow2Bytes image;
    put_big<std::uint32_t>(image.bytes, 4, 2);
    put_big<std::uint64_t>(image.bytes, 72, 0);  // end of extensions, where version 3 has features
    EXPECT_TRUE(header_of(kQcow2, image.bytes).has_value());
}

TEST(ImageHeader, Qcow2RefusesAnotherMagic) {
    expect_refused(header_of(kQcow2, std::string(4096, 'x')), "not a qcow2 image");
}

TEST(ImageHeader, Qcow2RefusesUnknownVersion) {
    Qcow2Bytes image;
    put_big<std::uint32_t>(image.bytes, 4, 4);
    expect_refused(header_of(kQcow2, image.bytes), "version 4");
}

TEST(ImageHeader, Qcow2RefusesDataFileBit) {
    expect_refused(header_of(kQcow2, Qcow2Bytes().incompatible(4).bytes), "another file");
}

TEST(ImageHeader, Qcow2RefusesDataFileNameWithoutItsBit) {
    expect_refused(header_of(kQcow2, Qcow2Bytes().extension(0x44415441, "/etc/passwd").bytes),
                   "another file");
}

TEST(ImageHeader, Qcow2RefusesDataFileNameBehindOtherExtensions) {
    Qcow2Bytes image;
    image.extension(0x6803f857, std::string(48, 'f')).extension(0x44415441, "/etc/passwd");
    expect_refused(header_of(kQcow2, image.bytes), "another file");
}

TEST(ImageHeader, Qcow2RefusesUnknownIncompatibleFeature) {
    expect_refused(header_of(kQcow2, Qcow2Bytes().incompatible(1 << 5).bytes), "0x20");
}

TEST(ImageHeader, Qcow2TakesDirtyCompressionAndExtendedL2) {
    Qcow2Bytes image;
    image.incompatible(1 | 8 | 16).compression(1);
    EXPECT_TRUE(header_of(kQcow2, image.bytes).has_value());
}

TEST(ImageHeader, Qcow2RefusesCompressionThatItsFeaturesDeny) {
    Qcow2Bytes silent;
    expect_refused(header_of(kQcow2, silent.compression(1).bytes), "compression type 1");
    Qcow2Bytes unknown;
    expect_refused(header_of(kQcow2, unknown.incompatible(8).compression(2).bytes),
                   "compression type 2");
    expect_refused(header_of(kQcow2, Qcow2Bytes().incompatible(8).bytes), "compression type 0");
}

TEST(ImageHeader, Qcow2RefusesCorruptMark) {
    expect_refused(header_of(kQcow2, Qcow2Bytes().incompatible(2).bytes), "qemu-img check");
}

TEST(ImageHeader, Qcow2RefusesEncryption) {
    Qcow2Bytes image;
    put_big<std::uint32_t>(image.bytes, 32, 2);
    expect_refused(header_of(kQcow2, image.bytes), "encrypted");
}

TEST(ImageHeader, Qcow2RefusesClusterBitsOutOfRange) {
    for (const std::uint32_t bits : {0u, 8u, 22u, 63u, 64u, 0xffffffffu}) {
        Qcow2Bytes image;
        put_big<std::uint32_t>(image.bytes, 20, bits);
        expect_refused(header_of(kQcow2, image.bytes), "cluster size");
    }
}

TEST(ImageHeader, Qcow2RefusesAbsurdSizes) {
    for (const std::uint64_t size : {~0ull, 1ull << 63, 1ull << 62}) {
        expect_refused(header_of(kQcow2, Qcow2Bytes(size).bytes), "impossible disk size");
    }
}

TEST(ImageHeader, Qcow2RefusesAbsurdL1Table) {
    Qcow2Bytes image;
    put_big<std::uint32_t>(image.bytes, 36, 0xffffffff);
    expect_refused(header_of(kQcow2, image.bytes), "L1 table");
}

TEST(ImageHeader, Qcow2RefusesL1TableThatIsTooSmallForTheDisk) {
    expect_refused(header_of(kQcow2, Qcow2Bytes((512ull << 20) + 512).bytes), "L1 table");
}

TEST(ImageHeader, Qcow2RefusesBackingNameOutsideTheHeader) {
    Qcow2Bytes image;
    put_big<std::uint64_t>(image.bytes, 8, 65536 - 4);
    put_big<std::uint32_t>(image.bytes, 16, 8);
    expect_refused(header_of(kQcow2, image.bytes), "outside the header");
    put_big<std::uint64_t>(image.bytes, 8, ~0ull);
    expect_refused(header_of(kQcow2, image.bytes), "outside the header");
}

TEST(ImageHeader, Qcow2RefusesBackingNameOf1024Bytes) {
    EXPECT_TRUE(header_of(kQcow2, Qcow2Bytes().backing(std::string(1023, 'b'), "raw").bytes));
    expect_refused(header_of(kQcow2, Qcow2Bytes().backing(std::string(1024, 'b'), "raw").bytes),
                   "outside the header");
}

TEST(ImageHeader, Qcow2RefusesExtensionLongerThanTheHeader) {
    Qcow2Bytes image;
    put_big<std::uint32_t>(image.bytes, 104, 0x12345678);
    put_big<std::uint32_t>(image.bytes, 108, 0xffffffff);
    expect_refused(header_of(kQcow2, image.bytes), "extension");
}

TEST(ImageHeader, Qcow2RefusesTooManyExtensions) {
    Qcow2Bytes image;
    for (int i = 0; i < 65; ++i) {
        image.extension(0x12345678, "");
    }
    expect_refused(header_of(kQcow2, image.bytes), "too many extensions");
}

TEST(ImageHeader, Qcow2IsReadAsFarAsItGoes) {
    const std::string whole = Qcow2Bytes().backing("base.raw", "raw").bytes;
    for (std::size_t length = 0; length < 200; ++length) {
        const auto header = header_of(kQcow2, whole.substr(0, length));
        EXPECT_TRUE(!header || header->size == 1u << 20) << length;
    }
    expect_refused(header_of(kQcow2, whole.substr(0, 71)), "cut off");
}

TEST(ImageHeader, VmdkGivesCapacity) {
    const auto header = header_of(ImageFormat::vmdk, vmdk("parentCID=ffffffff\n"
                                                          "RW 2048 SPARSE \"old name.vmdk\"\n"));
    ASSERT_TRUE(header.has_value()) << header.error().message;
    EXPECT_EQ(header->size, 2048u * 512);
}

TEST(ImageHeader, VmdkRefusesTextDescriptor) {
    expect_refused(
        header_of(ImageFormat::vmdk,
                  "# Disk DescriptorFile\nRW 1 FLAT \"/etc/passwd\" 0\n" + std::string(512, '\n')),
        "other files");
}

TEST(ImageHeader, VmdkRefusesExtentsInOtherFiles) {
    for (const char* extent :
         {"RW 2048 FLAT \"/etc/passwd\" 0", "RW 2048 SPARSE \"/etc/passwd\"",
          "  rw 2048 flat \"x\" 0", "RDONLY 2048 VMFS \"x\"", "RW 2048 SPARSE \"../x.vmdk\""}) {
        expect_refused(header_of(ImageFormat::vmdk, vmdk(std::string(extent) + "\n")),
                       "another file");
    }
}

TEST(ImageHeader, VmdkRefusesSecondExtent) {
    expect_refused(
        header_of(ImageFormat::vmdk, vmdk("RW 1024 SPARSE \"a\"\nRW 1024 SPARSE \"b\"\n")),
        "another file");
}

TEST(ImageHeader, VmdkRefusesParents) {
    expect_refused(header_of(ImageFormat::vmdk, vmdk("parentCID=12345678\nRW 1 SPARSE \"a\"\n")),
                   "parent");
    expect_refused(header_of(ImageFormat::vmdk,
                             vmdk("RW 1 SPARSE \"a\"\nparentFileNameHint=\"/etc/passwd\"\n")),
                   "parent");
}

TEST(ImageHeader, VmdkLooksBehindTheDescriptorsStatedLength) {
    std::string bytes = vmdk("RW 1 SPARSE \"a\"\n" + std::string(600, '\n') +
                             "parentFileNameHint=\"/etc/passwd\"\n");
    put_little<std::uint64_t>(bytes, 36, 1);
    expect_refused(header_of(ImageFormat::vmdk, bytes), "parent");
}

TEST(ImageHeader, VmdkRefusesCapacityThatIsNoSize) {
    const char* descriptor = "RW 1 SPARSE \"a\"\n";
    expect_refused(header_of(ImageFormat::vmdk, vmdk(descriptor, 1ull << 54)), "impossible");
    expect_refused(header_of(ImageFormat::vmdk, vmdk(descriptor, ~0ull)), "impossible");
    expect_refused(header_of(ImageFormat::vmdk, vmdk(descriptor, 0)), "no size");
}

TEST(ImageHeader, VmdkRefusesPartOfASplitImage) {
    std::string bytes = vmdk("");
    put_little<std::uint64_t>(bytes, 28, 0);
    expect_refused(header_of(ImageFormat::vmdk, bytes), "split");
}

TEST(ImageHeader, VmdkStreamNeedsItsFooter) {
    std::string bytes = vmdk("RW 1 SPARSE \"a\"\n");
    put_little<std::uint64_t>(bytes, 56, ~0ull);
    expect_refused(header_of(ImageFormat::vmdk, bytes), "footer");
    bytes.replace(bytes.size() - 1024, 512, bytes.substr(0, 512));
    EXPECT_TRUE(header_of(ImageFormat::vmdk, bytes).has_value());
    put_little<std::uint64_t>(bytes, bytes.size() - 1024 + 12, 4096);
    expect_refused(header_of(ImageFormat::vmdk, bytes), "another disk size");
}

TEST(ImageHeader, VdiGivesSizeInWholeSectors) {
    std::string bytes = vdi();
    EXPECT_EQ(header_of(ImageFormat::vdi, bytes)->size, 3u << 20);
    put_little<std::uint64_t>(bytes, 0x170, (2 << 20) + 1);
    EXPECT_EQ(header_of(ImageFormat::vdi, bytes)->size, (2u << 20) + 512);
}

TEST(ImageHeader, VdiRefusesDifferencingImages) {
    std::string bytes = vdi();
    put_little<std::uint32_t>(bytes, 0x4c, 4);
    expect_refused(header_of(ImageFormat::vdi, bytes), "differencing");
    bytes = vdi();
    bytes[0x1b8] = 1;
    expect_refused(header_of(ImageFormat::vdi, bytes), "differencing");
}

TEST(ImageHeader, VdiRefusesSizeBeyondItsBlocks) {
    std::string bytes = vdi();
    put_little<std::uint64_t>(bytes, 0x170, ~0ull);
    expect_refused(header_of(ImageFormat::vdi, bytes), "impossible");
}

TEST(ImageHeader, VpcGivesCurrentSize) {
    EXPECT_EQ(header_of(ImageFormat::vpc, vpc(2, 8192))->size, 8192u);
    EXPECT_EQ(header_of(ImageFormat::vpc, vpc(3, 5 << 20))->size, 5u << 20);
}

TEST(ImageHeader, VpcBelievesTheEndOfAFixedImage) {
    std::string bytes = vpc(2, 8192);
    bytes.replace(0, 512, vpc(2, 4096).substr(4096));  // what a guest may write to its disk
    EXPECT_EQ(header_of(ImageFormat::vpc, bytes)->size, 8192u);
}

TEST(ImageHeader, VpcRefusesDifferencingImages) {
    expect_refused(header_of(ImageFormat::vpc, vpc(4, 8192)), "differencing");
}

TEST(ImageHeader, VpcRefusesFixedSizeBeyondTheFile) {
    std::string bytes = vpc(2, 8192);
    put_big<std::uint64_t>(bytes, 8192 + 48, 1ull << 40);
    expect_refused(header_of(ImageFormat::vpc, bytes), "impossible");
}

TEST(ImageHeader, VpcRefusesOtherContent) {
    expect_refused(header_of(ImageFormat::vpc, std::string(8192, 'x')), "not a vpc");
}

TEST(ImageHeader, VhdxGivesSize) {
    const auto header = header_of(ImageFormat::vhdx, vhdx(7 << 20, 0));
    ASSERT_TRUE(header.has_value()) << header.error().message;
    EXPECT_EQ(header->size, 7u << 20);
}

TEST(ImageHeader, VhdxRefusesDifferencingImages) {
    expect_refused(header_of(ImageFormat::vhdx, vhdx(7 << 20, 2)), "differencing");
}

TEST(ImageHeader, VhdxRefusesAbsurdSizes) {
    expect_refused(header_of(ImageFormat::vhdx, vhdx((64ull << 40) + 512, 0)), "impossible");
    expect_refused(header_of(ImageFormat::vhdx, vhdx(~0ull, 0)), "impossible");
}

TEST(ImageHeader, VhdxRefusesAbsurdTables) {
    std::string bytes = vhdx(7 << 20, 0);
    put_little<std::uint32_t>(bytes, kVhdxRegions + 8, 0xffffffff);
    expect_refused(header_of(ImageFormat::vhdx, bytes), "entries");
    bytes = vhdx(7 << 20, 0);
    put_little<std::uint64_t>(bytes, kVhdxRegions + 32, ~0ull);
    expect_refused(header_of(ImageFormat::vhdx, bytes), "cut off");
}

}  // namespace
}  // namespace signpost::test
