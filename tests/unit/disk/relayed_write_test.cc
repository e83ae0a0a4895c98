// SPDX-License-Identifier: BSD-3-Clause
//
// Writes through a relay: what was flushed survives any death of the server, and a flush never
// succeeds over a write that is gone (rows R4, R14, R16 and R17).

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/unit/disk/relay_fixture.h"

namespace signpost::test {

constexpr std::uint64_t kSize = 1 << 20;

class RelayedWrite : public RelayTest {
   protected:
    void open_writable(FaultServer::Manners manners = {}) {
        manners.read_only = false;
        beta_.set_manners(manners);
        open({upstream_of(beta_, "beta")}, false);
    }

    Bytes written(std::uint64_t offset, std::uint64_t length) const {
        const Bytes content = beta_.content();
        const auto begin = content.begin() + static_cast<std::ptrdiff_t>(offset);
        return {begin, begin + static_cast<std::ptrdiff_t>(length)};
    }

    FaultServer beta_{pattern(kSize, 1)};
};

TEST_F(RelayedWrite, ReachesThePeer) {
    open_writable();
    const Bytes data = pattern(10'000, 9);
    ASSERT_EQ(write(777, data), 0);
    EXPECT_EQ(written(777, data.size()), data);
}

TEST_F(RelayedWrite, NeverGrowsTheDisk) {
    open_writable();
    EXPECT_EQ(write(kSize - 1, Bytes(2)), ENOSPC);
    EXPECT_EQ(beta_.requests(), 0);
}

TEST_F(RelayedWrite, WhatThePeerHasAgainstItReachesTheClient) {
    for (const auto& [on_the_wire, error] : {std::pair{28U, ENOSPC}, {1U, EPERM}, {5U, EIO}}) {
        open_writable({.write_error = on_the_wire});
        EXPECT_EQ(write(0, Bytes(512)), error);
        EXPECT_EQ(run(Op::write_zeroes, 0, 512), error);
        EXPECT_EQ(run(Op::trim, 0, 512), error);
        EXPECT_EQ(run(Op::flush), 0);
        EXPECT_EQ(read(0, 512), 0);
        EXPECT_EQ(beta_.content(), pattern(kSize, 1));
        beta_.set_manners({.read_only = false});
        EXPECT_EQ(write(0, written(0, 512)), 0) << "the disk survives";
    }
}

TEST_F(RelayedWrite, FlushedDataSurvivesADeath) {
    open_writable();
    const Bytes data = pattern(10'000, 9);
    ASSERT_EQ(write(0, data), 0);
    ASSERT_EQ(run(Op::flush), 0);
    beta_.kill();
    EXPECT_EQ(written(0, data.size()), data);
    beta_.start();
}

TEST_F(RelayedWrite, DurableWriteSurvivesADeath) {
    open_writable();
    const Bytes data = pattern(10'000, 9);
    ASSERT_EQ(write(0, data, kRequestFua), 0);
    beta_.kill();
    EXPECT_EQ(written(0, data.size()), data);
    beta_.start();
}

TEST_F(RelayedWrite, DurableWriteIsFlushedWhereThePeerHasNoFua) {
    open_writable({.has_fua = false});
    const Bytes data = pattern(10'000, 9);
    ASSERT_EQ(write(0, data, kRequestFua), 0);
    beta_.kill();
    EXPECT_EQ(written(0, data.size()), data);
    beta_.start();
}

TEST_F(RelayedWrite, AcknowledgedWritesAreRepeatedBeforeAFlushSucceeds) {
    open_writable();
    const Bytes first = pattern(5000, 3);
    const Bytes second = pattern(5000, 4);
    ASSERT_EQ(write(0, first), 0);
    ASSERT_EQ(write(2500, second), 0);
    beta_.kill();
    EXPECT_NE(written(0, 2500), Bytes(first.begin(), first.begin() + 2500)) << "nothing was lost";
    beta_.start();
    ASSERT_EQ(run(Op::flush), 0);
    beta_.kill();
    EXPECT_EQ(written(0, 2500), Bytes(first.begin(), first.begin() + 2500));
    EXPECT_EQ(written(2500, 5000), second);
    beta_.start();
}

TEST_F(RelayedWrite, ReadsAfterADeathSeeAcknowledgedWrites) {
    open_writable();
    const Bytes data = pattern(5000, 3);
    ASSERT_EQ(write(100, data), 0);
    beta_.kill();
    beta_.start();
    ASSERT_EQ(read(100, data.size()), 0);
    EXPECT_EQ(buffer_, data);
}

TEST_F(RelayedWrite, WriteOnTheWayIsSentAgain) {
    open_writable();
    ASSERT_EQ(read(0, 512), 0);
    beta_.freeze();
    const int before = beta_.requests();
    std::thread reaper([&] {
        EXPECT_TRUE(beta_.wait_for_requests(before + 1));
        beta_.kill();
        beta_.thaw();
        beta_.start();
    });
    const Bytes data = pattern(5000, 3);
    EXPECT_EQ(write(100, data), 0);
    reaper.join();
    EXPECT_EQ(written(100, data.size()), data);
}

TEST_F(RelayedWrite, IsNeverAskedOfAReplica) {
    FaultServer gamma(pattern(kSize, 1), {.read_only = false});
    FaultServer::Manners manners;
    manners.read_only = false;
    beta_.set_manners(manners);
    open(
        {upstream_of(beta_, "beta", "sha256-32k:aa"), upstream_of(gamma, "gamma", "sha256-32k:aa")},
        false);
    ASSERT_EQ(write(0, Bytes(512)), 0);
    beta_.kill();
    EXPECT_EQ(write(0, Bytes(512)), EIO);
    EXPECT_EQ(gamma.connections(), 0);
    beta_.start();
}

TEST_F(RelayedWrite, PermissionIsAskedOnceBeforeTheFirst) {
    std::atomic<int> asked{0};
    plan_.before_first_write = [&]() -> Result<void> {
        EXPECT_EQ(beta_.requests(), 0);
        ++asked;
        return {};
    };
    open_writable();
    ASSERT_EQ(write(0, Bytes(512)), 0);
    ASSERT_EQ(write(512, Bytes(512)), 0);
    EXPECT_EQ(asked, 1);
}

TEST_F(RelayedWrite, WithoutPermissionNothingIsWritten) {
    plan_.before_first_write = []() -> Result<void> {
        return fail(Errc::unavailable, "catalog is down");
    };
    open_writable();
    EXPECT_EQ(write(0, Bytes(512)), EIO);
    EXPECT_EQ(read(0, 512), 0);
    EXPECT_EQ(written(0, 512), Bytes(buffer_));
    EXPECT_TRUE(log_.has("catalog is down"));
}

TEST_F(RelayedWrite, ZeroesAreWrittenWhereThePeerHasNoCommandForThem) {
    open_writable({.has_zeroes = false});
    ASSERT_EQ(run(Op::write_zeroes, 1000, 20'000), 0);
    EXPECT_EQ(written(1000, 20'000), Bytes(20'000));
    EXPECT_EQ(run(Op::write_zeroes, 0, 512, kRequestFastZero), ENOTSUP);
}

TEST_F(RelayedWrite, TrimIsDroppedWhereThePeerHasNone) {
    open_writable({.has_trim = false});
    ASSERT_EQ(write(0, pattern(512, 5)), 0);
    const int before = beta_.requests();
    EXPECT_EQ(run(Op::trim, 0, 512), 0);
    EXPECT_EQ(beta_.requests(), before);
}

TEST_F(RelayedWrite, PeerThatCannotFlushIsNotWrittenTo) {
    open_writable({.has_flush = false});
    EXPECT_EQ(write(0, Bytes(512)), EIO);
    EXPECT_TRUE(log_.has("cannot flush"));
}

TEST_F(RelayedWrite, LargeWritesAreSplitAndFlushedAsTheyGo) {
    open_writable({.maximum_payload = 65536});
    const Bytes data = pattern(kSize, 8);
    for (int round = 0; round < 40; ++round) {
        ASSERT_EQ(write(0, data), 0);
    }
    EXPECT_EQ(written(0, kSize), data);
    // 40 MiB without a flush of the client's own: the log was trimmed by one of ours.
    EXPECT_GT(beta_.requests(), 40 * 16);
}

}  // namespace signpost::test
