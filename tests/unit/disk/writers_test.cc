// SPDX-License-Identifier: BSD-3-Clause
//
// One writer for a disk: at one server, and between servers, with clocks that the tests move and a
// catalog that they take away.

#include "nbd-server/disk/writers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "catalog/memory_catalog.h"
#include "tests/unit/disk/kept_log.h"

namespace signpost::test {

namespace {

using std::chrono::hours;
using std::chrono::seconds;

const DiskName kDisk = *DiskName::parse("web01/vda");

class CatalogThatMayBeAway final : public MemoryCatalog {
   public:
    using MemoryCatalog::MemoryCatalog;

    Result<std::optional<DiskRecord>> find(const DiskName& name) override {
        return away ? away_error() : MemoryCatalog::find(name);
    }
    Result<WriterLease> take_writer(const DiskName& disk, std::string_view server,
                                    std::string_view writer) override {
        return away ? away_error() : MemoryCatalog::take_writer(disk, server, writer);
    }
    Result<void> set_location_state(const DiskName& disk, std::string_view server,
                                    std::uint64_t generation, LocationState state) override {
        if (refuses_states) {
            return away_error();
        }
        return MemoryCatalog::set_location_state(disk, server, generation, state);
    }
    Result<void> release_writer(const WriterLease& lease) override {
        return away ? away_error() : MemoryCatalog::release_writer(lease);
    }

    std::atomic<bool> away{false};
    std::atomic<bool> refuses_states{false};

   private:
    static std::unexpected<Error> away_error() { return fail(Errc::unavailable, "away"); }
};

// Counts what reaches it. While it holds back, nothing ends.
class CountingDisk final : public Disk {
   public:
    CountingDisk() {
        traits_.size = 1 << 20;
        traits_.read_only = false;
    }

    const DiskTraits& traits() const override { return traits_; }

    std::atomic<int> writes{0};
    std::atomic<bool> holds_back{false};

   private:
    void start(Request& request) override {
        writes += request.op == Op::write ? 1 : 0;
        while (holds_back) {
            std::this_thread::yield();
        }
        request.done(request, 0);
    }

    DiskTraits traits_;
};

// A request on its way: how it ended, or kHeld.
class Pending {
   public:
    static constexpr int kHeld = -1;

    Pending(Disk& disk, Op op) {
        request_.op = op;
        request_.length = op == Op::flush ? 0 : 512;
        request_.buffer = bytes_;
        request_.context = this;
        request_.done = [](Request& request, int error) {
            static_cast<Pending*>(request.context)->result_ = error;
        };
        disk.submit(request_);
    }

    int now() const { return result_; }
    int wait() const {
        while (result_ == kHeld) {
            std::this_thread::yield();
        }
        return result_;
    }

   private:
    Request request_;
    std::byte bytes_[512] = {};
    std::atomic<int> result_{kHeld};
};

// One server, with a copy of the disk and a clock of its own.
struct Host {
    Host(const std::string& name, Catalog& by) : catalog(by), server(name) {
        WriterSettings settings;
        settings.own_thread = false;
        settings.clock = [this] { return BootTime(clock); };
        writers = std::make_unique<Writers>(Writers::Parts{catalog, workers, log, server},
                                            std::move(settings));
    }

    std::shared_ptr<Disk> open(const std::string& who) {
        return writers->guard(disk, {kDisk, server}, who);
    }

    // A write by WHO on a session of its own, as far as it gets now.
    int write(const std::shared_ptr<Disk>& session) {
        const Pending write(*session, Op::write);
        writers->look();
        while (write.now() == Pending::kHeld) {
            advance(std::chrono::milliseconds(500));
            writers->look();
            std::this_thread::yield();
        }
        return write.now();
    }

    void advance(BootTime time) { clock += time.count(); }

    void pass(seconds time) {
        advance(time);
        writers->look();
    }

