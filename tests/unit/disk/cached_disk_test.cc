// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/cached_disk.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <future>
#include <list>
#include <map>
#include <mutex>
#include <thread>

#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/wire/protocol.h"
#include "tests/unit/disk/relay_fixture.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

constexpr std::size_t kSize = 9 * 1024 * 1024 + 1234;  // two chunks and some, not whole blocks

// Without a block of zeroes.
Bytes noise(std::size_t size) {
    Bytes bytes(size);
    std::uint64_t state = 1;
    for (std::size_t at = 0; at + 8 <= size; at += 512) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        std::memcpy(bytes.data() + at, &state, 8);
    }
    return bytes;
}

std::string print_of(char digit) {
    return "r-" + std::string(32, digit);
}

FaultServer::Manners shows(const std::string& fingerprint) {
    FaultServer::Manners manners;
    manners.description = describe_with_fingerprint("raw", fingerprint);
    return manners;
}

class CachedDiskTest : public RelayTest {
   protected:
    CachedDiskTest() { start(); }
    ~CachedDiskTest() override { stop(); }

    void start(std::uint64_t size = kLeastCacheSize, const std::string& directory = "cache") {
        BootProfiles profiles;
        profiles.find = [this](const std::string& disk) -> std::optional<std::string> {
            const std::lock_guard lock(mutex_);
            const auto found = profiles_.find(disk);
            return found == profiles_.end() ? std::nullopt : std::optional(found->second);
        };
        profiles.learned = [this](const std::string& disk, const std::string& profile) {
            const std::lock_guard lock(mutex_);
            profiles_[disk] = profile;
        };
        auto cache = BlockCache::start({.directory = tree_.path(directory), .size = size}, log_,
                                       std::move(profiles));
        ASSERT_TRUE(cache) << cache.error().message;
        cache_ = std::move(*cache);
    }

    // As a process that ends in order.
    void stop() {
        disk_.reset();
        cache_.reset();
    }

    void restart(std::uint64_t size = kLeastCacheSize) {
        stop();
        start(size);
    }

    static Upstream copy_on(const FaultServer& server, const std::string& name, char print,
                            const std::string& digest = "") {
        Upstream upstream = upstream_of(server, name, digest);
        upstream.location.fingerprint = print_of(print);
        return upstream;
    }

    // Its content is known from then on.
    std::shared_ptr<Disk> cached(std::vector<Upstream> upstreams,
                                 const std::string& name = "web01/vda") {
        auto disk = made(std::move(upstreams), name);
        EXPECT_TRUE(reach(*disk));
        return disk;
    }

    static Result<void> reach(Disk& disk) {
        std::promise<Result<void>> reached;
        disk.reach([&reached](const Result<void>& told) { reached.set_value(told); });
        return reached.get_future().get();
    }

    std::shared_ptr<Disk> made(std::vector<Upstream> upstreams,
                               const std::string& name = "web01/vda") {
        RelayPlan plan = plan_;
        plan.disk = *DiskName::parse(name);
        plan.traits.size = upstreams.front().location.size;
        plan.upstreams = std::move(upstreams);
        return make_cached_disk(*cache_, std::move(plan), [this](RelayPlan below) {
            return make_relayed_disk(*engine_, std::move(below));
        });
    }

    // All of a disk of SERVER's is kept, and the server gone.
    void keep_all_and_kill(FaultServer& server, std::vector<Upstream> upstreams) {
        disk_ = cached(std::move(upstreams));
        EXPECT_TRUE(reads_right(content_, 0, kSize));
        wait_until_stored(content_, 0, kSize);
        server.kill();
        restart();
    }

    void open_cached(const FaultServer& server, char print = '1') {
        disk_ = cached({copy_on(server, "alpha", print)});
    }

    bool reads_right(const Bytes& content, std::uint64_t offset, std::uint64_t length) {
        return read(offset, length) == 0 && matches(content, offset);
    }

