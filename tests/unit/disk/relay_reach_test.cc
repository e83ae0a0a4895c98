// SPDX-License-Identifier: BSD-3-Clause
//
// Whether a relayed disk can be had, as a client that chooses it is told: RelayCore::reach().

#include <future>
#include <string>

#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "tests/unit/disk/relay_fixture.h"

namespace signpost::test {

constexpr std::uint64_t kSize = 1 << 20;

class RelayReach : public RelayTest {
   protected:
    std::future<Result<void>> ask() {
        auto promise = std::make_shared<std::promise<Result<void>>>();
        disk_->reach([promise](const Result<void>& answer) { promise->set_value(answer); });
        return promise->get_future();
    }

    FaultServer beta_{pattern(kSize, 1)};
    FaultServer gamma_{pattern(kSize, 1)};
};

TEST_F(RelayReach, SaysYesWhenAServerAnswersAndReadsNothing) {
    open({upstream_of(beta_, "beta")});
    EXPECT_TRUE(ask().get().has_value());
    EXPECT_EQ(beta_.connections(), 1);
    EXPECT_EQ(beta_.requests(), 0);
}

TEST_F(RelayReach, TheConnectionThatItFoundServesTheReads) {
    open({upstream_of(beta_, "beta")});
    ASSERT_TRUE(ask().get().has_value());
    EXPECT_EQ(read(0, 4096), 0);
    EXPECT_TRUE(ask().get().has_value());
    EXPECT_EQ(beta_.connections(), 1);
}

TEST_F(RelayReach, SaysWhereTheDiskIsAndThatNobodyAnswersThere) {
    beta_.kill();
    open({upstream_of(beta_, "beta")});
    const auto answer = ask().get();
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().code, Errc::unavailable);
    EXPECT_TRUE(answer.error().message.starts_with(
        "disk web01/vda is on beta, which has not answered for "))
        << answer.error().message;
}

TEST_F(RelayReach, AnotherLocationWillDo) {
    beta_.kill();
    open({upstream_of(beta_, "beta"), upstream_of(gamma_, "gamma")});
    EXPECT_TRUE(ask().get().has_value());
}

TEST_F(RelayReach, NamesEachServerThatDoesNotAnswer) {
    beta_.kill();
    gamma_.kill();
    open({upstream_of(beta_, "beta"), upstream_of(gamma_, "gamma")});
    const auto answer = ask().get();
    ASSERT_FALSE(answer.has_value());
    EXPECT_NE(answer.error().message.find("; on gamma, which"), std::string::npos)
        << answer.error().message;
}

TEST_F(RelayReach, AServerThatComesBackMeanwhileIsFound) {
    beta_.kill();
    open({upstream_of(beta_, "beta")});
    auto answer = ask();
    beta_.start();
    EXPECT_TRUE(answer.get().has_value());
}

// It is another disk, whatever the catalog says.
TEST_F(RelayReach, APointIsNotTakenForTheDisk) {
    FaultServer::Manners point;
    point.description = describe_point("web01/vda@2026-11-20", "1 MiB raw, here");
    beta_.set_manners(point);
    Upstream upstream = upstream_of(beta_, "beta");
    for (NbdUri& uri : upstream.uris) {
        uri = uri.with_export("local:web01/vda");
    }
    open({upstream});
    const auto answer = ask().get();
    ASSERT_FALSE(answer.has_value());
    EXPECT_NE(answer.error().message.find("but not the disk itself"), std::string::npos)
        << answer.error().message;
    open({upstream_of(gamma_, "gamma")});
    EXPECT_TRUE(ask().get().has_value());
}

TEST_F(RelayReach, ADiskThatNobodyHasIsNotFound) {
    FaultServer::Manners gone;
    gone.unknown_export = true;
    beta_.set_manners(gone);
    open({upstream_of(beta_, "beta")});
    const auto answer = ask().get();
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().code, Errc::not_found);
}

TEST_F(RelayReach, AnUnsuitableServerIsNamedWithTheReason) {
    FaultServer::Manners lies;
    lies.claimed_size = kSize * 2;
    beta_.set_manners(lies);
    open({upstream_of(beta_, "beta")});
    const auto answer = ask().get();
    ASSERT_FALSE(answer.has_value());
    EXPECT_NE(answer.error().message.find("is on beta, from which it cannot be had: "),
              std::string::npos)
        << answer.error().message;
}

TEST_F(RelayReach, ACopyOfAnotherSizeIsTheCatalogsMistake) {
    Upstream beta = upstream_of(beta_, "beta");
    beta.location.size = kSize + 512;
    std::string untrue;
    plan_.untrue = [&](const Location& row) { untrue = row.server; };
    open({beta});
    const auto answer = ask().get();
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().code, Errc::conflict);
    EXPECT_EQ(untrue, "beta");
}

// beta shows another image than the one that was verified, gamma the right one.
class RelayDoubt : public RelayReach {
   protected:
    void open_both() {
        FaultServer::Manners changed;
        changed.description = describe_with_fingerprint("raw", "r-" + std::string(32, '2'));
        beta_.set_manners(changed);
        Upstream beta = upstream_of(beta_, "beta", kDigest);
        beta.location.fingerprint = "r-" + std::string(32, '1');
        open({beta, upstream_of(gamma_, "gamma", kDigest)});
    }

    const std::string kDigest = "sha256-32k:" + std::string(64, 'd');
};

TEST_F(RelayDoubt, AnotherImageThanTheVerifiedOneIsThereForWhenNoOtherIs) {
    open_both();
    ASSERT_TRUE(ask().get().has_value());
    ASSERT_EQ(read(0, 4096), 0);
    EXPECT_EQ(beta_.reads(), 0);
    EXPECT_EQ(gamma_.reads(), 1);
}

TEST_F(RelayDoubt, AloneItServes) {
    gamma_.kill();
    open_both();
    ASSERT_TRUE(ask().get().has_value());
    EXPECT_EQ(read(0, 4096), 0);
}

TEST_F(RelayReach, ManyWhoAskAtOnceAreAllTold) {
    open({upstream_of(beta_, "beta")});
    std::vector<std::future<Result<void>>> answers;
    for (int i = 0; i < 20; ++i) {
        answers.push_back(ask());
    }
    for (auto& answer : answers) {
        EXPECT_TRUE(answer.get().has_value());
    }
    EXPECT_EQ(beta_.connections(), 1);
}

TEST_F(RelayReach, ADiskThatEndsMeanwhileStillAnswers) {
    beta_.kill();
    open({upstream_of(beta_, "beta")});
    auto answer = ask();
    disk_.reset();
    EXPECT_FALSE(answer.get().has_value());
}

}  // namespace signpost::test
