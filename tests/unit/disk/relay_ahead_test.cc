// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/relay_ahead.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "nbd-server/disk/relay_services.h"
#include "tests/unit/disk/relay_fixture.h"

namespace signpost::test {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBlock = RelayAhead::kBlock;
constexpr std::uint64_t kDisk = 1024 * kMiB;

class Ahead : public testing::Test {
   protected:
    void read(std::uint64_t offset, std::uint64_t length) {
        now_ += std::chrono::milliseconds{1};
        ahead_.note(offset, length, now_);
    }

    // All blocks that are wanted now, in their order.
    std::vector<std::uint64_t> wanted() {
        std::vector<std::uint64_t> offsets;
        while (const RelayAhead::Block* block = ahead_.next_wanted()) {
            offsets.push_back(block->offset);
        }
        return offsets;
    }

    void read_in_sequence(std::uint64_t from, int times) {
        for (int i = 0; i < times; ++i) {
            read(from + static_cast<std::uint64_t>(i) * 65536, 65536);
        }
    }

    ByteBudget budget_{kDisk};
    RelayAhead ahead_{kDisk, budget_};
    RelayAhead::Time now_ = std::chrono::steady_clock::now();
};

TEST_F(Ahead, WantsNothingForScatteredReads) {
    for (std::uint64_t i = 0; i < 100; ++i) {
        read(i * 7919 % 1000 * kMiB, 4096);
    }
    EXPECT_TRUE(wanted().empty());
}

TEST_F(Ahead, WantsWhatComesNextInASequence) {
    read_in_sequence(0, 3);
    EXPECT_EQ(wanted(), (std::vector<std::uint64_t>{kBlock, 2 * kBlock, 3 * kBlock, 4 * kBlock}));
}

TEST_F(Ahead, WantsNoBlockTwice) {
    read_in_sequence(0, 3);
    EXPECT_FALSE(wanted().empty());
    EXPECT_TRUE(wanted().empty());
}

TEST_F(Ahead, LooksFurtherWhenAClientHadToWait) {
    read_in_sequence(0, 3);
    const std::size_t first = wanted().size();
    ahead_.waited_for(*ahead_.find(kBlock, kBlock));
    EXPECT_EQ(first + wanted().size(), 2 * kMiB / kBlock);
}

TEST_F(Ahead, StaysWithinTheDisk) {
    read_in_sequence(kDisk - 2 * kBlock, 3);
    EXPECT_EQ(wanted(), (std::vector<std::uint64_t>{kDisk - kBlock}));
}

TEST_F(Ahead, HoldsABoundedNumberOfBytes) {
    for (std::uint64_t stream = 0; stream < 20; ++stream) {
        read_in_sequence(stream * 40 * kMiB, 3);
        for (int i = 0; i < 10; ++i) {
            wanted();
            if (RelayAhead::Block* block = ahead_.find(stream * 40 * kMiB + kBlock, 1)) {
                ahead_.waited_for(*block);
            }
        }
    }
    EXPECT_FALSE(budget_.take(kDisk));
    EXPECT_TRUE(budget_.take(kDisk - RelayAhead::kMaxBytes));
}

TEST_F(Ahead, KeepsToTheCommonBudget) {
    ASSERT_TRUE(budget_.take(kDisk - 2 * kBlock));
    read_in_sequence(0, 3);
    EXPECT_EQ(wanted().size(), 2U);
}

TEST_F(Ahead, BlockThatHasBeenTakenIsGone) {
    read_in_sequence(0, 3);
    wanted();
    RelayAhead::Block* block = ahead_.find(kBlock + 10, 100);
    ASSERT_NE(block, nullptr);
    ahead_.arrived(*block);
    ahead_.took(*block, 100);
    ASSERT_EQ(ahead_.find(kBlock, kBlock), block);
    ahead_.took(*block, kBlock - 100);
    EXPECT_EQ(ahead_.find(kBlock, kBlock), nullptr);
}

TEST_F(Ahead, HasNoBlockForARangeAcrossTwo) {
    read_in_sequence(0, 3);
    wanted();
    EXPECT_EQ(ahead_.find(2 * kBlock - 1, 2), nullptr);
}

TEST_F(Ahead, ForgetsAClientThatStopped) {
    read_in_sequence(0, 3);
    for (const std::uint64_t offset : wanted()) {
        ahead_.arrived(*ahead_.find(offset, 1));
    }
    ahead_.forget_before(now_ + std::chrono::seconds{1});
    EXPECT_TRUE(ahead_.empty());
    EXPECT_TRUE(budget_.take(kDisk));
}

TEST_F(Ahead, BlockOfAForgottenClientIsDroppedWhenItComes) {
    read_in_sequence(0, 3);
    wanted();
    RelayAhead::Block* block = ahead_.find(kBlock, 1);
    ahead_.forget_before(now_ + std::chrono::seconds{1});
    ASSERT_EQ(ahead_.find(kBlock, 1), block);
    ahead_.arrived(*block);
    EXPECT_EQ(ahead_.find(kBlock, 1), nullptr);
}

class RelayFar : public RelayTest {
   protected:
    // Two servers that take longer for each read than a near one may. Large reads in a build with
    // sanitizers take seconds: that is no matter here.
    RelayFar() {
        restart_engine(patient_limits());
        beta_.set_manners(far_);
        gamma_.set_manners(far_);
    }

