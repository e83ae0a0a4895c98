// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/disk_start.h"

#include <gtest/gtest.h>

#include <cstring>

namespace signpost::test {

using Start = std::vector<std::byte>;

constexpr unsigned char kEfiSystem[] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                        0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
constexpr unsigned char kBiosBoot[] = {0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e,
                                       0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49};

Start gpt() {
    Start start(kDiskStart);
    std::memcpy(start.data() + 512, "EFI PART", 8);
    return start;
}

void add_partition(Start& start, std::size_t index, const unsigned char (&type)[16]) {
    std::memcpy(start.data() + 1024 + index * 128, type, sizeof type);
}

TEST(DiskStart, AnEfiSystemPartitionWantsEfi) {
    Start start = gpt();
    EXPECT_FALSE(boots_with_efi(start));
    add_partition(start, 3, kEfiSystem);
    EXPECT_TRUE(boots_with_efi(start));
}

TEST(DiskStart, WhatABiosCanBootIsBootedByABios) {
    Start hybrid = gpt();
    add_partition(hybrid, 0, kEfiSystem);
    add_partition(hybrid, 1, kBiosBoot);
    EXPECT_FALSE(boots_with_efi(hybrid));
    Start with_code = gpt();
    add_partition(with_code, 0, kEfiSystem);
    with_code[0] = std::byte{0xeb};
    EXPECT_FALSE(boots_with_efi(with_code));
}

TEST(DiskStart, ShortOrStrangeStartsAreABios) {
    for (const std::size_t size : {0U, 1U, 511U, 512U, 1024U, 1151U}) {
        EXPECT_FALSE(boots_with_efi(Start(size, std::byte{0xff}))) << size;
    }
    Start cut = gpt();
    add_partition(cut, 0, kEfiSystem);
    cut.resize(1024 + 128);
    EXPECT_TRUE(boots_with_efi(cut));
}

TEST(DiskStart, AServerThatIsAwayIsAnError) {
    const auto start = read_disk_start(*NbdUri::parse("nbd+unix:///a?socket=/nonexistent"));
    ASSERT_FALSE(start);
    EXPECT_EQ(start.error().code, Errc::unavailable);
}

}  // namespace signpost::test
