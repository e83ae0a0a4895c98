// SPDX-License-Identifier: BSD-3-Clause
//
// What a session does with requests that take their time, clients that go, memory that is short,
// and a server that stops.

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>

#include "tests/unit/server/session_fixture.h"

namespace signpost::test {
namespace {

using namespace wire::test;

constexpr std::uint16_t kRead = 0;
constexpr std::uint16_t kWrite = 1;
constexpr std::uint16_t kDisconnect = 2;
constexpr std::uint16_t kFlush = 3;

std::string read_reply(std::uint64_t cookie, std::uint64_t offset, std::uint64_t length) {
    return simple_reply(cookie, 0, HeldDisk::bytes_at(offset, length));
}

// Cannot be had, because the catalog was wrong about it.
class UntrueDisk final : public Disk {
   public:
    UntrueDisk(FakeFederation& federation, std::shared_ptr<Disk> next)
        : federation_(federation), next_(std::move(next)) {
        traits_.size = HeldDisk::kSize;
        traits_.relayed = true;
    }

    const DiskTraits& traits() const override { return traits_; }

    void reach(Told told) override {
        ++asked;
        if (next_ != nullptr) {
            federation_.disks["a"] = next_;
        }
        told(fail(Errc::conflict, "is on beta, which shows another size"));
    }

    int asked = 0;

   private:
    void start(Request& request) override { request.done(request, EIO); }