    // As a session whose bytes are at hand.
    bool has_now(const Bytes& content, std::uint64_t offset, std::size_t length) {
        Bytes bytes(length);
        return disk_->read_now(offset, bytes) == Disk::Now::done &&
               std::memcmp(bytes.data(), content.data() + offset, length) == 0;
    }

    void wait_until_stored(const Bytes& content, std::uint64_t offset, std::size_t length) {
        for (int i = 0; i < 2000 && !has_now(content, offset, length); ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        ASSERT_TRUE(has_now(content, offset, length)) << offset;
    }

    std::string file_of_content() const {
        for (const auto& entry : std::filesystem::directory_iterator(tree_.path("cache"))) {
            if (entry.path().extension() == ".blocks") {
                return entry.path();
            }
        }
        return "";
    }

    const Bytes content_ = pattern(kSize, 1);
    const Bytes other_content_ = pattern(kSize, 2);
    TempTree tree_;
    std::mutex mutex_;
    std::map<std::string, std::string> profiles_;  // guarded by mutex_
    std::unique_ptr<BlockCache> cache_;
};

TEST_F(CachedDiskTest, ReadsWhatTheServerHas) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    for (const std::uint64_t offset : {0UL, 4095UL, 4'194'300UL, kSize - 5000}) {
        EXPECT_TRUE(reads_right(content_, offset, 5000)) << offset;
    }
    EXPECT_TRUE(reads_right(content_, 0, kSize));
}

TEST_F(CachedDiskTest, GivesASinkItsBytes) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_EQ(read_parts(100, kSize - 100), 0);
    EXPECT_TRUE(parts_->matches(content_));
}

TEST_F(CachedDiskTest, AsksForABlockOnce) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 1 << 20, 65536));
    const int asked = server.reads();
    wait_until_stored(content_, 1 << 20, 65536);
    EXPECT_TRUE(reads_right(content_, (1 << 20) + 100, 60000));
    EXPECT_EQ(server.reads(), asked);
}

TEST_F(CachedDiskTest, FetchesNoMoreThanTheBlocksThatWereAskedFor) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, (3 << 20) + 100, 100));
    EXPECT_EQ(cache_->commons().fetched, kCacheBlock);
}

TEST_F(CachedDiskTest, ManyThatMissTheSameFetchItOnce) {
    FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    FaultServer::Manners slow = shows(print_of('1'));
    slow.read_takes = std::chrono::milliseconds(50);
    server.set_manners(slow);
    std::list<std::thread> clients;
    std::atomic<int> right{0};
    for (int i = 0; i < 16; ++i) {
        clients.emplace_back([&] {
            Bytes bytes(200'000);
            Request request;
            request.offset = 1'000'000;
            request.length = bytes.size();
            request.buffer = bytes.data();
            right += submit_and_wait(*disk_, request) == 0 &&
                     std::memcmp(bytes.data(), content_.data() + 1'000'000, bytes.size()) == 0;
        });
    }
    for (std::thread& client : clients) {
        client.join();
    }
    EXPECT_EQ(right, 16);
    EXPECT_LE(cache_->commons().fetched, 200'000 + 2 * kCacheBlock);
}

TEST_F(CachedDiskTest, SessionsOfOtherRelaysShareWhatThereIs) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, 100'000));
    wait_until_stored(content_, 0, 100'000);
    const int asked = server.reads();
    disk_ = cached({copy_on(server, "alpha", '1')});
    EXPECT_TRUE(has_now(content_, 0, 100'000));
    EXPECT_EQ(server.reads(), asked);
}

TEST_F(CachedDiskTest, IsThereAfterARestart) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    wait_until_stored(content_, 0, kSize);
    restart();
    open_cached(server);
    const int asked = server.reads();
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    EXPECT_TRUE(has_now(content_, kSize - 5000, 5000));
    EXPECT_EQ(server.reads(), asked);
}

TEST_F(CachedDiskTest, ServesNothingThatHasRottenInTheCache) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    wait_until_stored(content_, 0, kSize);
    stop();
    {
        const UniqueFd file(::open(file_of_content().c_str(), O_WRONLY | O_CLOEXEC));
        ASSERT_EQ(::pwrite(file.get(), "rotten", 6, 5'000'000), 6);
    }
    start();
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    EXPECT_TRUE(log_.has("1 blocks are not what was stored"));
    wait_until_stored(content_, 4'999'000, 9000);
}

TEST_F(CachedDiskTest, ServesNothingOfAFileThatIsGone) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    wait_until_stored(content_, 0, kSize);
    stop();
    std::filesystem::remove(file_of_content());
    start();
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, kSize));
}

