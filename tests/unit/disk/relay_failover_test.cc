// SPDX-License-Identifier: BSD-3-Clause
//
// Reads through a relay, with servers that fail: rows F1 to F12 and R8 to R15 of the failure table.
// No test asserts a time: limits are short, and a test that hangs fails by its own time-out.

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <thread>

#include "nbd-server/disk/image_fingerprint.h"
#include "tests/unit/disk/relay_fixture.h"

namespace signpost::test {

constexpr const char* kDigest = "sha256-32k:aa";
constexpr std::uint64_t kSize = 1 << 20;

class RelayFailover : public RelayTest {
   protected:
    // Opens over BETA and GAMMA, proven equal, with BETA in use.
    void open_replicas() {
        open({upstream_of(beta_, "beta", kDigest), upstream_of(gamma_, "gamma", kDigest)});
        ASSERT_EQ(read(0, 4096), 0);
        ASSERT_EQ(beta_.connections(), 1);
        ASSERT_EQ(gamma_.connections(), 0);
    }

    // Before the disks are opened.
    void probe_often() {
        RelayLimits limits = short_limits();
        limits.probe = std::chrono::milliseconds{50};
        restart_engine(limits);
    }

    void expect_good_read() {
        ASSERT_EQ(read(8192, 100'000), 0);
        EXPECT_TRUE(matches(gamma_.content(), 8192));
    }

    // Opens over BETA, which is in use, and GAMMA. Asked again, the catalog gives WRONG for BETA,
    // and MORE. Then both die, and a read fails.
    void lose_both(const std::function<void(Location& wrong)>& make_wrong,
                   const std::vector<Upstream>& more = {}) {
        const std::string fingerprint = "r-" + std::string(32, '1');
        FaultServer::Manners manners;
        manners.description = describe_with_fingerprint("raw", fingerprint);
        beta_.set_manners(manners);
        Upstream beta = upstream_of(beta_, "beta", kDigest);
        beta.location.fingerprint = fingerprint;
        const Upstream gamma = upstream_of(gamma_, "gamma", kDigest);
        std::vector answer{beta, gamma};
        make_wrong(answer.front().location);
        answer.insert(answer.end(), more.begin(), more.end());
        auto asked = std::make_shared<std::atomic<bool>>(false);
        plan_.ask_again = [asked, answer]() -> Result<std::vector<Upstream>> {
            *asked = true;
            return answer;
        };
        open({beta, gamma});
        ASSERT_EQ(read(0, 4096), 0);
        beta_.kill();
        gamma_.kill();
        ASSERT_EQ(read(0, 4096), EIO);
        ASSERT_TRUE(*asked);
    }

    FaultServer beta_{pattern(kSize, 1)};
    FaultServer gamma_{pattern(kSize, 1)};
};

TEST_F(RelayFailover, KilledPeerIsReplaced) {
    open_replicas();
    beta_.kill();
    expect_good_read();
    EXPECT_GE(gamma_.connections(), 1);
}

TEST_F(RelayFailover, RequestsOnTheWayMoveWhenThePeerDies) {
    open_replicas();
    beta_.freeze();
    const int before = beta_.requests();
    std::thread killer([&] {
        EXPECT_TRUE(beta_.wait_for_requests(before + 1));
        beta_.kill();
    });
    expect_good_read();
    killer.join();
}

TEST_F(RelayFailover, FrozenPeerIsOvertaken) {
    open_replicas();
    beta_.freeze();
    expect_good_read();
    beta_.thaw();
}

TEST_F(RelayFailover, AfterAFreezeTheReplicaIsAskedFirst) {
    open_replicas();
    beta_.freeze();
    expect_good_read();
    const int asked = beta_.requests();
    expect_good_read();
    EXPECT_EQ(beta_.requests(), asked);
    beta_.thaw();
}

TEST_F(RelayFailover, IdlePeerIsAskedNowAndThen) {
    probe_often();
    open_replicas();
    EXPECT_TRUE(beta_.wait_for_requests(beta_.requests() + 2));
    EXPECT_FALSE(log_.has("does not answer"));
    expect_good_read();
    EXPECT_EQ(gamma_.connections(), 0);
}

TEST_F(RelayFailover, PeerThatFreezesWhileIdleIsGivenUpBeforeAClientNeedsIt) {
    probe_often();
    open_replicas();
    beta_.freeze();
    while (!log_.has("does not answer")) {
        std::this_thread::yield();
    }
    const int asked = beta_.requests();
    expect_good_read();
    EXPECT_EQ(beta_.requests(), asked);
    beta_.thaw();
}

TEST_F(RelayFailover, OvertakenPeerIsLeftInGoodOrder) {
    open_replicas();
    beta_.freeze();
    expect_good_read();
    EXPECT_EQ(beta_.farewells(), 0);
    beta_.thaw();
    while (beta_.farewells() == 0) {
        std::this_thread::yield();
    }
}

TEST_F(RelayFailover, DrippingPeerIsOvertaken) {
    open_replicas();
    FaultServer::Manners drips;
    drips.drip_bytes_per_tick = 100;
    beta_.set_manners(drips);
    expect_good_read();
}

TEST_F(RelayFailover, PeerThatIsDeadAtOpenIsPassedOver) {
    beta_.kill();
    open({upstream_of(beta_, "beta", kDigest), upstream_of(gamma_, "gamma", kDigest)});
    expect_good_read();
}

TEST_F(RelayFailover, PeerThatNeverGreetsIsPassedOver) {
    beta_.freeze();
    open({upstream_of(beta_, "beta", kDigest), upstream_of(gamma_, "gamma", kDigest)});
    expect_good_read();
    beta_.thaw();
}

TEST_F(RelayFailover, TwoSilentPeersKeepNoThirdFromItsTurn) {
    RelayLimits limits = short_limits();
    // A dial fails before the next one is due, and takes longer than any back-off.
    limits.handshake = std::chrono::milliseconds{1000};
    limits.hedge = std::chrono::milliseconds{1100};
    restart_engine(limits);
    FaultServer delta(pattern(kSize, 1));
    beta_.freeze();
    gamma_.freeze();
    open({upstream_of(beta_, "beta", kDigest), upstream_of(gamma_, "gamma", kDigest),
          upstream_of(delta, "delta", kDigest)});
    expect_good_read();
    beta_.thaw();
    gamma_.thaw();
}

TEST_F(RelayFailover, ReadErrorOfAPeerIsHealedByAnother) {
    open_replicas();
    FaultServer::Manners bad;
    bad.read_error = 5;
    beta_.set_manners(bad);
    expect_good_read();
    EXPECT_TRUE(log_.has("beta reports NBD error 5"));
}

TEST_F(RelayFailover, ReadErrorWithoutReplicaReachesTheClient) {
    open({upstream_of(beta_, "beta")});
    ASSERT_EQ(read(0, 512), 0);
    FaultServer::Manners bad;
    bad.read_error = 5;
    beta_.set_manners(bad);
    EXPECT_EQ(read(0, 512), EIO);
    beta_.set_manners({});
    EXPECT_EQ(read(0, 512), 0);
}

TEST_F(RelayFailover, ErrorThatMakesNoSenseIsEio) {
    FaultServer::Manners bad;
    bad.read_error = 22;
    beta_.set_manners(bad);
    open({upstream_of(beta_, "beta")});
    EXPECT_EQ(read(0, 512), EIO);
}

TEST_F(RelayFailover, ShutdownOfAPeerMovesTheRead) {
    open_replicas();
    FaultServer::Manners leaving;
    leaving.read_error = 108;
    beta_.set_manners(leaving);
    expect_good_read();
}

TEST_F(RelayFailover, CopyOfOtherContentIsNeverUsed) {
    FaultServer other(pattern(kSize, 2));
    open({upstream_of(beta_, "beta", kDigest), upstream_of(other, "other", "sha256-32k:bb")});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.kill();
    EXPECT_EQ(read(0, 4096), EIO);
    EXPECT_EQ(other.connections(), 0);
}

TEST_F(RelayFailover, CopyOfUnknownDigestIsNeverUsed) {
    open({upstream_of(beta_, "beta"), upstream_of(gamma_, "gamma")});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.kill();
    EXPECT_EQ(read(0, 4096), EIO);
    EXPECT_EQ(gamma_.connections(), 0);
}

TEST_F(RelayFailover, CopyOfAnotherGenerationIsNeverUsed) {
    Upstream newer = upstream_of(gamma_, "gamma", kDigest);
    newer.location.generation = 6;
    open({upstream_of(beta_, "beta", kDigest), newer});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.kill();
    EXPECT_EQ(read(0, 4096), EIO);
    EXPECT_EQ(gamma_.connections(), 0);
}

TEST_F(RelayFailover, BeforeAnythingWasReadAnyLocationWillDo) {
    beta_.kill();
    open({upstream_of(beta_, "beta"), upstream_of(gamma_, "gamma")});
    expect_good_read();
}

TEST_F(RelayFailover, ReplicaWhoseImageChangedSinceItsDigestIsRefused) {
    FaultServer::Manners changed;
    changed.description = describe_with_fingerprint("raw", "r-" + std::string(32, '2'));
    gamma_.set_manners(changed);
    Upstream gamma = upstream_of(gamma_, "gamma", kDigest);
    gamma.location.fingerprint = "r-" + std::string(32, '1');
    open({upstream_of(beta_, "beta", kDigest), gamma});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.kill();
    EXPECT_EQ(read(0, 4096), EIO);
    EXPECT_TRUE(log_.has("has changed since its digest was taken"));
}

TEST_F(RelayFailover, DigestOfAnotherStateOfTheFirstImageCountsForNothing) {
    FaultServer::Manners changed;
    changed.description = describe_with_fingerprint("raw", "r-" + std::string(32, '2'));
    beta_.set_manners(changed);
    Upstream beta = upstream_of(beta_, "beta", kDigest);
    beta.location.fingerprint = "r-" + std::string(32, '1');
    gamma_.kill();
    open({beta, upstream_of(gamma_, "gamma", kDigest)});
    ASSERT_EQ(read(0, 4096), 0);
    const int before = gamma_.connections();
    gamma_.start();
    beta_.kill();
    EXPECT_EQ(read(0, 4096), EIO);
    EXPECT_EQ(gamma_.connections(), before);
}

TEST_F(RelayFailover, RestartedPeerGoesOn) {
    open({upstream_of(beta_, "beta")});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.kill();
    std::thread restarter([&] { beta_.start(); });
    expect_good_read();
    restarter.join();
}

TEST_F(RelayFailover, ReadIsHeldWhileThePeerIsAway) {
    open({upstream_of(beta_, "beta")});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.kill();
    std::atomic<bool> ended{false};
    std::thread client([&] {
        expect_good_read();
        ended = true;
    });
    while (!log_.has("lost beta")) {
        std::this_thread::yield();
    }
    EXPECT_FALSE(ended);
    beta_.start();
    client.join();
    EXPECT_TRUE(log_.has("beta answers again"));
}

TEST_F(RelayFailover, AfterEioTheSameDiskWorksAgain) {
    open({upstream_of(beta_, "beta")});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.kill();
    EXPECT_EQ(read(0, 4096), EIO);
    beta_.start();
    expect_good_read();
}

TEST_F(RelayFailover, FrozenLonePeerGivesEioAndLaterWorks) {
    open({upstream_of(beta_, "beta")});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.freeze();
    EXPECT_EQ(read(0, 4096), EIO);
    beta_.thaw();
    expect_good_read();
}

TEST_F(RelayFailover, SlowLonePeerIsWaitedFor) {
    open({upstream_of(beta_, "beta")});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.freeze();
    const int before = beta_.requests();
    // By the second connection the relay has counted the first one as hung, and kept it.
    std::thread thawer([&] {
        EXPECT_TRUE(beta_.wait_for_requests(before + 1));
        while (beta_.connections() < 2) {
            std::this_thread::yield();
        }
        beta_.thaw();
    });
    expect_good_read();
    thawer.join();
}

TEST_F(RelayFailover, ReplacedImageIsAnErrorAfterReconnect) {
    FaultServer::Manners manners;
    manners.description = describe_with_fingerprint("raw", "r-" + std::string(32, '1'));
    beta_.set_manners(manners);
    open({upstream_of(beta_, "beta")});
    ASSERT_EQ(read(0, 4096), 0);
    manners.description = describe_with_fingerprint("raw", "r-" + std::string(32, '2'));
    beta_.set_manners(manners);
    beta_.cut();
    EXPECT_EQ(read(0, 4096), EIO);
    EXPECT_TRUE(log_.has("replaced or changed"));
}

TEST_F(RelayFailover, UnchangedImageGoesOnAfterReconnect) {
    FaultServer::Manners manners;
    manners.description = describe_with_fingerprint("raw", "r-" + std::string(32, '1'));
    beta_.set_manners(manners);
    open({upstream_of(beta_, "beta")});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.cut();
    expect_good_read();
}

TEST_F(RelayFailover, SizeOtherThanTheCatalogsIsRefused) {
    FaultServer::Manners lies;
    lies.claimed_size = kSize * 2;
    beta_.set_manners(lies);
    open({upstream_of(beta_, "beta")});
    EXPECT_EQ(read(0, 4096), EIO);
    EXPECT_TRUE(log_.has("were expected"));
    EXPECT_EQ(beta_.reads(), 0);
}

TEST_F(RelayFailover, MovedDiskIsFoundByAskingAgain) {
    FaultServer::Manners gone;
    gone.unknown_export = true;
    beta_.set_manners(gone);
    std::atomic<int> asked{0};
    plan_.ask_again = [&]() -> Result<std::vector<Upstream>> {
        ++asked;
        return std::vector{upstream_of(gamma_, "gamma")};
    };
    open({upstream_of(beta_, "beta")});
    expect_good_read();
    EXPECT_EQ(asked, 1);
}

TEST_F(RelayFailover, DiskThatNobodyHasFailsWithoutWaiting) {
    // Were it to wait for the request's limit, the test would run into its own time-out.
    RelayLimits limits = short_limits();
    limits.request = std::chrono::hours{1};
    restart_engine(limits);
    FaultServer::Manners gone;
    gone.unknown_export = true;
    beta_.set_manners(gone);
    plan_.ask_again = [&]() -> Result<std::vector<Upstream>> {
        return std::vector{upstream_of(beta_, "beta")};
    };
    open({upstream_of(beta_, "beta")});
    EXPECT_EQ(read(0, 4096), EIO);
    EXPECT_LE(beta_.connections(), 3);
}

TEST_F(RelayFailover, ReplicaVerifiedAfterTheOpenIsFound) {
    const std::string fingerprint = "r-" + std::string(32, '1');
    FaultServer::Manners manners;
    manners.description = describe_with_fingerprint("raw", fingerprint);
    beta_.set_manners(manners);
    Upstream beta = upstream_of(beta_, "beta", kDigest);
    beta.location.fingerprint = fingerprint;
    plan_.ask_again = [this, beta]() -> Result<std::vector<Upstream>> {
        return std::vector{beta, upstream_of(gamma_, "gamma", kDigest)};
    };
    open({beta});
    ASSERT_EQ(read(0, 4096), 0);
    beta_.kill();
    expect_good_read();
}

// One wrong row must not leave an open disk without its other copies.
TEST_F(RelayFailover, WrongGenerationOfTheImageInUseKeepsNoReplicaAway) {
    lose_both([](Location& wrong) { wrong.generation = 999; });
    gamma_.start();
    expect_good_read();
}

TEST_F(RelayFailover, SecondDigestOfTheImageInUseIsNotBelieved) {
    FaultServer other(pattern(kSize, 2));
    lose_both([](Location& wrong) { wrong.digest = "sha256-32k:bb"; },
              {upstream_of(other, "other", "sha256-32k:bb")});
    EXPECT_EQ(read(0, 4096), EIO);
    EXPECT_EQ(other.connections(), 0);
}

// As by SIGSTOP, or by a pause of the virtual machine.
TEST_F(RelayFailover, StandstillOfThisProcessIsNotHeldAgainstTheServer) {
    open({upstream_of(beta_, "beta", kDigest)});
    ASSERT_EQ(read(0, 512), 0);
    beta_.freeze();
    const int before = beta_.requests();
    auto answer = std::async(std::launch::async, [this] { return read(4096, 512); });
    ASSERT_TRUE(beta_.wait_for_requests(before + 1));
    std::promise<void> goes_on;
    std::promise<void> stands;
    disk_->home_loop()->post([&] {
        stands.set_value();
        const auto end = std::chrono::steady_clock::now() + short_limits().request;
        while (std::chrono::steady_clock::now() < end) {
            std::this_thread::yield();
        }
    });
    disk_->home_loop()->post([&] { goes_on.set_value(); });
    stands.get_future().wait();
    goes_on.get_future().wait();
    // Its timers, of which this one is the last, have had their turn.
    std::promise<void> looked;
    disk_->home_loop()->post(
        [&] { disk_->home_loop()->call_at(EventLoop::Clock::now(), [&] { looked.set_value(); }); });
    looked.get_future().wait();
    beta_.thaw();
    EXPECT_EQ(answer.get(), 0);
    EXPECT_FALSE(log_.has("no server has answered"));
}

TEST_F(RelayFailover, ForbiddenAddressIsNotDialled) {
    Upstream upstream = upstream_of(beta_, "beta");
    upstream.uris.front().host = "169.254.1.1";
    open({upstream});
    EXPECT_EQ(read(0, 512), EIO);
    EXPECT_TRUE(log_.has("link-local"));
}

TEST_F(RelayFailover, PrivilegedPortIsNotDialled) {
    Upstream upstream = upstream_of(beta_, "beta");
    upstream.uris.front().port = 22;
    open({upstream});
    EXPECT_EQ(read(0, 512), EIO);
    EXPECT_TRUE(log_.has("below 1024"));
}

TEST_F(RelayFailover, DeadUriOfAServerIsPassedOver) {
    Upstream upstream = upstream_of(beta_, "beta");
    upstream.uris.insert(upstream.uris.begin(), gamma_.uri());
    gamma_.kill();
    open({upstream});
    ASSERT_EQ(read(0, 512), 0);
}

TEST_F(RelayFailover, ManyRoundsOfDeathBringNoWrongByte) {
    open_replicas();
    std::atomic<bool> stop{false};
    std::thread reaper([&] {
        for (int round = 0; round < 6; ++round) {
            FaultServer& victim = round % 2 == 0 ? beta_ : gamma_;
            victim.kill();
            victim.start();
            const int before = beta_.requests() + gamma_.requests();
            while (beta_.requests() + gamma_.requests() < before + 40) {
                std::this_thread::yield();
            }
        }
        stop = true;
    });
    const Bytes content = gamma_.content();
    std::vector<std::thread> clients;
    std::atomic<int> wrong{0};
    for (unsigned client = 0; client < 4; ++client) {
        clients.emplace_back([&, client] {
            std::uint64_t state = client + 1;
            while (!stop) {
                wrong += random_read(*disk_, content, state, 65536) ? 0 : 1;
            }
        });
    }
    for (std::thread& client : clients) {
        client.join();
    }
    reaper.join();
    EXPECT_EQ(wrong, 0);
}

}  // namespace signpost::test