    Catalog& catalog;
    const std::string server;
    std::atomic<std::int64_t> clock = BootTime(hours(1)).count();
    KeptLog log;
    WorkerPool workers{2};
    std::shared_ptr<CountingDisk> disk = std::make_shared<CountingDisk>();
    std::unique_ptr<Writers> writers;
};

class WritersTest : public testing::Test {
   protected:
    void publish(const std::string& server) {
        Server row;
        row.name = server;
        row.uris = {*NbdUri::parse("nbd://127.0.0.1:10809")};
        ASSERT_TRUE(catalog_.put_server(row));
        const Image image{.name = kDisk,
                          .export_name = kDisk.str(),
                          .size = 1 << 20,
                          .read_only = false,
                          .fingerprint = "w-" + server};
        ASSERT_TRUE(catalog_.publish(server, {.images = {image}}));
    }

    void one_copy() { publish("alpha"); }
    void two_copies() {
        publish("alpha");
        publish("beta");
    }

    // Time goes by everywhere.
    void pass(seconds time) {
        store_now_ += time.count();
        alpha_.pass(time);
        beta_.pass(time);
    }

    std::string holder() {
        const auto lease = catalog_.writer(kDisk);
        return lease && *lease ? (*lease)->server + " " + (*lease)->writer : "";
    }

    LocationState state_at(const std::string& server) {
        const auto record = catalog_.find(kDisk);
        for (const Location& location : (*record)->locations) {
            if (location.server == server) {
                return location.state;
            }
        }
        return LocationState::ready;
    }

    std::atomic<std::int64_t> store_now_{1'000'000};
    CatalogThatMayBeAway catalog_{[this] { return store_now_.load(); }};
    Host alpha_{"alpha", catalog_};
    Host beta_{"beta", catalog_};
};

}  // namespace

TEST_F(WritersTest, FirstWriteTakesTheLease) {
    one_copy();
    const auto session = alpha_.open("uid 1");
    EXPECT_EQ(holder(), "");
    EXPECT_EQ(alpha_.write(session), 0);
    EXPECT_EQ(holder(), "alpha uid 1");
    EXPECT_TRUE(alpha_.writers->writing(kDisk));
}

TEST_F(WritersTest, ReadingAndFlushingNeedNoLease) {
    one_copy();
    const auto session = alpha_.open("uid 1");
    EXPECT_EQ(Pending(*session, Op::read).now(), 0);
    EXPECT_EQ(Pending(*session, Op::flush).now(), 0);
    EXPECT_EQ(holder(), "");
}

TEST_F(WritersTest, AnotherClientIsHeldForAMomentAndThenRefused) {
    one_copy();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    const auto second = alpha_.open("uid 2");
    const Pending write(*second, Op::write);
    alpha_.pass(seconds(1));
    EXPECT_EQ(write.now(), Pending::kHeld);
    alpha_.pass(seconds(1));
    EXPECT_EQ(write.wait(), EBUSY);
    EXPECT_EQ(Pending(*second, Op::read).now(), 0);
    EXPECT_EQ(alpha_.disk->writes, 1);
    EXPECT_TRUE(alpha_.log.has("uid 1 writes to it"));
}

TEST_F(WritersTest, OneClientMayHaveManySessions) {
    one_copy();
    const auto first = alpha_.open("uid 1");
    const auto second = alpha_.open("uid 1");
    EXPECT_EQ(alpha_.write(first), 0);
    EXPECT_EQ(alpha_.write(second), 0);
}

TEST_F(WritersTest, FarewellMakesRoomAtOnce) {
    one_copy();
    auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    const auto second = alpha_.open("uid 2");
    const Pending write(*second, Op::write);
    first->farewell();
    first.reset();
    alpha_.writers->look();
    EXPECT_EQ(write.wait(), 0);
    EXPECT_EQ(holder(), "alpha uid 2");
}

TEST_F(WritersTest, ClientThatWasCutOffMayComeBackAndNobodyElse) {
    one_copy();
    auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    first.reset();
    EXPECT_EQ(alpha_.write(alpha_.open("uid 2")), EBUSY);
    EXPECT_EQ(alpha_.write(alpha_.open("uid 1")), 0);
}

TEST_F(WritersTest, ClientThatDoesNotComeBackMakesRoomWhenItsLeaseHasLapsed) {
    one_copy();
    auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    first.reset();
    pass(kWriterLease);
    EXPECT_EQ(alpha_.write(alpha_.open("uid 2")), 0);
}

TEST_F(WritersTest, AnotherServerIsRefusedWhileTheLeaseHolds) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    EXPECT_EQ(beta_.write(beta_.open("uid 1")), EBUSY);
    EXPECT_EQ(beta_.disk->writes, 0);
    EXPECT_EQ(state_at("alpha"), LocationState::ready);
}

