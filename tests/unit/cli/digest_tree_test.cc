// SPDX-License-Identifier: BSD-3-Clause
//
// The known answers were computed with another SHA-256, from the definition in digest_tree.h.

#include "nbd-server/disk/digest_tree.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace signpost {
namespace {

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;

// Byte i of the content is i modulo 251.
std::vector<std::byte> counting(std::uint64_t size) {
    std::vector<std::byte> bytes(size);
    for (std::uint64_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<std::byte>(i % 251);
    }
    return bytes;
}

std::string digest_of(std::span<const std::byte> bytes) {
    auto tree = DigestTree::start(bytes.size());
    while (tree && tree->next_chunk_bytes() > 0) {
        const auto chunk = bytes.first(tree->next_chunk_bytes());
        EXPECT_TRUE(tree->add(chunk));
        bytes = bytes.subspan(chunk.size());
    }
    return tree->finish().value_or("failed");
}

std::string digest_of_zeroes(std::uint64_t size) {
    auto tree = DigestTree::start(size);
    while (tree && tree->next_chunk_bytes() > 0) {
        EXPECT_TRUE(tree->add_zero_chunk());
    }
    return tree->finish().value_or("failed");
}

TEST(DigestTree, KnownAnswers) {
    EXPECT_EQ(digest_of(counting(0)),
              "sha256-32k:af5570f5a1810b7af78caf4bc70a660f"
              "0df51e42baf91d4de5b2328de0e83dfc");
    EXPECT_EQ(digest_of(counting(1)),
              "sha256-32k:ade6c22b656a3df5cd0e84b3c72b49af"
              "b889b46c16988140920c4afdf6b31ffe");
    EXPECT_EQ(digest_of(counting(512)),
              "sha256-32k:9b9790bd752619821ff81062eedf3196"
              "40b44f845f57d5ecb19b197d72e13c63");
    EXPECT_EQ(digest_of(counting(kChunk - 1)),
              "sha256-32k:ab64d6850ae3c96f79e68029bbef2059"
              "a59b8cb8e222fbcdef877ec7f9d802f8");
    EXPECT_EQ(digest_of(counting(kChunk)),
              "sha256-32k:6568311e795e78c0b2312ec16e19e684"
              "584b51a8d25aac87cf7a501a5f29f6c4");
    EXPECT_EQ(digest_of(counting(kChunk + 1)),
              "sha256-32k:210c8193a26c161340efa9d13282997d"
              "03863fa258f7899f8069f85d0622e6e0");
    EXPECT_EQ(digest_of(counting(3 * kChunk + 777)),
              "sha256-32k:e55308c09ed420fa9e30712ddaca2871"
              "d302661623e8a60e4817545d4f576175");
}

TEST(DigestTree, KnownZeroes) {
    EXPECT_EQ(digest_of_zeroes(512),
              "sha256-32k:114ee93d2be74f56089c88c0068fce1f"
              "0ba8f12b5ed70abbedd9fcd913623328");
    EXPECT_EQ(digest_of_zeroes(kChunk),
              "sha256-32k:36b44e457f880d14bf25a538ba656473"
              "260c0b106e77b2d68e77eb9c7e1e6dae");
    EXPECT_EQ(digest_of_zeroes(kChunk + 1),
              "sha256-32k:059308a09c3a06172c7d34921136178c"
              "7dded2830499cf9f8a792fba1b462fca");
    EXPECT_EQ(digest_of_zeroes(5 * kChunk),
              "sha256-32k:ec55a29ecf4be584f2c2e89c2040edc7"
              "43111ff628795b39cbccc8938dd57e78");
}

TEST(DigestTree, ZeroChunksAreWhatZeroBytesAre) {
    for (const std::uint64_t size : {std::uint64_t{1}, kChunk, 2 * kChunk, 2 * kChunk + 512}) {
        EXPECT_EQ(digest_of_zeroes(size), digest_of(std::vector<std::byte>(size))) << size;
    }
}

TEST(DigestTree, SizeIsPartOfTheContent) {
    EXPECT_NE(digest_of_zeroes(kChunk), digest_of_zeroes(2 * kChunk));
    EXPECT_NE(digest_of_zeroes(512), digest_of_zeroes(1024));
}

TEST(DigestTree, OneBitMatters) {
    auto bytes = counting(kChunk + 1);
    const std::string before = digest_of(bytes);
    bytes.back() ^= std::byte{1};
    EXPECT_NE(digest_of(bytes), before);
}

TEST(DigestTree, OneBitInZeroesMatters) {
    for (const std::uint64_t at : {std::uint64_t{0}, kChunk / 2, kChunk - 1}) {
        std::vector<std::byte> bytes(kChunk);
        bytes[at] = std::byte{1};
        EXPECT_NE(digest_of(bytes), digest_of_zeroes(kChunk)) << at;
    }
}

TEST(DigestTree, OrderMatters) {
    auto bytes = counting(2 * kChunk);
    std::vector<std::byte> swapped(bytes.begin() + kChunk, bytes.end());
    swapped.insert(swapped.end(), bytes.begin(), bytes.begin() + kChunk);
    EXPECT_NE(digest_of(swapped), digest_of(bytes));
}

TEST(DigestTree, RefusesAChunkOfAnotherLength) {
    auto tree = DigestTree::start(kChunk + 10);
    ASSERT_TRUE(tree);
    EXPECT_FALSE(tree->add(counting(kChunk - 1)));
    EXPECT_FALSE(tree->add(counting(kChunk + 1)));
    ASSERT_TRUE(tree->add(counting(kChunk)));
    EXPECT_FALSE(tree->add(counting(kChunk)));
    EXPECT_TRUE(tree->add(counting(10)));
}

TEST(DigestTree, RefusesMoreThanTheDisk) {
    auto tree = DigestTree::start(10);
    ASSERT_TRUE(tree && tree->add(counting(10)));
    EXPECT_FALSE(tree->add({}));
    EXPECT_FALSE(tree->add_zero_chunk());
}

TEST(DigestTree, GivesNothingBeforeTheEnd) {
    auto tree = DigestTree::start(2 * kChunk);
    ASSERT_TRUE(tree && tree->add_zero_chunk());
    EXPECT_FALSE(tree->finish());
}

}  // namespace
}  // namespace signpost