    FakeFederation& federation_;
    std::shared_ptr<Disk> next_;
    DiskTraits traits_;
};

TEST_F(SessionTest, ADiskOfWhichTheCatalogWasWrongIsOpenedAnew) {
    const auto good = add_disk("a", &loop());
    good->release();
    federation_->disks["a"] = std::make_shared<UntrueDisk>(*federation_, good);
    RawClient client = open("a");
    client.send(request(kRead, 0, 9, 0, 100000));
    client.expect(read_reply(9, 0, 100000));
}

TEST_F(SessionTest, AMistakeThatStaysIsToldInTheEnd) {
    const auto bad = std::make_shared<UntrueDisk>(*federation_, nullptr);
    federation_->disks["a"] = bad;
    RawClient client = connect();
    client.send(go("a"));
    wait_until([&] { return log_.has("refused: is on beta, which shows another size"); });
    client.leave();
    wait_ended();
    EXPECT_GE(bad->asked, 2);
    EXPECT_LE(bad->asked, 10);
}

// Each behaviour with a disk that has a thread for each request, and with one that lives on a loop.
class EitherDisk : public SessionTest, public testing::WithParamInterface<bool> {
   protected:
    std::shared_ptr<HeldDisk> make_disk() { return add_disk("a", GetParam() ? &loop() : nullptr); }
};

INSTANTIATE_TEST_SUITE_P(Disks, EitherDisk, testing::Bool(),
                         [](const auto& one) { return one.param ? "OnALoop" : "OnThreads"; });

TEST_P(EitherDisk, AnswersInTheOrderOfCompletion) {
    const auto disk = make_disk();
    RawClient client = open("a");
    for (std::uint64_t i = 0; i < 3; ++i) {
        client.send(request(kRead, 0, i, i * 1000, 500));
        disk->wait_held(i + 1);
    }
    for (const std::uint64_t next : {2u, 0u, 0u}) {
        const std::uint64_t cookie = next == 2 ? 2 : disk->held() == 2 ? 0 : 1;
        disk->end(next);
        client.expect(read_reply(cookie, cookie * 1000, 500));
    }
}

TEST_P(EitherDisk, ServesLongReads) {
    make_disk()->release();
    RawClient client = open("a");
    client.send(request(kRead, 0, 9, 12345, 1 << 20));
    client.expect(read_reply(9, 12345, 1 << 20));
}

TEST_P(EitherDisk, ServesLongReadsInChunks) {
    make_disk()->release();
    RawClient client = open("a", true);
    client.send(request(kRead, 0, 9, 0, 100000));
    const std::string bytes = HeldDisk::bytes_at(0, 100000);
    if (GetParam()) {
        client.expect(data_chunk(9, 0, 50000, bytes.substr(50000)));
        client.expect(data_chunk(9, 0, 0, bytes.substr(0, 50000)));
        client.expect(none(9));
    } else {
        client.expect(data_chunk(9, kDone, 0, bytes));
    }
}

TEST_P(EitherDisk, TellsErrorsAndGoesOn) {
    const auto disk = make_disk();
    RawClient client = open("a");
    for (const auto& [error, said] : {std::pair{EIO, 5u}, std::pair{ENOSPC, 28u},
                                      std::pair{EDQUOT, 28u}, std::pair{ETIMEDOUT, 5u}}) {
        client.send(request(kRead, 0, 1, 0, 100000));
        disk->wait_held(1);
        disk->end(0, error);
        client.expect(simple_reply(1, said));
    }
    client.send(request(kFlush, 0, 2, 0, 0));
    disk->wait_held(1);
    disk->end(0);
    client.expect(simple_reply(2, 0));
}

TEST_P(EitherDisk, LivesUntilTheLastRequestOfAClientThatLeft) {
    const auto disk = make_disk();
    RawClient client = open("a");
    for (std::uint64_t i = 0; i < 3; ++i) {
        client.send(request(kRead, 0, i, 0, 100000));
    }
    client.send(request(kWrite, 0, 7, 0, 4) + "data");
    disk->wait_held(4);
    client.leave();
    disk->end(3);
    disk->end(1, EIO);
    disk->end(0);
    on_loops([](SessionLoop&) {});
    EXPECT_EQ(service_->sessions.load(), 1u);
    disk->end(0);
    wait_ended();
    EXPECT_EQ(service_->memory().left(), static_cast<std::int64_t>(service_->limits().memory));
}

TEST_P(EitherDisk, ServesWhatWasAskedBeforeDisconnect) {
    const auto disk = make_disk();
    RawClient client = open("a");
    client.send(request(kRead, 0, 1, 0, 600) + request(kDisconnect, 0, 2, 0, 0));
    disk->wait_held(1);
    disk->end(0);
    client.expect(read_reply(1, 0, 600));
    client.expect_end();
    wait_ended();
}

TEST_P(EitherDisk, ServesAllOfAClientThatSendsNoMore) {
    make_disk()->release();
    RawClient client = open("a");
    std::string requests;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        requests += request(kRead, 0, 5, 0, 4000);
    }
    client.send(requests);
    client.end_of_requests();
    for (int i = 0; i < 1000; ++i) {
        client.expect(read_reply(5, 0, 4000));
    }
    client.expect_end();
}

TEST_P(EitherDisk, AsksNoMoreForAClientThatDoesNotRead) {
    const auto disk = make_disk();
    disk->release();
    RawClient client = open("a");
    std::string requests;
    for (int i = 0; i < 400; ++i) {
        requests += request(kRead, 0, 5, 0, 60000);
    }
    client.send(requests);
    RawClient other = open("a");
    for (int i = 0; i < 100; ++i) {
        other.send(request(kRead, 0, 1, 3, 5000));
        other.expect(read_reply(1, 3, 5000));
    }
    EXPECT_LT(disk->started(), 300u);
    for (int i = 0; i < 400; ++i) {
        client.expect(read_reply(5, 0, 60000));
    }
}

TEST_P(EitherDisk, WaitsForMemory) {
    start({.memory = 150'000});
    const auto disk = make_disk();
    RawClient first = open("a");
    RawClient second = open("a");
    first.send(request(kRead, 0, 1, 0, 100000));
    disk->wait_held(1);
    second.send(request(kWrite, 0, 2, 0, 100000) + std::string(50000, 'x'));
    on_loops([](SessionLoop&) {});
    disk->end(0);
    first.expect(read_reply(1, 0, 100000));
    second.send(std::string(50000, 'x'));
    disk->wait_held(1);
    EXPECT_EQ(disk->written(), std::string(100000, 'x'));
    disk->end(0);
    second.expect(simple_reply(2, 0));
    wait_until([this] { return service_->memory().left() == 150'000; });
}

TEST_P(EitherDisk, ServesWhatIsLongerThanAllMemory) {
    start({.memory = 10'000});
    make_disk()->release();
    RawClient client = open("a");
    for (int i = 0; i < 3; ++i) {
        client.send(request(kRead, 0, 1, 0, 1 << 20));
    }
    for (int i = 0; i < 3; ++i) {
        client.expect(read_reply(1, 0, 1 << 20));
    }
}

TEST_P(EitherDisk, FinishesWhatIsUnderWayWhenTheServerStops) {
    const auto disk = make_disk();
    RawClient client = open("a");
    client.send(request(kRead, 0, 1, 0, 600));
    disk->wait_held(1);
    drain();
    client.send(request(kRead, 0, 2, 0, 700));
    disk->wait_held(2);
    disk->end(1);
    client.expect(read_reply(2, 0, 700));
    disk->end(0);
    client.expect(read_reply(1, 0, 600));
    client.expect_end();
    wait_ended();
}

TEST_P(EitherDisk, DoesNotWaitForAnIdleClientWhenTheServerStops) {
    make_disk();
    RawClient client = open("a");
    drain();
    client.expect_end();
    wait_ended();
}

TEST_P(EitherDisk, DoesNotWaitForAPayloadWhenTheServerStops) {
    const auto disk = make_disk();
    RawClient client = open("a");
    client.send(request(kWrite, 0, 1, 0, 5000) + "the first bytes");
    drain();
    client.expect_end();
    wait_ended();
    EXPECT_EQ(disk->started(), 0u);
}

TEST_P(EitherDisk, AnswersWhatHadComeWhenTheServerStops) {
    const auto disk = make_disk();
    RawClient client = open("a");
    std::string requests;
    for (int i = 0; i < 60; ++i) {
        requests += request(kRead, 0, 1, 0, 8000);
    }
    client.send(requests);
    disk->wait_held(1);
    drain();
    disk->release();
    for (int i = 0; i < 60; ++i) {
        client.expect(read_reply(1, 0, 8000));
    }
    client.expect_end();
    wait_ended();
}

TEST_F(SessionTest, GoesToTheLoopOfItsDisk) {
    const auto disk = add_disk("far", &loop(1));
    disk->release();
    RawClient client = connect();
    client.send(go("far") + request(kRead, 0, 1, 5, 100000) + request(kRead, 0, 2, 6, 10));
    client.receive(20 + 12);  // INFO_EXPORT
    client.receive(20);       // and the acknowledgement, or what is before it
    std::atomic<std::size_t> here = 0;
    wait_until([&] {
        on_loops([&](SessionLoop& sessions) {
            if (&sessions == service_->loops.front().get()) {
                here = sessions.size();
            }
        });
        return here == 0 && disk->started() == 2;
    });
}

TEST_F(SessionTest, StopsOnItsWayToAnotherLoop) {
    add_disk("far", &loop(1));
    for (int i = 0; i < 20; ++i) {
        service_->draining.store(false);
        RawClient client = connect();
        client.send(go("far"));
        drain();
        wait_ended();
    }
}

TEST_F(SessionTest, ToldToStopBeforeItBegan) {
    service_->draining.store(true);
    RawClient client = connect();
    client.expect_end();
    wait_ended();
}

TEST_F(SessionTest, QuestionIsAnsweredWithShutdown) {
    add_disk("a", nullptr);
    federation_->close_gate();
    RawClient client = connect();
    client.send(go("a"));
    federation_->wait_at_gate();
    drain();
    const std::string reply = client.receive(20);
    EXPECT_EQ(reply.substr(0, 16), option_reply(kGo, 0x80000007).substr(0, 16));
    client.receive(static_cast<unsigned char>(reply[19]));
    client.expect_end();
    federation_->open_gate();
    wait_ended();
}

TEST_F(SessionTest, OptionThatHasComeGetsShutdown) {
    RawClient client = connect();
    on_loops([&](SessionLoop& sessions) {
        if (sessions.size() != 0) {
            client.send(option(99, "data"));
            service_->draining.store(true);
            sessions.for_each([](Session& session) { session.drain(); });
        }
    });
    const std::string reply = client.receive(20);
    EXPECT_EQ(reply.substr(0, 16), option_reply(99, 0x80000007).substr(0, 16));
    wait_ended();
}

TEST_F(SessionTest, ClientLeavesWhileADiskIsOpened) {
    add_disk("a", nullptr);
    federation_->close_gate();
    RawClient client = connect();
    client.send(go("a"));
    federation_->wait_at_gate();
    client.leave();
    on_loops([](SessionLoop&) {});
    EXPECT_EQ(service_->sessions.load(), 1u);
    federation_->open_gate();
    wait_ended();
}

TEST_F(SessionTest, ListShowsWhatIsBehindPagesOfHiddenDisks) {
    AccessRules access;
    access.rules.push_back({.disk = {"visible"}, .right = Right::read_only});
    start({}, access);
    for (int i = 0; i < 2500; ++i) {
        federation_->disks.emplace("hidden" + std::to_string(i), nullptr);
    }
    federation_->disks.emplace("visible", nullptr);
    RawClient client = connect();
    client.send(option(3));
    client.expect(option_reply(3, 2, Bytes().u32(7).text("visible").text("a disk").str()));
    client.expect(option_reply(3, kAck));
}

TEST_F(SessionTest, NegotiationHasItsTime) {
    start({.handshake_timeout = std::chrono::seconds(10)});
    RawClient client = connect();
    pass_time(std::chrono::seconds(9));
    EXPECT_EQ(service_->sessions.load(), 1u);
    pass_time(std::chrono::seconds(11));
    client.expect_end();
    wait_ended();
}

TEST_F(SessionTest, TimeOfTheServerIsNotTheClients) {
    start({.handshake_timeout = std::chrono::seconds(10)});
    add_disk("a", nullptr);
    federation_->close_gate();
    RawClient client = connect();
    client.send(go("a"));
    federation_->wait_at_gate();
    pass_time(std::chrono::seconds(60));
    federation_->open_gate();
    client.expect(option_reply(kGo, kInfo, std::string(12, '\0')).substr(0, 16));
}

TEST_F(SessionTest, AnnouncedPayloadHasItsTime) {
    add_disk("a", nullptr);
    RawClient client = open("a");
    client.send(request(kWrite, 0, 1, 0, 100000) + std::string(1000, 'x'));
    wait_until([this] {
        return service_->memory().left() < static_cast<std::int64_t>(service_->limits().memory);
    });
    pass_time(std::chrono::seconds(59));
    EXPECT_EQ(service_->sessions.load(), 1u);
    pass_time(std::chrono::seconds(61));
    client.expect_end();
    wait_ended();
}

TEST_F(SessionTest, IdleClientMayStay) {
    add_disk("a", nullptr)->release();
    RawClient client = open("a");
    pass_time(std::chrono::hours(24));
    client.send(request(kRead, 0, 1, 0, 10));
    client.expect(read_reply(1, 0, 10));
}

// A disk whose bytes leave from a file.
class DiskInAFile : public SessionTest {
   protected:
    std::shared_ptr<HeldDisk> make_disk() {
        const auto disk = add_disk("a", nullptr);
        file_ = std::tmpfile();
        const std::string bytes = HeldDisk::bytes_at(0, HeldDisk::kSize);
        EXPECT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file_), bytes.size());
        std::fflush(file_);
        disk->file_ = ::fileno(file_);
        return disk;
    }
    ~DiskInAFile() override {
        stop();
        std::fclose(file_);
    }

    std::FILE* file_ = nullptr;
};

TEST_F(DiskInAFile, IsReadInOneChunkThoughInSeveralPieces) {
    make_disk()->part_ = 30000;
    RawClient client = open("a", true);
    client.send(request(kRead, 0, 9, 5, 100000));
    client.expect(data_chunk(9, 0, 5, HeldDisk::bytes_at(5, 100000)));
    client.expect(none(9));
}

// Which turns out to have changed.
class ChangedFile : public DiskInAFile {
   protected:
    void make_disk() { DiskInAFile::make_disk()->holds_ = false; }
};

TEST_F(ChangedFile, EndsASimpleReply) {
    make_disk();
    RawClient client = open("a");
    client.send(request(kRead, 0, 1, 0, 100000) + request(kRead, 0, 2, 0, 100000));
    EXPECT_EQ(client.receive(16), simple_reply(1, 0));
    EXPECT_EQ(client.receive(100000).size(), 100000u);
    client.expect_end();
    wait_ended();
}

TEST_F(ChangedFile, IsAnErrorAtTheEndOfAStructuredReply) {
    make_disk();
    RawClient client = open("a", true);
    client.send(request(kRead, 0, 1, 0, 100000));
    EXPECT_EQ(client.receive(28 + 100000).size(), 100028u);
    const std::string error = client.receive(20);
    EXPECT_EQ(error.substr(0, 8), chunk(1, kDone, 0x8001).substr(0, 8));
}

}  // namespace
}  // namespace signpost::test