TEST_F(WritersTest, RenewalKeepsTheLease) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    for (int i = 0; i < 20; ++i) {
        pass(seconds(4));
    }
    EXPECT_EQ(holder(), "alpha uid 1");
    EXPECT_EQ(alpha_.write(first), 0);
}

TEST_F(WritersTest, OnlyCopyGoesOnWithoutTheCatalog) {
    one_copy();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    catalog_.away = true;
    for (int i = 0; i < 20; ++i) {
        pass(seconds(10));
    }
    EXPECT_EQ(Pending(*first, Op::write).now(), 0);
}

TEST_F(WritersTest, HolderOfOneOfTwoCopiesHoldsRequestsWithoutTheCatalog) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    catalog_.away = true;
    pass(seconds(11));
    const Pending write(*first, Op::write);
    const Pending flush(*first, Op::flush);
    pass(seconds(11));
    EXPECT_EQ(write.now(), Pending::kHeld);
    EXPECT_EQ(flush.now(), Pending::kHeld);
    pass(seconds(1));
    EXPECT_EQ(write.wait(), EIO);
    EXPECT_EQ(flush.wait(), EIO);
    EXPECT_EQ(alpha_.disk->writes, 1);
}

TEST_F(WritersTest, HeldRequestsGoOnWhenTheCatalogIsBack) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    catalog_.away = true;
    pass(seconds(11));
    const Pending write(*first, Op::write);
    pass(seconds(1));
    ASSERT_EQ(write.now(), Pending::kHeld);
    catalog_.away = false;
    pass(seconds(1));
    EXPECT_EQ(write.wait(), 0);
}

TEST_F(WritersTest, WithoutTheCatalogNobodyBegins) {
    two_copies();
    catalog_.away = true;
    EXPECT_EQ(alpha_.write(alpha_.open("uid 1")), EIO);
    EXPECT_EQ(alpha_.disk->writes, 0);
}

// The holder is stopped (SIGSTOP): its clock goes on, and it looks at nothing.
TEST_F(WritersTest, StoppedHolderDoesNotWriteAfterAnotherHasTakenOver) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    store_now_ += 60;
    alpha_.advance(seconds(60));
    const auto second = beta_.open("uid 2");
    ASSERT_EQ(beta_.write(second), 0);
    EXPECT_EQ(holder(), "beta uid 2");

    const Pending write(*first, Op::write);
    const Pending flush(*first, Op::flush);
    EXPECT_EQ(alpha_.disk->writes, 1);
    alpha_.writers->look();
    EXPECT_EQ(write.wait(), ESTALE);
    EXPECT_EQ(flush.wait(), ESTALE);
    EXPECT_EQ(alpha_.disk->writes, 1);
    EXPECT_EQ(state_at("alpha"), LocationState::stale);
    EXPECT_EQ(state_at("beta"), LocationState::ready);
    EXPECT_TRUE(alpha_.log.has("may write to the image of server alpha no more"));
}

TEST_F(WritersTest, NobodyWritesBeforeTheOtherCopyIsMarkedAsStale) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    store_now_ += 60;
    catalog_.refuses_states = true;
    const auto second = beta_.open("uid 2");
    EXPECT_EQ(beta_.write(second), EIO);
    EXPECT_EQ(beta_.disk->writes, 0);
    catalog_.refuses_states = false;
    EXPECT_EQ(beta_.write(second), 0);
    EXPECT_EQ(state_at("alpha"), LocationState::stale);
}

