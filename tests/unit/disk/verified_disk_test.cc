// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/verified_disk.h"

#include <gtest/gtest.h>

#include <future>
#include <list>

#include "nbd-server/wire/protocol.h"
#include "tests/unit/disk/collecting_sink.h"
#include "tests/unit/disk/copies.h"

namespace signpost::test {
namespace {

class VerifiedDiskTest : public testing::Test {
   protected:
    void add_three() {
        for (const char* server : {"alpha", "beta", "gamma"}) {
            copies_.add(server, content_);
        }
    }

    void spoil(const std::string& server, std::uint64_t offset) {
        copies_[server].content[offset] ^= std::byte{1};
    }

    // Once what is on its way to the catalog is there.
    LocationState state_after_stop(const std::string& server) {
        copies_.stop();
        return copies_.row_of(server).state;
    }

    Result<void> reach() {
        std::promise<Result<void>> answer;
        copies_.disk->reach([&answer](const Result<void>& told) { answer.set_value(told); });
        return answer.get_future().get();
    }

    const Bytes content_ = content_of_disk();
    Copies copies_{content_};
};

TEST_F(VerifiedDiskTest, ReadsWhatThereIs) {
    add_three();
    copies_.start();
    for (const std::uint64_t offset :
         {std::uint64_t{0}, kChunk - 1, 2 * kChunk - 100, 5 * kChunk}) {
        EXPECT_TRUE(copies_.reads_right(content_, offset, 5000)) << offset;
    }
    EXPECT_TRUE(copies_.reads_right(content_, 0, content_.size()));
}

TEST_F(VerifiedDiskTest, GivesPartsToASink) {
    add_three();
    copies_.start();
    CollectingSink sink(copies_.loop(), 100, content_.size() - 100);
    Request request;
    request.offset = 100;
    request.length = content_.size() - 100;
    request.sink = &sink;
    EXPECT_EQ(submit_and_wait(*copies_.disk, request), 0);
    EXPECT_TRUE(sink.matches(content_));
}

// Keeps what it gets.
class KeepingSink final : public ReadSink {
   public:
    void take(Request&, ReadPart part) override { parts.push_back(std::move(part)); }

    int read(Disk& disk) {
        Request request;
        request.length = disk.traits().size;
        request.sink = this;
        return submit_and_wait(disk, request);
    }

    auto lent() const { return std::ranges::count(parts, ReadPart::Place::lent, &ReadPart::place); }

    bool matches(const Bytes& content) const {
        return std::ranges::all_of(parts, [&](const ReadPart& part) {
            const std::byte* bytes = part.loan ? part.loan.get() : part.bytes.get();
            return part.place == ReadPart::Place::hole ||
                   std::memcmp(bytes, content.data() + part.offset, part.length) == 0;
        });
    }

