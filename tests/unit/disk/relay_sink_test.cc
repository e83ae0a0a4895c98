// SPDX-License-Identifier: BSD-3-Clause
//
// Reads through a relay that are taken part by part, with servers that behave.

#include <array>
#include <atomic>
#include <thread>

#include "tests/unit/disk/relay_fixture.h"

namespace signpost::test {

using Place = ReadPart::Place;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kPiece = 256 * 1024;

class RelaySink : public RelayTest {
   protected:
    void serve(FaultServer::Manners manners) {
        beta_.set_manners(std::move(manners));
        open({upstream_of(beta_, "beta")});
    }

    void expect_good_read(std::uint64_t offset, std::uint64_t length) {
        ASSERT_EQ(read_parts(offset, length), 0);
        EXPECT_TRUE(parts_->matches(content_)) << offset << "+" << length;
    }

    const Bytes content_ = pattern(4 * kMiB, 1);
    FaultServer beta_{content_};
};

TEST_F(RelaySink, BringsTheBytesOfThePeer) {
    serve({});
    const std::array<std::pair<std::uint64_t, std::uint64_t>, 7> ranges{{{0, 512},
                                                                         {1, 1},
                                                                         {4095, 70'000},
                                                                         {65536, kMiB},
                                                                         {0, 4 * kMiB},
                                                                         {123, 2 * kMiB + 77},
                                                                         {4 * kMiB - 1, 1}}};
    for (const auto& [offset, length] : ranges) {
        expect_good_read(offset, length);
    }
}

TEST_F(RelaySink, LargePayloadsComeInPipes) {
    serve({});
    expect_good_read(0, kMiB);
    EXPECT_EQ(parts_->count(Place::pipe), 4);
    EXPECT_EQ(parts_->count(Place::memory), 0);
}

TEST_F(RelaySink, SmallPayloadsComeInMemory) {
    serve({});
    expect_good_read(100, 8192);
    EXPECT_EQ(parts_->count(Place::memory), 1);
    EXPECT_EQ(parts_->count(Place::pipe), 0);
}

TEST_F(RelaySink, AsksForPiecesThatAreCheapToLose) {
    serve({});
    expect_good_read(0, 4 * kMiB);
    EXPECT_EQ(parts_->longest(), kPiece);
    EXPECT_EQ(beta_.reads(), 16);
}

TEST_F(RelaySink, HolesStayHoles) {
    serve({.reply = ReadReply::holes});
    expect_good_read(0, kMiB);
    EXPECT_EQ(parts_->count(Place::hole), 4);
}

TEST_F(RelaySink, ManyCrumbsComeInOnePart) {
    serve({.reply = ReadReply::crumbs});
    expect_good_read(1000, kPiece);
    EXPECT_EQ(parts_->count(Place::memory), 1);
    EXPECT_EQ(parts_->longest(), kPiece);
}

TEST_F(RelaySink, ChunksMayComeInAnyOrder) {
    serve({.reply = ReadReply::two_chunks});
    expect_good_read(300, kMiB);
    expect_good_read(300, 600);
}

TEST_F(RelaySink, UnderstandsSimpleReplies) {
    serve({.structured = false});
    expect_good_read(1000, kMiB);
    expect_good_read(1000, 1000);
}

TEST_F(RelaySink, WidensToTheBlocksOfThePeer) {
    serve({.minimum_block = 4096});
    expect_good_read(4095, 2);
    expect_good_read(8191, kPiece);
    expect_good_read(4 * kMiB - 3, 3);
}

TEST_F(RelaySink, SplitsAtTheMaximumPayloadOfThePeer) {
    serve({.maximum_payload = 65536});
    expect_good_read(100, 1'000'000);
    EXPECT_LE(parts_->longest(), 65536U);
}

TEST_F(RelaySink, FullPipeGoesOnInMemory) {
    RelaySettings settings;
    settings.limits = short_limits();
    settings.pipe_bytes = 4096;  // one fragment
    restart_engine(settings);
    serve({});
    expect_good_read(0, 4 * kMiB);
    EXPECT_GT(parts_->count(Place::pipe), 0);
    EXPECT_GT(parts_->count(Place::memory), 0);
}

TEST_F(RelaySink, WithoutPipesEverythingComesInMemory) {
    RelaySettings settings;
    settings.limits = short_limits();
    settings.pipes = 0;
    restart_engine(settings);
    serve({});
    expect_good_read(7, 3 * kMiB);
    EXPECT_EQ(parts_->count(Place::pipe), 0);
}

// Keeps what it is given, as a session does whose client does not read.
class KeepingSink final : public ReadSink {
   public:
    void take(Request&, ReadPart part) override { kept.push_back(std::move(part)); }

    std::vector<ReadPart> kept;
};

TEST_F(RelaySink, PipesThatAClientKeepsDelayNobody) {
    RelaySettings settings;
    settings.limits = short_limits();
    settings.pipes = 2;
    restart_engine(settings);
    serve({});
    KeepingSink slow;
    Request request;
    request.length = kMiB;
    request.sink = &slow;
    ASSERT_EQ(submit_and_wait(*disk_, request), 0);
    expect_good_read(0, kMiB);
    EXPECT_EQ(parts_->count(Place::pipe), 0);
    slow.kept.clear();
    expect_good_read(0, kMiB);
    EXPECT_GT(parts_->count(Place::pipe), 0);
}

TEST_F(RelaySink, ReadErrorReachesTheClient) {
    serve({.read_error = 5});
    EXPECT_EQ(read_parts(0, kMiB), EIO);
    EXPECT_EQ(parts_->count(Place::memory) + parts_->count(Place::pipe), 0);
}

TEST_F(RelaySink, SmallAndLargeReadsMix) {
    serve({});
    std::vector<std::thread> clients;
    std::atomic<int> wrong{0};
    for (unsigned client = 0; client < 6; ++client) {
        clients.emplace_back([&, client] {
            std::uint64_t state = client + 1;
            for (int i = 0; i < 100; ++i) {
                wrong +=
                    random_read_parts(*disk_, content_, state, i % 5 == 0 ? kMiB : 8192) ? 0 : 1;
            }
        });
    }
    for (std::thread& client : clients) {
        client.join();
    }
    EXPECT_EQ(wrong, 0);
}

// Reads one block after the other, each asked for from within the end of the one before.
class LoopReader final : private ReadSink {
   public:
    LoopReader(Disk& disk, int reads) : disk_(disk), left_(reads) {
        request_.length = 4096;
        request_.sink = this;
        request_.context = this;
        request_.done = [](Request& done, int error) {
            static_cast<LoopReader*>(done.context)->go_on(error);
        };
        disk_.home_loop()->post([this] { disk_.submit(request_); });
    }

    int wait() {
        ended_.wait(false);
        return errors_;
    }

   private:
    void take(Request&, ReadPart) override {}

    void go_on(int error) {
        errors_ += error == 0 && disk_.home_loop()->is_here() ? 0 : 1;
        request_.offset += 4096;
        if (--left_ > 0) {
            disk_.submit(request_);
        } else {
            ended_ = true;
            ended_.notify_all();
        }
    }

    Disk& disk_;
    Request request_;
    int left_;
    int errors_ = 0;
    std::atomic<bool> ended_{false};
};

TEST_F(RelaySink, MayBeAskedOnItsOwnLoop) {
    serve({});
    EXPECT_EQ(LoopReader(*disk_, 500).wait(), 0);
}

TEST_F(RelaySink, DisksSpreadOverTheLoops) {
    RelaySettings settings;
    settings.limits = short_limits();
    settings.loops = 2;
    restart_engine(settings);
    ASSERT_EQ(engine_->loops().size(), 2U);
    serve({});
    const std::shared_ptr<Disk> first = disk_;
    open({upstream_of(beta_, "beta")});
    EXPECT_NE(first->home_loop(), disk_->home_loop());
    expect_good_read(0, kMiB);
    EXPECT_EQ(LoopReader(*first, 20).wait(), 0);
}

}  // namespace signpost::test