TEST_F(WritersTest, StoppedHolderGoesOnWhenNobodyHasTakenOver) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    pass(seconds(60));
    const Pending write(*first, Op::write);
    alpha_.writers->look();
    EXPECT_EQ(write.wait(), 0);
}

TEST_F(WritersTest, LeaseThatAnotherHadMeanwhileIsNotTakenUpAgain) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    store_now_ += 60;
    auto second = beta_.open("uid 2");
    ASSERT_EQ(beta_.write(second), 0);
    second->farewell();
    second.reset();
    beta_.writers->look();

    alpha_.advance(seconds(60));
    const Pending write(*first, Op::write);
    alpha_.writers->look();
    EXPECT_EQ(write.wait(), ESTALE);
    EXPECT_EQ(alpha_.disk->writes, 1);
}

TEST_F(WritersTest, WriteThatEndsAfterTheLeaseIsNoSuccess) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    alpha_.disk->holds_back = true;
    std::unique_ptr<Pending> write;
    std::thread client([&] { write = std::make_unique<Pending>(*first, Op::write); });
    while (alpha_.disk->writes < 2) {
        std::this_thread::yield();
    }
    catalog_.away = true;
    alpha_.advance(seconds(60));
    alpha_.disk->holds_back = false;
    client.join();
    EXPECT_EQ(write->wait(), EIO);
}

TEST_F(WritersTest, CopyThatIsStaleIsNotWritten) {
    two_copies();
    const auto record = catalog_.find(kDisk);
    ASSERT_TRUE(catalog_.set_location_state(kDisk, "alpha", (*record)->locations[0].generation,
                                            LocationState::stale));
    EXPECT_EQ(alpha_.write(alpha_.open("uid 1")), ESTALE);
    EXPECT_EQ(alpha_.disk->writes, 0);
}

// The primary of the catalog's database is replaced by one whose clock is two hours ahead.
TEST_F(WritersTest, JumpOfTheCatalogsClockMakesNoTwoWriters) {
    two_copies();
    const auto first = alpha_.open("uid 1");
    ASSERT_EQ(alpha_.write(first), 0);
    store_now_ += 7200;
    const auto second = beta_.open("uid 2");
    const Pending write(*second, Op::write);
    beta_.writers->look();
    ASSERT_EQ(holder(), "beta uid 2");
    // The old holder has not looked yet, and may write: so the new one may not.
    EXPECT_EQ(Pending(*first, Op::write).now(), 0);
    EXPECT_EQ(write.now(), Pending::kHeld);
    for (int i = 0; i < 10; ++i) {
        pass(seconds(1));
        ASSERT_EQ(write.now(), Pending::kHeld);
    }
    const Pending late(*first, Op::write);
    EXPECT_EQ(late.now(), Pending::kHeld);
    pass(seconds(1));
    EXPECT_EQ(write.wait(), 0);
    while (late.now() == Pending::kHeld) {
        pass(seconds(1));
    }
    EXPECT_EQ(late.now(), ESTALE);
}

TEST_F(WritersTest, RelayOfASignpostServerTakesNoLease) {
    one_copy();
    const auto session = beta_.writers->guard(beta_.disk, {kDisk, ""}, "uid 1");
    EXPECT_EQ(beta_.write(session), 0);
    EXPECT_EQ(holder(), "");
    EXPECT_EQ(beta_.write(beta_.writers->guard(beta_.disk, {kDisk, ""}, "uid 2")), EBUSY);
}

TEST_F(WritersTest, LongIdentityIsToldFromAnother) {
    one_copy();
    const std::string long_name(300, 'x');
    ASSERT_EQ(alpha_.write(alpha_.open(long_name + "1")), 0);
    EXPECT_LE(holder().size(), 128 + std::string("alpha ").size());
    EXPECT_EQ(alpha_.write(alpha_.open(long_name + "2")), EBUSY);
}

TEST_F(WritersTest, ImageThatIsNotInTheCatalogIsWrittenWithoutALease) {
    EXPECT_EQ(alpha_.write(alpha_.open("uid 1")), 0);
}

}  // namespace signpost::test
