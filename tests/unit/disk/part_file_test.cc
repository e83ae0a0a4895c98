// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/part_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;
const std::string kId(32, 'a');

class PartFileTest : public testing::Test {
   protected:
    Result<PartFile> open(std::uint64_t size, const std::string& content = "disk x") {
        return PartFile::open(repository, {kId, content, size});
    }
    static Chunk chunk(std::uint64_t index, std::span<const std::byte> bytes,
                       std::uint64_t length) {
        return {.index = index, .offset = index * kChunk, .length = length, .bytes = bytes};
    }
    static std::vector<std::byte> bytes(std::size_t length, int value) {
        return std::vector<std::byte>(length, static_cast<std::byte>(value));
    }
    std::string file(std::string_view name) const {
        std::ifstream in(tree.path(name), std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    std::uint64_t blocks(std::string_view name) const {
        struct stat status {};
        EXPECT_EQ(::stat(tree.path(name).c_str(), &status), 0);
        return static_cast<std::uint64_t>(status.st_blocks) * 512;
    }

    TempTree tree;
    Repository repository = Repository::open(tree.root(), {}).value();
};

TEST_F(PartFileTest, LandsWhatWasWritten) {
    auto part = open(kChunk + 3);
    ASSERT_TRUE(part);
    const auto first = bytes(kChunk, 7);
    const auto last = bytes(3, 9);
    ASSERT_TRUE(part->write(chunk(0, first, kChunk)));
    ASSERT_TRUE(part->write(chunk(1, last, 3)));
    EXPECT_TRUE(std::filesystem::exists(tree.path(".signpost/" + kId + ".part")));
    ASSERT_TRUE(part->land(repository, "a/b/x.raw", false));
    part->drop();
    EXPECT_EQ(file("a/b/x.raw"), std::string(kChunk, 7) + std::string(3, 9));
    EXPECT_TRUE(std::filesystem::is_empty(tree.path(".signpost")));
}

TEST_F(PartFileTest, ReplacesNothingUnlessTold) {
    tree.write("x.raw", "mine");
    auto part = open(4);
    ASSERT_TRUE(part);
    const auto landed = part->land(repository, "x.raw", false);
    ASSERT_FALSE(landed);
    EXPECT_EQ(landed.error().code, Errc::conflict);
    EXPECT_EQ(file("x.raw"), "mine");
    auto again = open(4);
    ASSERT_TRUE(again->land(repository, "x.raw", true));
    EXPECT_EQ(file("x.raw"), std::string(4, '\0'));
}

TEST_F(PartFileTest, ZeroesStayHoles) {
    auto part = open(4 * kChunk);
    ASSERT_TRUE(part);
    auto mixed = bytes(kChunk, 0);
    mixed[kChunk / 2] = std::byte{1};
    ASSERT_TRUE(part->write(chunk(0, mixed, kChunk)));
    ASSERT_TRUE(part->write(chunk(2, {}, kChunk)));
    ASSERT_TRUE(part->land(repository, "x.raw", false));
    EXPECT_LE(blocks("x.raw"), 128u * 1024);
}

TEST_F(PartFileTest, GoesOnWithTheSameContentOnly) {
    const auto digest = digest_of_zeroes(kChunk).value();
    {
        auto part = open(2 * kChunk);
        ASSERT_TRUE(part);
        EXPECT_FALSE(part->resumed());
        ASSERT_TRUE(part->remember(1, digest));
    }
    {
        auto part = open(2 * kChunk);
        EXPECT_TRUE(part->resumed());
        EXPECT_FALSE(part->known(0));
        EXPECT_EQ(part->known(1), digest);
    }
    EXPECT_FALSE(open(2 * kChunk, "disk y")->resumed());
    EXPECT_FALSE(open(2 * kChunk)->known(1));
    EXPECT_FALSE(open(3 * kChunk)->resumed());
}

TEST_F(PartFileTest, HolesAreMadeWhereOtherBytesWere) {
    const auto rubbish = bytes(kChunk, 5);
    {
        auto part = open(kChunk);
        ASSERT_TRUE(part->write(chunk(0, rubbish, kChunk)));
    }
    auto part = open(kChunk);
    ASSERT_TRUE(part->resumed());
    ASSERT_TRUE(part->write(chunk(0, {}, kChunk)));
    ASSERT_TRUE(part->land(repository, "x.raw", false));
    EXPECT_EQ(file("x.raw"), std::string(kChunk, '\0'));
}

TEST_F(PartFileTest, IsMadeByOneAtATime) {
    auto part = open(kChunk);
    ASSERT_TRUE(part);
    const auto second = open(kChunk);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::conflict);
}

TEST_F(PartFileTest, DigestNeedsEveryChunk) {
    auto part = open(kChunk + 1);
    const auto zero = bytes(1, 0);
    ASSERT_TRUE(part->remember(0, digest_of_zeroes(kChunk).value()));
    EXPECT_FALSE(part->digest());
    ASSERT_TRUE(part->remember(1, digest_of_chunk(zero).value()));
    auto tree_of_zeroes = DigestTree::start(kChunk + 1).value();
    ASSERT_TRUE(tree_of_zeroes.add_zero_chunk());
    ASSERT_TRUE(tree_of_zeroes.add_zero_chunk());
    EXPECT_EQ(part->digest().value(), tree_of_zeroes.finish().value());
}

TEST_F(PartFileTest, FollowsNoLinkOutOfItsDirectory) {
    tree.write("victim", "precious");
    std::filesystem::create_directory(tree.path(".signpost"));
    tree.link("../victim", ".signpost/" + kId + ".part");
    EXPECT_FALSE(open(4));
    EXPECT_EQ(file("victim"), "precious");
    std::filesystem::remove_all(tree.path(".signpost"));
    std::filesystem::create_directory(tree.path("elsewhere"));
    tree.link("elsewhere", ".signpost");
    EXPECT_FALSE(open(4));
    EXPECT_TRUE(std::filesystem::is_empty(tree.path("elsewhere")));
}

TEST_F(PartFileTest, FollowsNoLinkOnTheWayToItsPlace) {
    std::filesystem::create_directory(tree.path("elsewhere"));
    tree.link("elsewhere", "a");
    auto part = open(4);
    EXPECT_FALSE(part->land(repository, "a/x.raw", false));
    EXPECT_TRUE(std::filesystem::is_empty(tree.path("elsewhere")));
}

TEST_F(PartFileTest, KnowsItsOwnLeftovers) {
    auto part = open(4);
    tree.write(".signpost/notes.txt", "");
    EXPECT_EQ(staged_ids(repository), std::vector<std::string>{kId});
    PartFile::remove(repository, kId);
    EXPECT_TRUE(staged_ids(repository).empty());
}

TEST(JobId, Is32HexadecimalDigits) {
    EXPECT_TRUE(is_job_id(std::string(32, '0')));
    EXPECT_FALSE(is_job_id(std::string(31, '0')));
    EXPECT_FALSE(is_job_id(std::string(31, '0') + "/"));
    EXPECT_FALSE(is_job_id(std::string(31, '0') + "A"));
    EXPECT_FALSE(is_job_id("../../../../../../etc/passwd0000"));
}

}  // namespace
}  // namespace signpost::test