TEST_F(CachedDiskTest, BeginsAnewWithADamagedIndex) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    wait_until_stored(content_, 0, kSize);
    stop();
    tree_.write("cache/cache.db", std::string(100'000, 'x'));
    start();
    EXPECT_EQ(file_of_content(), "");
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, kSize));
}

TEST_F(CachedDiskTest, TwoContentsOfOneNameNeverMix) {
    const FaultServer server(content_, shows(print_of('1')));
    const FaultServer changed(other_content_, shows(print_of('2')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    wait_until_stored(content_, 0, kSize);
    disk_ = cached({copy_on(changed, "alpha", '2')});
    EXPECT_FALSE(has_now(content_, 0, 4096));
    EXPECT_TRUE(reads_right(other_content_, 0, kSize));
}

TEST_F(CachedDiskTest, TheSameFingerprintOfAnotherServerIsAnotherContent) {
    const FaultServer server(content_, shows(print_of('1')));
    const FaultServer other(other_content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    wait_until_stored(content_, 0, kSize);
    disk_ = cached({copy_on(other, "beta", '1')});
    EXPECT_TRUE(reads_right(other_content_, 0, kSize));
}

TEST_F(CachedDiskTest, ADigestWithAnotherFingerprintSaysNothing) {
    const FaultServer server(content_, shows(print_of('1')));
    const FaultServer other(other_content_, shows(print_of('2')));
    disk_ = cached({copy_on(server, "alpha", '1', "sha256:same")});
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    wait_until_stored(content_, 0, kSize);
    disk_ = cached({copy_on(other, "beta", '1', "sha256:same")});
    EXPECT_TRUE(reads_right(other_content_, 0, kSize));
}

TEST_F(CachedDiskTest, CopiesOfOneDigestShareWhatThereIs) {
    const FaultServer server(content_, shows(print_of('1')));
    const FaultServer other(content_, shows(print_of('2')));
    disk_ = cached({copy_on(server, "alpha", '1', "sha256:same")});
    EXPECT_TRUE(reads_right(content_, 0, 100'000));
    wait_until_stored(content_, 0, 100'000);
    disk_ = cached({copy_on(other, "beta", '2', "sha256:same")});
    EXPECT_TRUE(has_now(content_, 0, 100'000));
}

TEST_F(CachedDiskTest, TheSameDigestUnderAnotherNameIsBelievedByNobody) {
    const FaultServer server(content_, shows(print_of('1')));
    const FaultServer liar(other_content_, shows(print_of('2')));
    disk_ = cached({copy_on(liar, "beta", '2', "sha256:same")}, "evil/vda");
    EXPECT_TRUE(reads_right(other_content_, 0, 100'000));
    wait_until_stored(other_content_, 0, 100'000);
    disk_ = cached({copy_on(server, "alpha", '1', "sha256:same")});
    EXPECT_TRUE(reads_right(content_, 0, 100'000));
}

TEST_F(CachedDiskTest, KeepsWhatItHadWhenTheDigestBecomesKnown) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 0, 100'000));
    wait_until_stored(content_, 0, 100'000);
    disk_ = cached({copy_on(server, "alpha", '1', "sha256:new")});
    EXPECT_TRUE(has_now(content_, 0, 100'000));
}

TEST_F(CachedDiskTest, AServerWithoutFingerprintIsRelayedOnly) {
    const FaultServer server(content_);
    disk_ = cached({upstream_of(server, "alpha")});
    EXPECT_FALSE(disk_->is_near());
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    EXPECT_EQ(file_of_content(), "");
}

TEST_F(CachedDiskTest, AnImageThatMayBeWrittenIsRelayedOnly) {
    const FaultServer server(content_, shows(print_of('1')));
    Upstream upstream = copy_on(server, "alpha", '1');
    upstream.location.read_only = false;
    disk_ = cached({upstream});
    EXPECT_FALSE(disk_->is_near());
    EXPECT_TRUE(reads_right(content_, 0, kSize));
}

TEST_F(CachedDiskTest, WhatIsLocatedStaysUntilItHasLeft) {
    const std::uint64_t size = kLeastCacheSize + 3 * kCacheChunk;
    const Bytes large = noise(size);
    const FaultServer server(large, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(large, 0, kCacheChunk));
    wait_until_stored(large, 0, kCacheChunk);
    std::vector<ReadPart> parts;
    ASSERT_EQ(disk_->locate_now(0, kCacheChunk, parts), Disk::Now::done);
    for (std::uint64_t at = kCacheChunk; at + kCacheChunk <= size; at += kCacheChunk) {
        EXPECT_TRUE(reads_right(large, at, kCacheChunk));
        wait_until_stored(large, at, kCacheChunk);
    }
    Bytes bytes(kCacheChunk);
    for (const ReadPart& part : parts) {
        if (part.place == ReadPart::Place::file) {
            ASSERT_EQ(::pread(part.file, bytes.data() + part.offset, part.length,
                              static_cast<off_t>(part.at)),
                      part.length);
        }
    }
    EXPECT_EQ(std::memcmp(bytes.data(), large.data(), kCacheChunk), 0);
}

TEST_F(CachedDiskTest, WhatWasNotUsedForTheLongestTimeGivesWay) {
    const std::uint64_t size = kLeastCacheSize + 4 * kCacheChunk;
    const Bytes large = noise(size);
    const FaultServer server(large, shows(print_of('1')));
    open_cached(server);
    for (std::uint64_t at = 0; at + kCacheChunk <= size; at += kCacheChunk) {
        EXPECT_TRUE(reads_right(large, at, kCacheChunk));
        wait_until_stored(large, at, kCacheChunk);
        cache_->commons().clock += 1;
        EXPECT_LE(cache_->commons().bytes, kLeastCacheSize);
    }
    EXPECT_FALSE(has_now(large, 0, 4096));
    EXPECT_TRUE(has_now(large, size - kCacheChunk, kCacheChunk));
    struct stat status {};
    ASSERT_EQ(::stat(file_of_content().c_str(), &status), 0);
    EXPECT_LE(static_cast<std::uint64_t>(status.st_blocks) * 512, kLeastCacheSize + kCacheChunk);
    EXPECT_TRUE(reads_right(large, 0, size / 2));
}

TEST_F(CachedDiskTest, ZeroesTakeNoSpace) {
    const FaultServer server(Bytes(kSize), shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(Bytes(kSize), 0, kSize));
    wait_until_stored(Bytes(kSize), 0, kSize);
    std::vector<ReadPart> parts;
    ASSERT_EQ(disk_->locate_now(0, 1 << 20, parts), Disk::Now::done);
    EXPECT_EQ(parts.front().place, ReadPart::Place::hole);
    struct stat status {};
    ASSERT_EQ(::stat(file_of_content().c_str(), &status), 0);
    EXPECT_EQ(status.st_blocks, 0);
}

TEST_F(CachedDiskTest, AReaderInSequenceFindsTheNextBlocks) {
    const std::uint64_t size = std::uint64_t{24} << 20;
    const Bytes large = noise(size);
    const FaultServer server(large, shows(print_of('1')));
    open_cached(server);
    const std::uint64_t half = size / 2;
    for (std::uint64_t at = 0; at < half; at += 65536) {
        EXPECT_TRUE(reads_right(large, at, 65536));
    }
    wait_until_stored(large, half, 65536);
    const std::uint64_t read = half + 65536;
    EXPECT_LE(cache_->commons().fetched,
              read + read / ReadStreams::kPart + ReadStreams::kCredit + kCacheBlock);
}

TEST_F(CachedDiskTest, WhatOneServerHasLearntOfAStartAnotherFetchesBeforeItIsAsked) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 5000, 3'000'000));
    EXPECT_TRUE(reads_right(content_, kSize - 5000, 5000));
    disk_.reset();
    const auto learnt = [this] {
        const std::lock_guard lock(mutex_);
        return profiles_.contains("web01/vda");
    };
    for (int i = 0; i < 2000 && !learnt(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_TRUE(learnt());
    stop();
    start(kLeastCacheSize, "another");
    open_cached(server);
    wait_until_stored(content_, 5000, 3'000'000);
    wait_until_stored(content_, kSize - 5000, 5000);
    EXPECT_LE(cache_->commons().fetched, 3'000'000 + 5 * kCacheBlock);
}

TEST_F(CachedDiskTest, AProfileOfADiskOfAnotherSizeIsNotUsed) {
    const FaultServer server(content_, shows(print_of('1')));
    profiles_["web01/vda"] = BootProfile{.disk_size = kSize + 1, .ranges = {{0, 65536}}}.text();
    open_cached(server);
    EXPECT_TRUE(reads_right(content_, 1 << 20, 4096));
    wait_until_stored(content_, 1 << 20, 4096);
    EXPECT_EQ(cache_->commons().fetched, 4096u);
}

TEST_F(CachedDiskTest, IsServedWhileItsServerIsAway) {
    FaultServer server(content_, shows(print_of('1')));
    const auto copy = copy_on(server, "alpha", '1');
    keep_all_and_kill(server, {copy});
    disk_ = made({copy});
    EXPECT_TRUE(reach(*disk_));
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    EXPECT_TRUE(log_.has("served from the cache, which has all of its"));
}

TEST_F(CachedDiskTest, IsServedWithoutHavingBeenAskedForFirst) {
    FaultServer server(content_, shows(print_of('1')));
    const auto copy = copy_on(server, "alpha", '1');
    keep_all_and_kill(server, {copy});
    disk_ = made({copy});
    EXPECT_TRUE(reads_right(content_, 1 << 20, 100'000));
}

TEST_F(CachedDiskTest, BlockStatusIsAtHandWhileItsServerIsAway) {
    FaultServer server(content_, shows(print_of('1')));
    const auto copy = copy_on(server, "alpha", '1');
    keep_all_and_kill(server, {copy});
    disk_ = made({copy});
    ASSERT_TRUE(reach(*disk_));
    EXPECT_TRUE(reads_right(content_, 0, kSize));
    EXPECT_EQ(run(Op::extents, 5000, kSize - 5000), 0);
    std::uint64_t at = 5000;
    for (const Extent& extent : extents_) {
        const bool zero =
            std::all_of(content_.begin() + static_cast<std::ptrdiff_t>(at),
                        content_.begin() + static_cast<std::ptrdiff_t>(at + extent.length),
                        [](std::byte byte) { return byte == std::byte{0}; });
        EXPECT_TRUE(extent.flags == 0 || zero) << at;
        at += extent.length;
    }
    EXPECT_EQ(at, kSize);
}

TEST_F(CachedDiskTest, WhatIsNotKeptFailsAsThroughARelay) {
    FaultServer server(content_, shows(print_of('1')));
    const auto copy = copy_on(server, "alpha", '1');
    disk_ = cached({copy});
    EXPECT_TRUE(reads_right(content_, 1 << 20, 65536));
    wait_until_stored(content_, 1 << 20, 65536);
    server.kill();
    restart();
    disk_ = made({copy});
    EXPECT_TRUE(reach(*disk_));
    EXPECT_TRUE(reads_right(content_, 1 << 20, 65536));
    EXPECT_EQ(read(4 << 20, 4096), EIO);
    server.start();
    EXPECT_TRUE(reads_right(content_, 0, kSize));
}

TEST_F(CachedDiskTest, AnEmptyCacheIsNoReasonToOpenADisk) {
    FaultServer server(content_, shows(print_of('1')));
    const auto copy = copy_on(server, "alpha", '1');
    disk_ = cached({copy});
    server.kill();
    restart();
    disk_ = made({copy});
    const auto reached = reach(*disk_);
    ASSERT_FALSE(reached);
    EXPECT_EQ(reached.error().code, Errc::unavailable);
}

TEST_F(CachedDiskTest, AnotherGenerationIsNotServedFromWhatWasKept) {
    FaultServer server(content_, shows(print_of('1')));
    keep_all_and_kill(server, {copy_on(server, "alpha", '1')});
    auto later = copy_on(server, "alpha", '1');
    ++later.location.generation;
    auto other = copy_on(server, "alpha", '2');
    auto written = copy_on(server, "alpha", '1');
    written.location.read_only = false;
    for (const Upstream& copy : {later, other, written}) {
        disk_ = made({copy});
        EXPECT_FALSE(reach(*disk_));
        EXPECT_EQ(read(0, 4096), EIO);
    }
}

TEST_F(CachedDiskTest, IsNotServedAloneWhereAnotherCopyMayHaveOtherContent) {
    FaultServer server(content_, shows(print_of('1')));
    FaultServer second(other_content_, shows(print_of('2')));
    const auto copy = copy_on(server, "alpha", '1', "sha256-4m:aa");
    second.kill();
    keep_all_and_kill(server, {copy});
    for (const char* digest : {"", "sha256-4m:bb"}) {
        disk_ = made({copy, copy_on(second, "beta", '2', digest)});
        EXPECT_FALSE(reach(*disk_)) << digest;
    }
    disk_ = made({copy, copy_on(second, "beta", '2', "sha256-4m:aa")});
    EXPECT_TRUE(reach(*disk_));
    EXPECT_TRUE(reads_right(content_, 0, kSize));
}

TEST_F(CachedDiskTest, WhatWasKeptWithoutADigestIsFoundByTheDigestThatCameLater) {
    FaultServer server(content_, shows(print_of('1')));
    keep_all_and_kill(server, {copy_on(server, "alpha", '1')});
    disk_ = made({copy_on(server, "alpha", '1', "sha256-4m:aa")});
    EXPECT_TRUE(reach(*disk_));
    EXPECT_TRUE(reads_right(content_, 0, kSize));
}

TEST_F(CachedDiskTest, AServerThatComesBackWithAnotherImageIsNotMixedIn) {
    FaultServer server(content_, shows(print_of('1')));
    const auto copy = copy_on(server, "alpha", '1');
    disk_ = cached({copy});
    EXPECT_TRUE(reads_right(content_, 1 << 20, 65536));
    wait_until_stored(content_, 1 << 20, 65536);
    server.kill();
    restart();
    disk_ = made({copy});
    ASSERT_TRUE(reach(*disk_));
    server.set_manners(shows(print_of('2')));
    server.start();
    EXPECT_EQ(read(4 << 20, 4096), EIO);
    EXPECT_TRUE(reads_right(content_, 1 << 20, 65536));
    const auto anew = reach(*disk_);
    ASSERT_FALSE(anew);
    EXPECT_EQ(anew.error().code, Errc::conflict);
}

TEST_F(CachedDiskTest, AServerThatIsThereDecidesWhatTheContentIs) {
    FaultServer server(content_, shows(print_of('1')));
    const auto copy = copy_on(server, "alpha", '1');
    keep_all_and_kill(server, {copy});
    server.set_manners(shows(print_of('2')));
    server.start();
    const int before = server.reads();  // the profile may fetch these bytes at once
    disk_ = made({copy});
    EXPECT_TRUE(reach(*disk_));
    EXPECT_TRUE(reads_right(content_, 0, 4096));
    EXPECT_GT(server.reads(), before);
}

TEST_F(CachedDiskTest, IsNotServedAloneWhereServersJudgeTheClient) {
    FaultServer server(content_, shows(print_of('1')));
    auto copy = copy_on(server, "alpha", '1');
    keep_all_and_kill(server, {copy});
    copy.ticket = [] { return Result<std::string>("ticket"); };
    disk_ = made({copy});
    EXPECT_FALSE(reach(*disk_));
    EXPECT_EQ(read(0, 4096), EIO);
}

TEST_F(CachedDiskTest, BlockStatusIsTheServers) {
    Bytes content = content_;
    std::fill(content.begin() + (1 << 20), content.begin() + (2 << 20), std::byte{0});
    const FaultServer server(content, shows(print_of('1')));
    open_cached(server);
    EXPECT_EQ(run(Op::extents, 1 << 20, 1 << 20), 0);
    ASSERT_FALSE(extents_.empty());
}

TEST_F(CachedDiskTest, AFailureReachesTheClient) {
    FaultServer::Manners manners = shows(print_of('1'));
    manners.read_error = wire::kErrorIo;
    const FaultServer server(content_, manners);
    open_cached(server);
    EXPECT_EQ(read(0, 4096), EIO);
}

TEST_F(CachedDiskTest, IsNotSharedByTwoProcesses) {
    const auto second = BlockCache::start({.directory = tree_.path("cache")}, log_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::conflict);
    EXPECT_NE(second.error().message.find("another process uses it"), std::string::npos);
}

TEST_F(CachedDiskTest, ADirectoryThatOthersMayWriteToIsRefused) {
    std::filesystem::create_directory(tree_.path("open"));
    ASSERT_EQ(::chmod(tree_.path("open").c_str(), 0777), 0);
    const auto cache = BlockCache::check({.directory = tree_.path("open")});
    ASSERT_FALSE(cache);
    EXPECT_EQ(cache.error().code, Errc::invalid);
}

TEST_F(CachedDiskTest, ManyReadersAtRandomGetTheRightBytes) {
    const FaultServer server(content_, shows(print_of('1')));
    open_cached(server);
    std::list<std::thread> clients;
    std::atomic<int> wrong{0};
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        clients.emplace_back([&, seed] {
            std::uint64_t state = seed;
            for (int i = 0; i < 150; ++i) {
                wrong += random_read(*disk_, content_, state, 300'000) ? 0 : 1;
                Bytes bytes(5000);
                const std::uint64_t at = (state >> 20) % (kSize - bytes.size());
                wrong += disk_->read_now(at, bytes) == Disk::Now::done &&
                                 std::memcmp(bytes.data(), content_.data() + at, bytes.size()) != 0
                             ? 1
                             : 0;
            }
        });
    }
    for (std::thread& client : clients) {
        client.join();
    }
    EXPECT_EQ(wrong, 0);
}

TEST(BootProfile, IsReadAsItWasWritten) {
    const BootProfile profile{.disk_size = 100'000,
                              .ranges = {{0, 4096}, {12'288, 40'960}, {98'304, 100'000 - 98'304}}};
    EXPECT_EQ(BootProfile::parse(profile.text()), profile);
    EXPECT_EQ(profile.text(), "1 255s 0+1 2+a b+1");
}

TEST(BootProfile, OddTextsAreNone) {
    for (const char* odd :
         {"", "1", "2 255s 0+1", "1 0 0+1", "1 255s 0+", "1 255s 0+0", "1 255s 0+q", "1 255s p+1",
          "1 255s 0+1 x", "1 255s  0+1", "1 255s zzzzzzzzzzzz+1", "1 255s 1+zzzzzzzzzzzz",
          "1 255s -1+1", "1 zzzzzzzzzzzzz 0+1", "1 zzzzzzzzzz 0+5yc1s", "1 255s 0+1 ",
          "1 255s0+1"}) {
        EXPECT_EQ(BootProfile::parse(odd), std::nullopt) << odd;
    }
    EXPECT_EQ(BootProfile::parse(std::string(BootProfile::kMostText + 1, '1')), std::nullopt);
}

TEST(BootProfile, NearRangesBecomeOneWhereTheTextWouldBeTooLong) {
    BootProfile profile{.disk_size = std::uint64_t{1} << 40, .ranges = {}};
    for (std::uint64_t i = 0; i < 20'000; ++i) {
        profile.ranges.push_back({i * 5 * kCacheBlock, kCacheBlock});
    }
    const std::string text = profile.text();
    EXPECT_LE(text.size(), BootProfile::kMostText);
    const auto read = BootProfile::parse(text);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->ranges.front().offset, 0u);
    EXPECT_EQ(read->ranges.back().offset + read->ranges.back().length,
              profile.ranges.back().offset + kCacheBlock);
}

TEST(BootRecorder, TooLittleAndTooMuchIsNoStart) {
    BootRecorder recorder(std::uint64_t{4} << 30);
    recorder.note(0, 4096);
    EXPECT_EQ(recorder.profile(), std::nullopt);
    recorder.note(100, std::uint64_t{1} << 20);
    ASSERT_TRUE(recorder.profile());
    EXPECT_EQ(recorder.profile()->ranges,
              (std::vector<ReadRange>{{0, (std::uint64_t{1} << 20) + 4096}}));
    recorder.note(0, std::uint64_t{2} << 30);
    EXPECT_EQ(recorder.profile(), std::nullopt);
}

TEST(ReadStreams, ReadsAheadMoreAndMore) {
    ReadStreams streams;
    std::uint64_t ahead = 0;
    std::uint64_t fetches = 0;
    const std::uint64_t read = std::uint64_t{1} << 30;
    for (std::uint64_t at = 0; at < read; at += 65536) {
        if (at >= ahead) {
            streams.missed(65536);
        }
        if (const auto range = streams.note(at, 65536)) {
            EXPECT_GE(range->offset, at + 65536);
            ahead = range->offset + range->length;
            ++fetches;
        }
    }
    EXPECT_GT(ahead, read + (std::uint64_t{7} << 20));
    EXPECT_LE(ahead, read + ReadStreams::kMost);
    EXPECT_LT(fetches, 600u);
}

TEST(ReadStreams, WastesASmallPartOnly) {
    ReadStreams streams;
    std::uint64_t state = 7;
    std::uint64_t wanted = 0;
    std::uint64_t fetched = 0;
    for (int burst = 0; burst < 1000; ++burst) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        const std::uint64_t begin = (state >> 20) % (std::uint64_t{1} << 40);
        std::uint64_t ahead = begin;
        for (std::uint64_t at = begin; at < begin + 512 * 1024; at += 32 * 1024) {
            if (at >= ahead) {
                streams.missed(32 * 1024);
                fetched += 32 * 1024;
            }
            wanted += 32 * 1024;
            if (const auto range = streams.note(at, 32 * 1024)) {
                ahead = range->offset + range->length;
                fetched += range->length;
            }
        }
    }
    EXPECT_LE(fetched, wanted + wanted / ReadStreams::kPart + ReadStreams::kCredit);
}

TEST(ReadStreams, LeavesRandomReadsAlone) {
    ReadStreams streams;
    std::uint64_t state = 7;
    for (int i = 0; i < 10'000; ++i) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        EXPECT_FALSE(streams.note((state >> 20) % (std::uint64_t{1} << 40), 4096));
    }
}

}  // namespace
}  // namespace signpost::test
