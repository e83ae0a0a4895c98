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
              "sha256-4m:af5570f5a1810b7af78caf4bc70a660f"
              "0df51e42baf91d4de5b2328de0e83dfc");
    EXPECT_EQ(digest_of(counting(1)),
              "sha256-4m:66a61367c8aea3af0cd91e0cf7f5c72e"
              "313b714ac449c2de14256a125dd87e97");
    EXPECT_EQ(digest_of(counting(512)),
              "sha256-4m:8380ee8bda1b7deedb61f42544fc7da5"
              "7b12a881d40594e9ff8490d13cff2ef0");
    EXPECT_EQ(digest_of(counting(kChunk - 1)),
              "sha256-4m:c411f809f77bdfc4d2823294f8c95819"
              "f39e7e64e6a0b640644828938737c510");
    EXPECT_EQ(digest_of(counting(kChunk)),
              "sha256-4m:4c0d7f4ba754b7143a3e1e911d2f34f9"
              "40cc0e32f6c62fad32b6562a3e59ea4e");
    EXPECT_EQ(digest_of(counting(kChunk + 1)),
              "sha256-4m:2ff6590646b052b704f24be6553234ca"
              "dd43d9d0c7cc6e18e243c8bd8198e56e");
    EXPECT_EQ(digest_of(counting(3 * kChunk + 777)),
              "sha256-4m:3276240c7c730a6e02f147f38022d3e3"
              "74e97939c78389ef112a6099a546cb1f");
}

TEST(DigestTree, KnownZeroes) {
    EXPECT_EQ(digest_of_zeroes(512),
              "sha256-4m:14f791cb7d3f60c310657b2fe8ebd7b7"
              "bade663fe71fe0bf256c30e456192715");
    EXPECT_EQ(digest_of_zeroes(kChunk),
              "sha256-4m:fa96d5ff4a300fd6235d5c1b684a646d"
              "cb7e1ddfc78c62736e054c88026b92ff");
    EXPECT_EQ(digest_of_zeroes(kChunk + 1),
              "sha256-4m:187d0400d0f86bacbabe4b3c1ed24ce5"
              "2a06f649d0f366d79a2bd0109c395bb3");
    EXPECT_EQ(digest_of_zeroes(5 * kChunk),
              "sha256-4m:69f8726b346d3521fd7beda2a310c9a2"
              "d3109f65029416212f7182a683475e4b");
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
