// SPDX-License-Identifier: BSD-3-Clause
//
// Live disks that go from a server that works to another one: because the catalog names it no
// longer, or because a better one is back.

#include <atomic>
#include <mutex>
#include <thread>

#include "tests/unit/disk/relay_fixture.h"

namespace signpost::test {

constexpr const char* kDigest = "sha256-32k:aa";
constexpr std::uint64_t kSize = 1 << 20;

class RelayMoves : public RelayTest {
   protected:
    // What the engine's threads ask is gone before the engine else.
    void TearDown() override {
        disk_.reset();
        engine_.reset();
    }

    void begin(bool failback, unsigned gammas_rank = 1) {
        RelaySettings settings;
        settings.limits = short_limits();
        settings.limits.failback = std::chrono::milliseconds{50};
        settings.limits.news = std::chrono::milliseconds{10};
        settings.failback = failback;
        restart_engine(settings);
        beta_upstream_ = upstream_of(beta_, "beta", kDigest);
        gamma_upstream_ = upstream_of(gamma_, "gamma", kDigest);
        gamma_upstream_.rank = gammas_rank;
        plan_.ask_again = [this]() -> Result<std::vector<Upstream>> {
            ++asked_;
            const std::lock_guard lock(mutex_);
            return answer_;
        };
        say({beta_upstream_, gamma_upstream_});
        open({beta_upstream_, gamma_upstream_});
        ASSERT_EQ(read(0, 4096), 0);
        ASSERT_EQ(beta_.connections(), 1);
    }

    // What the catalog says from now on.
    void say(std::vector<Upstream> answer) {
        const std::lock_guard lock(mutex_);
        answer_ = std::move(answer);
    }

    void fail_over_and_bring_beta_back() {
        beta_.kill();
        read_good();
        ASSERT_GE(gamma_.connections(), 1);
        beta_.start();
    }

    void read_good() {
        ASSERT_EQ(read(8192, 100'000), 0);
        ASSERT_TRUE(matches(gamma_.content(), 8192));
    }

    // Long enough for any number of looks at the clock.
    void read_for(std::chrono::milliseconds time) {
        const auto end = std::chrono::steady_clock::now() + time;
        while (std::chrono::steady_clock::now() < end) {
            read_good();
        }
    }

    FaultServer beta_{pattern(kSize, 1)};
    FaultServer gamma_{pattern(kSize, 1)};
    Upstream beta_upstream_;
    Upstream gamma_upstream_;
    std::mutex mutex_;  // guards answer_
    std::vector<Upstream> answer_;
    std::atomic<int> asked_{0};
};

TEST_F(RelayMoves, LeaveAServerThatTheCatalogNamesNoLonger) {
    begin(false);
    say({gamma_upstream_});
    engine_->catalog_changed();
    while (gamma_.reads() == 0) {
        read_good();
    }
    while (beta_.farewells() == 0) {
        read_good();
    }
    const int asked = beta_.requests();
    read_good();
    EXPECT_EQ(beta_.requests(), asked);
    EXPECT_FALSE(log_.has("lost"));
}

TEST_F(RelayMoves, LeaveWhileNothingIsRead) {
    begin(false);
    say({gamma_upstream_});
    engine_->catalog_changed();
    while (beta_.farewells() == 0) {
        std::this_thread::yield();
    }
    const int asked = beta_.requests();
    read_good();
    EXPECT_EQ(beta_.requests(), asked);
}

// As after a move of which both ends were carried out between two looks at the catalog.
TEST_F(RelayMoves, LeaveAServerWhoseCopyWasMovedAway) {
    begin(false);
    gamma_upstream_.location.generation += 1;
    say({gamma_upstream_});
    engine_->catalog_changed();
    while (asked_ == 0) {
        read_good();
    }
    read_for(std::chrono::milliseconds{100});
    beta_.kill();
    read_good();
    EXPECT_GT(gamma_.reads(), 0);
}

TEST_F(RelayMoves, StayWhereNobodyElseHasTheGeneration) {
    begin(false);
    gamma_upstream_.location.generation += 1;
    say({beta_upstream_, gamma_upstream_});
    engine_->catalog_changed();
    while (asked_ == 0) {
        read_good();
    }
    read_for(std::chrono::milliseconds{100});
    EXPECT_EQ(gamma_.connections(), 0);
}

TEST_F(RelayMoves, StayWhereNobodyElseHasTheContent) {
    begin(false);
    gamma_upstream_.location.digest = "sha256-32k:bb";
    say({gamma_upstream_});
    engine_->catalog_changed();
    while (asked_ == 0) {
        read_good();
    }
    read_for(std::chrono::milliseconds{100});
    EXPECT_EQ(gamma_.connections(), 0);
}

TEST_F(RelayMoves, LeftServerServesWhenTheOtherOneDies) {
    begin(false);
    say({gamma_upstream_});
    engine_->catalog_changed();
    while (gamma_.reads() == 0) {
        read_good();
    }
    gamma_.kill();
    read_good();
}

TEST_F(RelayMoves, SpareServerServesWhenNoOtherDoes) {
    begin(false);
    beta_upstream_.spare = true;
    say({gamma_upstream_, beta_upstream_});
    open({gamma_upstream_, beta_upstream_});
    const int connections = beta_.connections();
    read_good();
    EXPECT_EQ(beta_.connections(), connections);
    gamma_.kill();
    read_good();
    EXPECT_GT(beta_.connections(), connections);
}

TEST_F(RelayMoves, LeaveASpareServer) {
    begin(false);
    beta_upstream_.spare = true;
    say({gamma_upstream_, beta_upstream_});
    engine_->catalog_changed();
    while (beta_.farewells() == 0) {
        read_good();
    }
    EXPECT_GT(gamma_.reads(), 0);
}

TEST_F(RelayMoves, CatalogThatDoesNotAnswerChangesNothing) {
    begin(false);
    plan_.ask_again = [this]() -> Result<std::vector<Upstream>> {
        ++asked_;
        return fail(Errc::unavailable, "frozen");
    };
    open(answer_);
    ASSERT_EQ(read(0, 4096), 0);
    engine_->catalog_changed();
    while (asked_ == 0) {
        read_good();
    }
    EXPECT_EQ(gamma_.connections(), 0);
}

TEST_F(RelayMoves, FailBackWhenAskedTo) {
    begin(true);
    fail_over_and_bring_beta_back();
    const int before = beta_.reads();
    while (beta_.reads() < before + 5) {
        read_good();
    }
    const int asked = gamma_.requests();
    read_good();
    EXPECT_EQ(gamma_.requests(), asked);
}

TEST_F(RelayMoves, StayWhereItWorksByDefault) {
    begin(false);
    fail_over_and_bring_beta_back();
    const int before = beta_.requests();
    read_for(std::chrono::milliseconds{300});
    EXPECT_EQ(beta_.requests(), before);
}

TEST_F(RelayMoves, DoNotFailBackToAnEqual) {
    begin(true, 0);
    fail_over_and_bring_beta_back();
    const int before = beta_.requests();
    read_for(std::chrono::milliseconds{300});
    EXPECT_EQ(beta_.requests(), before);
}

}  // namespace signpost::test