    static RelayLimits patient_limits() {
        RelayLimits limits = short_limits();
        limits.request = std::chrono::minutes{2};
        return limits;
    }

    void open_replicas() {
        open({upstream_of(beta_, "beta", "sha256-32k:aa"),
              upstream_of(gamma_, "gamma", "sha256-32k:aa")});
    }

    void expect_good_parts(std::uint64_t from, std::uint64_t to, std::uint64_t step) {
        for (std::uint64_t at = from; at < to; at += step) {
            ASSERT_EQ(read_parts(at, std::min(step, to - at)), 0);
            ASSERT_TRUE(parts_->matches(content_)) << at;
        }
    }

    void expect_nothing_kept() {
        disk_.reset();
        ByteBudget& ahead = engine_->services().ahead;
        while (!ahead.take(RelaySettings{}.ahead_bytes)) {
            std::this_thread::yield();
        }
    }

    const FaultServer::Manners far_{.read_takes = std::chrono::milliseconds{8}};
    const Bytes content_ = pattern(8 * kMiB + 1000, 1);
    FaultServer beta_{content_};
    FaultServer gamma_{content_};
};

TEST_F(RelayFar, SequenceIsReadAhead) {
    open({upstream_of(beta_, "beta")});
    expect_good_parts(0, content_.size(), 65536);
    EXPECT_LT(beta_.reads(), 60);  // of 129
    expect_nothing_kept();
}

TEST_F(RelayFar, SequenceIntoABufferIsReadAhead) {
    open({upstream_of(beta_, "beta")});
    for (std::uint64_t at = 0; at < content_.size(); at += 50'000) {
        ASSERT_EQ(read(at, std::min<std::uint64_t>(50'000, content_.size() - at)), 0);
        ASSERT_TRUE(matches(content_, at)) << at;
    }
    EXPECT_LT(beta_.reads(), 80);  // of 168
}

TEST_F(RelayFar, WholeBlocksBringTheBytesOfThePeer) {
    open({upstream_of(beta_, "beta")});
    expect_good_parts(0, content_.size(), kBlock);
}

TEST_F(RelayFar, LargeReadsUseManyConnections) {
    open({upstream_of(beta_, "beta")});
    expect_good_parts(0, content_.size(), 8 * kMiB);
    expect_good_parts(0, content_.size(), 8 * kMiB);
    EXPECT_GT(beta_.connections(), 1);
}

TEST_F(RelayFar, ConnectionsThatIdleAreClosedButForOne) {
    RelayLimits limits = patient_limits();
    limits.spare = std::chrono::milliseconds{200};
    restart_engine(limits);
    open({upstream_of(beta_, "beta")});
    ASSERT_NO_FATAL_FAILURE(expect_good_parts(0, content_.size(), 8 * kMiB));
    ASSERT_NO_FATAL_FAILURE(expect_good_parts(0, content_.size(), 8 * kMiB));
    while (beta_.connections() < 2 || beta_.farewells() < beta_.connections() - 1) {
        std::this_thread::yield();
    }
    const int made = beta_.connections();
    expect_good_parts(0, 65536, 65536);
    EXPECT_EQ(beta_.connections(), made);
}

TEST_F(RelayFar, ReadErrorInABlockReachesOnlyWhoAsksForIt) {
    open({upstream_of(beta_, "beta")});
    expect_good_parts(0, kMiB, 65536);
    FaultServer::Manners bad = far_;
    bad.read_error = 5;
    beta_.set_manners(bad);
    while (read_parts(7 * kMiB, 4096) != EIO) {
    }
    beta_.set_manners(far_);
    expect_good_parts(kMiB, 4 * kMiB, 65536);
}

TEST_F(RelayFar, PeerThatDiesWhileItReadsAheadIsReplaced) {
    open_replicas();
    expect_good_parts(0, 2 * kMiB, 65536);
    beta_.kill();
    expect_good_parts(2 * kMiB, content_.size(), 65536);
    EXPECT_GT(gamma_.reads(), 0);
    expect_nothing_kept();
}

TEST_F(RelayFar, PeerThatFreezesWhileItReadsAheadIsOvertaken) {
    open_replicas();
    expect_good_parts(0, 2 * kMiB, 65536);
    beta_.freeze();
    expect_good_parts(2 * kMiB, 4 * kMiB, 65536);
    beta_.thaw();
}

TEST_F(RelayFar, PeerIsLeftInGoodOrderWhenTheClientGoes) {
    open({upstream_of(beta_, "beta")});
    expect_good_parts(0, 2 * kMiB, 65536);
    ASSERT_GT(beta_.reads(), beta_.answered());  // some are on their way
    disk_.reset();
    while (beta_.farewells() < beta_.connections() && beta_.untaken() == 0) {
        std::this_thread::yield();
    }
    EXPECT_EQ(beta_.untaken(), 0);
    EXPECT_EQ(beta_.answered(), beta_.reads());
}

TEST_F(RelayFar, WritableDiskIsNeverReadAhead) {
    FaultServer::Manners writable = far_;
    writable.read_only = false;
    beta_.set_manners(writable);
    open({upstream_of(beta_, "beta")}, false);
    for (std::uint64_t at = 0; at < kMiB; at += 65536) {
        ASSERT_EQ(read(at, 65536), 0);
    }
    EXPECT_EQ(beta_.reads(), 16);
}

}  // namespace
}  // namespace signpost::test
