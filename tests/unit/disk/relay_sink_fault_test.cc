// SPDX-License-Identifier: BSD-3-Clause
//
// Reads that are taken part by part, from servers that fail in the middle of a payload: another
// replica brings what is missing, and no byte comes twice (CollectingSink looks at that).

#include <atomic>
#include <thread>

#include "tests/unit/disk/relay_fixture.h"

namespace signpost::test {

constexpr const char* kDigest = "sha256-32k:aa";
constexpr std::uint64_t kMiB = 1 << 20;

class RelaySinkFault : public RelayTest {
   protected:
    // Opens over BETA and GAMMA, proven equal, with BETA in use.
    void open_replicas() {
        open({upstream_of(beta_, "beta", kDigest), upstream_of(gamma_, "gamma", kDigest)});
        ASSERT_EQ(read_parts(0, 4096), 0);
        ASSERT_EQ(gamma_.connections(), 0);
    }

    void expect_good_read() {
        ASSERT_EQ(read_parts(8192, kMiB), 0);
        EXPECT_TRUE(parts_->matches(content_));
    }

    void expect_healed_by_gamma(ReadReply reply) {
        open_replicas();
        beta_.set_manners({.reply = reply});
        expect_good_read();
        EXPECT_GT(gamma_.reads(), 0);
        expect_all_pipes_back();
    }

    // As many can be lent as there are. An abandoned piece keeps none.
    void expect_all_pipes_back() {
        std::vector<Pipe> pipes;
        while (Pipe pipe = engine_->pipes().lend()) {
            pipes.push_back(std::move(pipe));
        }
        EXPECT_EQ(pipes.size(), RelaySettings{}.pipes);
    }

    const Bytes content_ = pattern(2 * kMiB, 1);
    FaultServer beta_{content_};
    FaultServer gamma_{content_};
};

TEST_F(RelaySinkFault, DeathInThePayloadIsHealed) {
    expect_healed_by_gamma(ReadReply::dies);
}

TEST_F(RelaySinkFault, ErrorBehindTheDataIsHealed) {
    expect_healed_by_gamma(ReadReply::error_late);
}

TEST_F(RelaySinkFault, ShortCoverIsHealed) {
    expect_healed_by_gamma(ReadReply::short_cover);
}

TEST_F(RelaySinkFault, OverlapIsHealed) {
    expect_healed_by_gamma(ReadReply::overlap);
}

TEST_F(RelaySinkFault, DataOutsideOfTheReadIsHealed) {
    expect_healed_by_gamma(ReadReply::outside);
}

TEST_F(RelaySinkFault, ErrorBehindTheDataWithoutReplicaDeliversNothing) {
    open({upstream_of(beta_, "beta")});
    beta_.set_manners({.reply = ReadReply::error_late});
    EXPECT_EQ(read_parts(0, 100'000), EIO);
    EXPECT_EQ(parts_->longest(), 0U);
    beta_.set_manners({});
    expect_good_read();
}

TEST_F(RelaySinkFault, FrozenPeerIsOvertaken) {
    open_replicas();
    beta_.freeze();
    expect_good_read();
    beta_.thaw();
}

TEST_F(RelaySinkFault, DrippingPeerIsOvertaken) {
    open_replicas();
    beta_.set_manners({.drip_bytes_per_tick = 100});
    expect_good_read();
    EXPECT_GT(gamma_.reads(), 0);
}

TEST_F(RelaySinkFault, OvertakenPeerIsStillLeftInGoodOrder) {
    open_replicas();
    beta_.freeze();
    expect_good_read();
    EXPECT_EQ(beta_.farewells(), 0);
    beta_.thaw();
    while (beta_.farewells() == 0) {
        std::this_thread::yield();
    }
    expect_all_pipes_back();
}

TEST_F(RelaySinkFault, KilledPeerIsReplaced) {
    open_replicas();
    beta_.freeze();
    const int before = beta_.requests();
    std::thread killer([&] {
        EXPECT_TRUE(beta_.wait_for_requests(before + 1));
        beta_.kill();
    });
    expect_good_read();
    killer.join();
    expect_all_pipes_back();
}

TEST_F(RelaySinkFault, LonePeerThatDiesOnceIsAskedAgain) {
    open({upstream_of(beta_, "beta")});
    ASSERT_EQ(read_parts(0, 4096), 0);
    beta_.set_manners({.reply = ReadReply::dies});
    const int before = beta_.requests();
    std::thread healer([&] {
        EXPECT_TRUE(beta_.wait_for_requests(before + 1));
        beta_.set_manners({});
    });
    expect_good_read();
    healer.join();
}

TEST_F(RelaySinkFault, ManyRoundsOfDeathBringNoWrongByte) {
    open_replicas();
    std::atomic<bool> stop{false};
    std::thread reaper([&] {
        for (int round = 0; round < 6; ++round) {
            FaultServer& victim = round % 2 == 0 ? beta_ : gamma_;
            victim.set_manners({.reply = ReadReply::dies});
            victim.cut();
            victim.set_manners({});
            const int before = beta_.requests() + gamma_.requests();
            while (beta_.requests() + gamma_.requests() < before + 30) {
                std::this_thread::yield();
            }
        }
        stop = true;
    });
    std::vector<std::thread> clients;
    std::atomic<int> wrong{0};
    for (unsigned client = 0; client < 3; ++client) {
        clients.emplace_back([&, client] {
            std::uint64_t state = client + 1;
            while (!stop) {
                wrong += random_read_parts(*disk_, content_, state, 512 * 1024) ? 0 : 1;
            }
        });
    }
    for (std::thread& client : clients) {
        client.join();
    }
    reaper.join();
    EXPECT_EQ(wrong, 0);
    expect_all_pipes_back();
}

}  // namespace signpost::test
