// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/chunk_sweep.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/wire/protocol.h"

namespace signpost::test {
namespace {

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;

// Chunk i holds the byte i + 1, chunks in HOLES zeroes; knows what was read.
class StripedDisk final : public Disk {
   public:
    explicit StripedDisk(std::uint64_t size) { traits_.size = size; }

    const DiskTraits& traits() const override { return traits_; }

    std::set<std::uint64_t> holes;
    std::set<std::uint64_t> reads;  // chunks
    std::uint64_t broken_at = UINT64_MAX;
    int map_error = 0;
    std::uint64_t largest_extent = UINT64_MAX;

   private:
    void start(Request& request) override {
        const std::uint64_t chunk = request.offset / kChunk;
        if (request.op == Op::extents) {
            const bool hole = holes.contains(chunk);
            const std::uint64_t length = (chunk + 1) * kChunk - request.offset;
            *request.extents = {{std::min(length, largest_extent), hole ? wire::kStateZero : 0}};
            request.done(request, map_error);
            return;
        }
        reads.insert(chunk);
        std::memset(request.buffer, holes.contains(chunk) ? 0 : static_cast<int>(chunk + 1),
                    request.length);
        request.done(request, chunk == broken_at ? EIO : 0);
    }

    DiskTraits traits_;
};

struct Taken {
    std::mutex mutex;
    std::map<std::uint64_t, int> first_bytes;  // by chunk; -1: said to be zero

    SweepPlan plan() {
        SweepPlan plan;
        plan.take = [this](const Chunk& chunk) -> Result<void> {
            const std::lock_guard lock(mutex);
            first_bytes[chunk.index] =
                chunk.bytes.empty() ? -1 : std::to_integer<int>(chunk.bytes.front());
            return {};
        };
        return plan;
    }
};

TEST(ChunkSweep, GivesEachChunkOnceAndTheShortLastOne) {
    StripedDisk disk(40 * kChunk + 5);
    Taken taken;
    auto plan = taken.plan();
    std::uint64_t done = 0;
    plan.watch = [&](std::uint64_t bytes) -> Result<void> {
        done = bytes;
        return {};
    };
    ASSERT_TRUE(sweep(disk, plan));
    EXPECT_EQ(taken.first_bytes.size(), 41u);
    for (const auto& [index, byte] : taken.first_bytes) {
        EXPECT_EQ(byte, static_cast<int>(index + 1));
    }
    EXPECT_EQ(done, disk.traits().size);
}

TEST(ChunkSweep, EmptyDiskHasNoChunks) {
    StripedDisk disk(0);
    Taken taken;
    ASSERT_TRUE(sweep(disk, taken.plan()));
    EXPECT_TRUE(taken.first_bytes.empty());
}

TEST(ChunkSweep, FindsZeroesWithoutAMap) {
    StripedDisk disk(3 * kChunk);
    disk.holes = {1};
    Taken taken;
    ASSERT_TRUE(sweep(disk, taken.plan()));
    EXPECT_EQ(taken.first_bytes[1], -1);
    EXPECT_EQ(disk.reads.size(), 3u);
}

TEST(ChunkSweep, TrustedHolesAreNotRead) {
    StripedDisk disk(600 * kChunk + 1);
    for (std::uint64_t i = 0; i < 599; ++i) {
        disk.holes.insert(i);
    }
    disk.largest_extent = kChunk / 2;
    Taken taken;
    auto plan = taken.plan();
    plan.trust_map = true;
    ASSERT_TRUE(sweep(disk, plan));
    EXPECT_EQ(taken.first_bytes.size(), 601u);
    EXPECT_EQ(disk.reads, (std::set<std::uint64_t>{599, 600}));
}

TEST(ChunkSweep, ReadsAllWhenTheMapFails) {
    StripedDisk disk(4 * kChunk);
    disk.holes = {2};
    disk.map_error = EIO;
    Taken taken;
    auto plan = taken.plan();
    plan.trust_map = true;
    ASSERT_TRUE(sweep(disk, plan));
    EXPECT_EQ(disk.reads.size(), 4u);
}

TEST(ChunkSweep, PassesOverWhatIsNotWanted) {
    StripedDisk disk(8 * kChunk);
    Taken taken;
    auto plan = taken.plan();
    plan.wanted = [](std::uint64_t index) { return index % 2 == 1; };
    ASSERT_TRUE(sweep(disk, plan));
    EXPECT_EQ(disk.reads, (std::set<std::uint64_t>{1, 3, 5, 7}));
}

TEST(ChunkSweep, SaysWhereItCannotBeRead) {
    StripedDisk disk(64 * kChunk);
    disk.broken_at = 7;
    Taken taken;
    const auto swept = sweep(disk, taken.plan());
    ASSERT_FALSE(swept);
    EXPECT_EQ(swept.error().code, Errc::io);
    EXPECT_NE(swept.error().message.find(std::to_string(7 * kChunk)), std::string::npos);
    EXPECT_LT(disk.reads.size(), 64u);
}

TEST(ChunkSweep, EndsWithTheErrorOfTheTakerOrTheWatcher) {
    StripedDisk disk(100 * kChunk);
    SweepPlan plan;
    plan.take = [](const Chunk&) -> Result<void> { return fail(Errc::full, "no room"); };
    EXPECT_EQ(sweep(disk, plan).error().code, Errc::full);
    Taken taken;
    plan = taken.plan();
    plan.watch = [](std::uint64_t) -> Result<void> { return fail(Errc::unavailable, "stop"); };
    EXPECT_EQ(sweep(disk, plan).error().message, "stop");
}

TEST(ChunkSweep, KeepsToTheRate) {
    StripedDisk disk(6 * kChunk);
    Taken taken;
    auto plan = taken.plan();
    plan.rate = 20 * kChunk;
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(sweep(disk, plan));
    // The first is free, and credit for kSweepWatch is given.
    EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(40));
}

TEST(MappedBytes, CountsWhatIsNoHole) {
    StripedDisk disk(10 * kChunk);
    disk.holes = {0, 1, 2, 9};
    EXPECT_EQ(mapped_bytes(disk), 6 * kChunk);
    disk.map_error = EIO;
    EXPECT_EQ(mapped_bytes(disk), 10 * kChunk);
}

}  // namespace
}  // namespace signpost::test