    std::vector<ReadPart> parts;
};

TEST_F(VerifiedDiskTest, LendsALargeReadItsBytes) {
    add_three();
    copies_.start();
    KeepingSink sink;
    ASSERT_EQ(sink.read(*copies_.disk), 0);
    EXPECT_EQ(sink.lent(), 5);
    EXPECT_TRUE(sink.matches(content_));
}

TEST_F(VerifiedDiskTest, LentBytesStayAsTheyAre) {
    add_three();
    copies_.start({.chunks = 4});
    KeepingSink sink;
    ASSERT_EQ(sink.read(*copies_.disk), 0);
    ASSERT_GT(sink.lent(), 0);
    for (std::uint64_t chunk = 0; chunk < 6; ++chunk) {
        EXPECT_TRUE(copies_.reads_right(content_, chunk * kChunk, 100)) << chunk;
    }
    copies_.stop();
    EXPECT_TRUE(sink.matches(content_));
}

TEST_F(VerifiedDiskTest, AClientThatKeepsItsLoansLeavesMemoryForOthers) {
    add_three();
    copies_.start({.chunks = 4});
    KeepingSink slow;
    ASSERT_EQ(slow.read(*copies_.disk), 0);
    EXPECT_LE(slow.lent(), 2);
    EXPECT_TRUE(slow.matches(content_));
    KeepingSink other;
    EXPECT_EQ(other.read(*copies_.disk), 0);
    EXPECT_TRUE(other.matches(content_));
}

TEST(ChunkPool, LendsAgainWhenLoansHaveEnded) {
    const auto pool = std::make_shared<ChunkPool>(2);
    const auto one = pool->take();
    const auto other = pool->take();
    auto loan = pool->lend(one);
    auto same = loan;
    EXPECT_NE(loan, nullptr);
    loan.reset();
    EXPECT_EQ(pool->lend(other), nullptr);
    same.reset();
    EXPECT_NE(pool->lend(other), nullptr);
}

TEST(ChunkPool, ALoanHoldsItsMemory) {
    const auto pool = std::make_shared<ChunkPool>(2);
    auto chunk = pool->take();
    auto loan = pool->lend(chunk);
    chunk.reset();
    const auto other = pool->try_take();
    EXPECT_EQ(pool->try_take(), nullptr);
    loan.reset();
    EXPECT_NE(pool->try_take(), nullptr);
}

TEST_F(VerifiedDiskTest, ABadCopyIsNotUsedAndBecomesDamaged) {
    add_three();
    spoil("alpha", kChunk + 17);
    copies_.start();
    EXPECT_TRUE(copies_.reads_right(content_, kChunk, 4096));
    EXPECT_TRUE(copies_.reads_right(content_, 0, content_.size()));
    EXPECT_EQ(state_after_stop("alpha"), LocationState::damaged);
    EXPECT_TRUE(copies_.log.has("server alpha gave wrong bytes in 4194304 to 8388608"));
    EXPECT_EQ(copies_.row_of("beta").state, LocationState::ready);
}

TEST_F(VerifiedDiskTest, EachCopyMayBeBadSomewhereElse) {
    add_three();
    spoil("alpha", 0);
    spoil("beta", 3 * kChunk);
    spoil("gamma", 4 * kChunk);
    copies_.start();
    EXPECT_TRUE(copies_.reads_right(content_, 0, content_.size()));
    EXPECT_TRUE(copies_.reads_right(content_, 0, content_.size()));
}

TEST_F(VerifiedDiskTest, WithoutAGoodCopyItIsAnErrorAndNeverAWrongByte) {
    copies_.add("alpha", content_);
    spoil("alpha", 5);
    copies_.start();
    EXPECT_EQ(copies_.read(0, 4096), EIO);
    EXPECT_TRUE(copies_.reads_right(content_, kChunk, 4096));
    EXPECT_TRUE(copies_.log.has("no copy has good bytes in 0 to 4194304"));
}

TEST_F(VerifiedDiskTest, ACopyThatGivesErrorsIsNotCalledDamaged) {
    add_three();
    copies_["alpha"].gives_errors = true;
    spoil("beta", 5);
    copies_.start();
    EXPECT_TRUE(copies_.reads_right(content_, 0, 4096));
    EXPECT_EQ(state_after_stop("alpha"), LocationState::ready);
    EXPECT_EQ(copies_.row_of("beta").state, LocationState::damaged);
}

TEST_F(VerifiedDiskTest, HostileChunkDigestsAreProvenWrong) {
    add_three();
    copies_["alpha"].leaves[40] ^= std::byte{1};
    copies_["beta"].leaves.resize(31);
    copies_.start();
    EXPECT_TRUE(reach());
    EXPECT_TRUE(copies_.log.has("server alpha gives chunk digests that do not belong to it"));
    EXPECT_TRUE(copies_.reads_right(content_, 0, content_.size()));
}

TEST_F(VerifiedDiskTest, WithoutProvenChunkDigestsNothingIsServed) {
    add_three();
    copies_["alpha"].leaves.clear();
    copies_["beta"].leaves.resize(std::size_t{32} * 1000);
    copies_["gamma"].leaves[0] ^= std::byte{1};
    copies_.start({.patience = std::chrono::seconds(1)});
    const auto answer = reach();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Errc::unavailable);
    EXPECT_TRUE(copies_.log.has("disk 'vda' cannot be checked, so it is not served: no server"));
    EXPECT_EQ(copies_.read(0, 4096), EIO);
    EXPECT_EQ(copies_.reads_of("alpha"), 0);
}

TEST_F(VerifiedDiskTest, OnlyDigestsSayWhatIsZero) {
    add_three();
    copies_.start();
    std::vector<Extent> extents;
    Request request;
    request.op = Op::extents;
    request.offset = kChunk;
    request.length = 3 * kChunk;
    request.extents = &extents;
    ASSERT_EQ(submit_and_wait(*copies_.disk, request), 0);
    ASSERT_EQ(extents.size(), 3U);
    EXPECT_EQ(extents[0].flags, 0U);
    EXPECT_EQ(extents[1].length, kChunk);
    EXPECT_EQ(extents[1].flags, wire::kStateHole | wire::kStateZero);
    EXPECT_TRUE(copies_.reads_right(content_, 2 * kChunk, kChunk));
    EXPECT_EQ(copies_.reads_of("alpha"), 0);
}

TEST_F(VerifiedDiskTest, ManyReadersOfAChunkCostOneRead) {
    copies_.add("alpha", content_);
    copies_.start();
    struct One {
        Request request;
        Bytes bytes = Bytes(1000);
        std::promise<int> error;
    };
    std::list<One> readers(20);
    for (One& one : readers) {
        one.request.offset = 4 * kChunk;
        one.request.length = one.bytes.size();
        one.request.buffer = one.bytes.data();
        one.request.context = &one;
        one.request.done = [](Request& request, int error) {
            static_cast<One*>(request.context)->error.set_value(error);
        };
        copies_.disk->submit(one.request);
    }
    for (One& one : readers) {
        EXPECT_EQ(one.error.get_future().get(), 0);
    }
    EXPECT_EQ(copies_.reads_of("alpha"), 1);
}

TEST_F(VerifiedDiskTest, LittleMemoryIsEnough) {
    add_three();
    spoil("alpha", 1);
    copies_.start({.chunks = 1});
    EXPECT_TRUE(copies_.reads_right(content_, 0, content_.size()));
    EXPECT_TRUE(copies_.reads_right(content_, 3 * kChunk - 5, kChunk));
}

// What verify=relay says: a disk is checked as soon as it can be, and served all the same.
class OptionalCheckTest : public VerifiedDiskTest {
   protected:
    void add_without_leaves(const std::string& server) {
        copies_.add(server, content_);
        copies_[server].leaves.clear();
    }

    void start() { copies_.start({.must_check = false}); }

    // A read at 0 of a kind, through the loop, whose answer is kept back until let_go().
    struct KeptBack {
        Request request;
        std::promise<int> error;
    };

    void submit(KeptBack& read) {
        read.request.length = 4096;
        read.request.context = &read;
        read.request.done = [](Request& request, int error) {
            static_cast<KeptBack*>(request.context)->error.set_value(error);
        };
        copies_.disk->submit(read.request);
    }

    void await_check() {
        while (!copies_.log.has("disk 'vda': checked from now on")) {
            EXPECT_TRUE(reach());
        }
    }

    std::size_t lines_with(std::string_view part) const {
        const auto lines = copies_.log.lines();
        return static_cast<std::size_t>(std::ranges::count_if(
            lines, [&](const std::string& line) { return line.find(part) != std::string::npos; }));
    }
};

TEST_F(OptionalCheckTest, WithoutChunkDigestsTheDiskIsServed) {
    add_without_leaves("alpha");
    start();
    EXPECT_TRUE(reach());
    EXPECT_TRUE(copies_.reads_right(content_, kChunk - 1, 5000));
    EXPECT_TRUE(copies_.log.has(
        "disk 'vda': not checked: no server gives chunk digests that can be proven (alpha: "));
}

TEST_F(OptionalCheckTest, ReadsWaitForASearchThatIsUnderWay) {
    add_without_leaves("alpha");
    start();
    EXPECT_TRUE(copies_.reads_right(content_, 0, content_.size()));
}

TEST_F(OptionalCheckTest, SaysOnceThatItDoesNotCheck) {
    add_without_leaves("alpha");
    copies_["alpha"].leaves.resize(32 * 6);
    start();
    EXPECT_TRUE(reach());
    copies_.leaf_reads(4);
    EXPECT_EQ(lines_with("not checked"), 1U);
    EXPECT_EQ(lines_with("chunk digests that do not belong to it"), 1U);
}

TEST_F(OptionalCheckTest, AsksForChunkDigestsAtAGrowingInterval) {
    add_without_leaves("alpha");
    const std::chrono::milliseconds again(8);
    copies_.start({.must_check = false, .again = again});
    EXPECT_TRUE(reach());
    const auto times = copies_.leaf_reads(5);
    // 15 times in all; the loop's clock stands still while it works, so they may look shorter.
    EXPECT_GE(times.back() - times.front(), 8 * again);
}

TEST_F(OptionalCheckTest, OnceChunkDigestsAreKnownABadCopyIsNotUsed) {
    add_without_leaves("alpha");
    add_without_leaves("beta");
    spoil("alpha", 17);
    start();
    ASSERT_EQ(copies_.read(0, 4096), 0);
    EXPECT_EQ(copies_.buffer[17], content_[17] ^ std::byte{1}) << "not the plain relay's answer";
    copies_.give_leaves("beta");
    await_check();
    EXPECT_TRUE(copies_.reads_right(content_, 0, content_.size()));
    EXPECT_EQ(state_after_stop("alpha"), LocationState::damaged);
}

TEST_F(OptionalCheckTest, AReadUnderWayWhenChunkDigestsBecomeKnownIsChecked) {
    add_without_leaves("alpha");
    add_without_leaves("beta");
    spoil("alpha", 17);
    copies_["alpha"].keeps_content_back = true;
    start();
    ASSERT_TRUE(reach());
    Bytes bytes(4096);
    KeptBack in_memory;
    in_memory.request.buffer = bytes.data();
    submit(in_memory);
    CollectingSink sink(copies_.loop(), 0, 4096);
    KeptBack in_parts;
    in_parts.request.sink = &sink;
    submit(in_parts);
    copies_.give_leaves("beta");
    await_check();
    copies_.loop().post([this] { copies_["alpha"].keeps_content_back = false; });
    copies_.let_go();
    EXPECT_EQ(in_memory.error.get_future().get(), 0);
    EXPECT_EQ(std::memcmp(bytes.data(), content_.data(), bytes.size()), 0);
    EXPECT_EQ(in_parts.error.get_future().get(), 0);
    EXPECT_TRUE(sink.matches(content_));
}

TEST_F(OptionalCheckTest, AServerThatHangsWithTheChunkDigestsCostsTheSearchOnly) {
    copies_.add("alpha", content_);
    copies_["alpha"].keeps_leaves_back = true;
    copies_.start({.must_check = false, .search = std::chrono::milliseconds(20)});
    EXPECT_TRUE(copies_.reads_right(content_, 0, 4096));
    EXPECT_TRUE(copies_.log.has("not checked: its chunk digests have not come in time"));
    copies_.let_go();
    await_check();
    EXPECT_TRUE(copies_.reads_right(content_, 0, content_.size()));
}

TEST(DigestToHold, IsThatOfTheFirstCopyThatHasOne) {
    RelayPlan plan{.disk = *DiskName::parse("vda"), .traits = {}, .upstreams = {}};
    plan.traits.size = 10;
    plan.upstreams.resize(2);
    plan.upstreams[1].location.size = 10;
    plan.upstreams[1].location.digest = "sha256-32k:1";
    EXPECT_EQ(digest_to_hold(plan), "sha256-32k:1");
    plan.traits.read_only = false;
    EXPECT_EQ(digest_to_hold(plan), "");
}

}  // namespace
}  // namespace signpost::test
