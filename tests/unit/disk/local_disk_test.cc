// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/local_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <latch>
#include <thread>

#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/wire/protocol.h"
#include "tests/unit/disk/disk_text.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

constexpr std::uint32_t kHole = wire::kStateHole | wire::kStateZero;

class LocalDiskTest : public testing::Test {
   protected:
    LocalDiskTest() { tree.write("a.raw", "0123456789abcdef"); }

    OpenImage open(bool writable) {
        auto repository = Repository::open(tree.root(), {.writable = writable}).value();
        std::vector<Repository> all;
        all.push_back(std::move(repository));
        return RepositorySet(std::move(all)).open_image(DiskName::parse("a").value()).value();
    }

    std::shared_ptr<Disk> disk(bool writable = false, LocalDiskHooks hooks = {}) {
        return make_local_disk(open(writable), std::move(hooks), log).value();
    }

    static std::vector<Extent> extents(Disk& disk, std::uint64_t offset, std::uint64_t length,
                                       std::uint8_t flags = 0) {
        std::vector<Extent> found;
        const int error = run(disk, {.op = Op::extents,
                                     .flags = flags,
                                     .offset = offset,
                                     .length = length,
                                     .extents = &found});
        EXPECT_EQ(error, 0);
        return found;
    }

    std::string content() const {
        std::string text(1 << 20, '\0');
        const UniqueFd fd(::open(tree.path("a.raw").c_str(), O_RDONLY));
        text.resize(static_cast<std::size_t>(::read(fd.get(), text.data(), text.size())));
        return text;
    }

    struct stat status() const {
        struct stat found {};
        EXPECT_EQ(::stat(tree.path("a.raw").c_str(), &found), 0);
        return found;
    }

    // Changes bytes where they are, without a new file.
    void overwrite(std::string_view text) const {
        const UniqueFd fd(::open(tree.path("a.raw").c_str(), O_WRONLY));
        ASSERT_EQ(::pwrite(fd.get(), text.data(), text.size(), 0),
                  static_cast<ssize_t>(text.size()));
    }

    void put_mtime_back(const struct stat& before) const {
        const timespec times[2] = {before.st_atim, before.st_mtim};
        ASSERT_EQ(::utimensat(AT_FDCWD, tree.path("a.raw").c_str(), times, 0), 0);
    }

    const std::string kEio = "error " + std::to_string(EIO);
    TempTree tree;
    KeptLog log;
};

TEST_F(LocalDiskTest, Reads) {
    const auto local = disk();
    EXPECT_EQ(read(*local, 0, 16), "0123456789abcdef");
    EXPECT_EQ(read(*local, 15, 1), "f");
    EXPECT_EQ(read(*local, 16, 1), "error " + std::to_string(EINVAL));
}

TEST_F(LocalDiskTest, SaysWhatItIs) {
    tree.make_sparse("a.raw", 40ull << 30);
    const auto local = disk();
    const DiskTraits& traits = local->traits();
    EXPECT_EQ(traits.size, 40ull << 30);
    EXPECT_TRUE(traits.read_only);
    EXPECT_TRUE(traits.multi_conn);
    EXPECT_FALSE(traits.fast_zero);
    EXPECT_EQ(traits.minimum_block, 1u);
    EXPECT_EQ(traits.description, "40 GiB raw");
    EXPECT_TRUE(disk(true)->traits().fast_zero);
}

TEST_F(LocalDiskTest, TakesOnlyRawImagesOfOneFile) {
    OpenImage image = open(false);
    image.chain.front().format = ImageFormat::qcow2;
    EXPECT_EQ(make_local_disk(std::move(image), {}, log).error().code, Errc::invalid);
}

TEST_F(LocalDiskTest, RefusesAnImageThatChangedSinceItWasOpened) {
    OpenImage image = open(false);
    overwrite("X");
    EXPECT_EQ(make_local_disk(std::move(image), {}, log).error().code, Errc::conflict);
}

TEST_F(LocalDiskTest, GoesOnWithTheOpenedFileWhenItIsReplacedByRename) {
    const auto local = disk();
    tree.write("new.raw", "XXXXXXXXXXXXXXXX");
    tree.rename("new.raw", "a.raw");
    EXPECT_EQ(read(*local, 0, 16), "0123456789abcdef");
    EXPECT_EQ(read(*disk(), 0, 16), "XXXXXXXXXXXXXXXX");
    EXPECT_TRUE(log.lines().empty());
}

TEST_F(LocalDiskTest, GoesOnWhenTheFileIsRemovedOrMoved) {
    const auto local = disk();
    tree.rename("a.raw", "b.raw");
    EXPECT_EQ(read(*local, 0, 4), "0123");
    ASSERT_EQ(::unlink(tree.path("b.raw").c_str()), 0);
    EXPECT_EQ(read(*local, 4, 4), "4567");
    EXPECT_TRUE(log.lines().empty());
}

TEST_F(LocalDiskTest, GoesOnWhenOnlyModeOrLinksChange) {
    const auto local = disk();
    ASSERT_EQ(::chmod(tree.path("a.raw").c_str(), 0600), 0);
    EXPECT_EQ(read(*local, 0, 4), "0123");
    ASSERT_EQ(::link(tree.path("a.raw").c_str(), tree.path("backup").c_str()), 0);
    EXPECT_EQ(read(*local, 0, 4), "0123");
    EXPECT_TRUE(log.lines().empty());
}

TEST_F(LocalDiskTest, ChangedInPlaceItFailsForEver) {
    const auto local = disk();
    overwrite("X");
    EXPECT_EQ(read(*local, 8, 4), kEio);
    overwrite("0");
    EXPECT_EQ(read(*local, 8, 4), kEio);
    EXPECT_EQ(log.lines().size(), 1u) << "one line, not one per request";
    EXPECT_TRUE(log.has("disk 'a': file a.raw was modified"));
}

TEST_F(LocalDiskTest, ChangedInPlaceAtOnceAfterOpeningItFails) {
    for (int round = 0; round < 50; ++round) {
        tree.write("b.raw", "0123456789abcdef");
        tree.rename("b.raw", "a.raw");
        const auto local = disk();
        overwrite("X");
        ASSERT_EQ(read(*local, 0, 4), kEio) << "the change fell into the tick of the opening";
    }
}

TEST_F(LocalDiskTest, ChangedWithMtimePutBackItFails) {
    const auto local = disk();
    const auto before = status();
    overwrite("X");
    put_mtime_back(before);
    EXPECT_EQ(read(*local, 0, 4), kEio);
    EXPECT_TRUE(log.has("put back"));
}

TEST_F(LocalDiskTest, ARenameBeforeDoesNotExcuseALaterChange) {
    const auto local = disk();
    tree.rename("a.raw", "b.raw");
    EXPECT_EQ(read(*local, 0, 4), "0123");
    tree.rename("b.raw", "a.raw");
    EXPECT_EQ(read(*local, 0, 4), "0123");
    const auto before = status();
    overwrite("X");
    put_mtime_back(before);
    EXPECT_EQ(read(*local, 0, 4), kEio);
}

TEST_F(LocalDiskTest, TruncatedItFailsAndNeverGivesZeros) {
    const auto local = disk();
    ASSERT_EQ(::truncate(tree.path("a.raw").c_str(), 8), 0);
    EXPECT_EQ(read(*local, 0, 16), kEio);
    EXPECT_EQ(read(*local, 0, 4), kEio);
    ASSERT_EQ(::truncate(tree.path("a.raw").c_str(), 16), 0);
    EXPECT_EQ(read(*local, 0, 16), kEio);
    EXPECT_EQ(local->traits().size, 16u);
}

TEST_F(LocalDiskTest, TruncatedItHasNoExtents) {
    const auto local = disk();
    ASSERT_EQ(::truncate(tree.path("a.raw").c_str(), 0), 0);
    std::vector<Extent> found;
    EXPECT_EQ(run(*local, {.op = Op::extents, .offset = 0, .length = 16, .extents = &found}), EIO);
}

TEST_F(LocalDiskTest, ExtendedItFails) {
    const auto local = disk();
    ASSERT_EQ(::truncate(tree.path("a.raw").c_str(), 32), 0);
    EXPECT_EQ(read(*local, 0, 4), kEio);
}

TEST_F(LocalDiskTest, ReadOnlyRefusesWrites) {
    EXPECT_EQ(write(*disk(), 0, "X"), EPERM);
    EXPECT_EQ(content(), "0123456789abcdef");
}

TEST_F(LocalDiskTest, WritesAndReadsBack) {
    const auto local = disk(true);
    EXPECT_EQ(write(*local, 4, "WXYZ"), 0);
    EXPECT_EQ(write(*local, 0, "!", kRequestFua), 0);
    EXPECT_EQ(run(*local, {.op = Op::flush}), 0);
    EXPECT_EQ(read(*local, 0, 16), "!123WXYZ89abcdef");
    EXPECT_EQ(content(), "!123WXYZ89abcdef");
}

TEST_F(LocalDiskTest, WritesNeverExtendTheFile) {
    const auto local = disk(true);
    EXPECT_EQ(write(*local, 15, "XX"), ENOSPC);
    EXPECT_EQ(run(*local, {.op = Op::write_zeroes, .offset = 8, .length = 16}), ENOSPC);
    ASSERT_EQ(::truncate(tree.path("a.raw").c_str(), 8), 0);
    EXPECT_EQ(write(*local, 12, "X"), EIO);
    EXPECT_EQ(status().st_size, 8);
}

TEST_F(LocalDiskTest, WritableItFailsForEverOnceItShrank) {
    const auto local = disk(true);
    ASSERT_EQ(::truncate(tree.path("a.raw").c_str(), 8), 0);
    EXPECT_EQ(read(*local, 0, 4), kEio);
    ASSERT_EQ(::truncate(tree.path("a.raw").c_str(), 16), 0);
    EXPECT_EQ(read(*local, 0, 16), kEio);
    EXPECT_EQ(write(*local, 0, "X"), EIO);
    EXPECT_EQ(run(*local, {.op = Op::flush}), EIO);
}

TEST_F(LocalDiskTest, WritableItMayGrow) {
    const auto local = disk(true);
    ASSERT_EQ(::truncate(tree.path("a.raw").c_str(), 32), 0);
    EXPECT_EQ(read(*local, 0, 16), "0123456789abcdef");
    EXPECT_EQ(local->traits().size, 16u);
}

TEST_F(LocalDiskTest, ZeroesReadBackAsZeros) {
    for (const std::uint8_t flags : {std::uint8_t{0}, kRequestNoHole, kRequestFua,
                                     std::uint8_t{kRequestNoHole | kRequestFua}}) {
        tree.write("a.raw", std::string(65536, 'x'));
        const auto local = disk(true);
        ASSERT_EQ(
            run(*local, {.op = Op::write_zeroes, .flags = flags, .offset = 10, .length = 60000}),
            0);
        EXPECT_EQ(read(*local, 0, 12), std::string(10, 'x') + std::string(2, '\0'));
        EXPECT_EQ(read(*local, 60008, 4), std::string("\0\0xx", 4));
        EXPECT_EQ(status().st_size, 65536);
    }
}

TEST_F(LocalDiskTest, ZeroesKeepTheirSpaceWhenAskedTo) {
    tree.make_sparse("a.raw", 1 << 20);
    const auto local = disk(true);
    ASSERT_EQ(
        run(*local,
            {.op = Op::write_zeroes, .flags = kRequestNoHole, .offset = 0, .length = 1 << 20}),
        0);
    EXPECT_GE(status().st_blocks * 512, 1 << 20);
    EXPECT_EQ(read(*local, 4096, 8), std::string(8, '\0'));
}

TEST_F(LocalDiskTest, ZeroesAndTrimsGiveSpaceBack) {
    for (const Op op : {Op::write_zeroes, Op::trim}) {
        tree.write("a.raw", std::string(1 << 20, 'x'));
        const auto local = disk(true);
        ASSERT_EQ(run(*local, {.op = op, .offset = 0, .length = 1 << 20}), 0);
        EXPECT_LT(status().st_blocks * 512, 1 << 19);
        EXPECT_EQ(status().st_size, 1 << 20);
    }
}

TEST_F(LocalDiskTest, FastZeroIsFastOrRefused) {
    tree.write("a.raw", std::string(65536, 'x'));
    const auto local = disk(true);
    const int error = run(
        *local, {.op = Op::write_zeroes, .flags = kRequestFastZero, .offset = 0, .length = 65536});
    const std::string first = read(*local, 0, 1);
    EXPECT_TRUE((error == 0 && first == std::string(1, '\0')) ||
                (error == ENOTSUP && first == "x"));
}

TEST_F(LocalDiskTest, ListsDataAndHoles) {
    tree.make_sparse("a.raw", 4 << 20);
    {
        const UniqueFd fd(::open(tree.path("a.raw").c_str(), O_WRONLY));
        const std::string block(65536, 'x');
        ASSERT_EQ(::pwrite(fd.get(), block.data(), block.size(), 1 << 20), 65536);
    }
    const auto local = disk();
    const std::vector<Extent> whole{{.length = 1 << 20, .flags = kHole},
                                    {.length = 65536, .flags = 0},
                                    {.length = (3 << 20) - 65536, .flags = kHole}};
    EXPECT_EQ(extents(*local, 0, 4 << 20), whole);
    EXPECT_EQ(extents(*local, 0, 4 << 20, kRequestOneExtent), std::vector{whole[0]});
    EXPECT_EQ(extents(*local, (1 << 20) + 4096, 4096),
              (std::vector<Extent>{{.length = 4096, .flags = 0}}));
}

TEST_F(LocalDiskTest, ListsABoundedNumberOfExtents) {
    constexpr int kPieces = 1500;
    tree.make_sparse("a.raw", kPieces * 131072ull);
    {
        const UniqueFd fd(::open(tree.path("a.raw").c_str(), O_WRONLY));
        for (int i = 0; i < kPieces; ++i) {
            ASSERT_EQ(::pwrite(fd.get(), "x", 1, i * 131072), 1);
        }
    }
    const auto local = disk();
    EXPECT_EQ(extents(*local, 0, kPieces * 131072ull).size(), 1024u);
}

TEST_F(LocalDiskTest, CacheIsOnlyAHint) {
    EXPECT_EQ(run(*disk(), {.op = Op::cache, .offset = 0, .length = 16}), 0);
}

TEST_F(LocalDiskTest, AsksOnceBeforeTheFirstWrite) {
    std::atomic<int> asked = 0;
    const auto local = disk(true, {.before_first_write = [&]() -> Result<void> {
                                asked.fetch_add(1);
                                return {};
                            }});
    EXPECT_EQ(read(*local, 0, 1), "0");
    EXPECT_EQ(run(*local, {.op = Op::flush}), 0);
    EXPECT_EQ(asked, 0);
    std::latch start(4);
    std::vector<std::jthread> writers;
    for (int i = 0; i < 4; ++i) {
        writers.emplace_back([&, i] {
            start.arrive_and_wait();
            EXPECT_EQ(write(*local, static_cast<std::uint64_t>(i), "X"), 0);
        });
    }
    writers.clear();
    EXPECT_EQ(asked, 1);
    EXPECT_EQ(run(*local, {.op = Op::trim, .offset = 0, .length = 16}), 0);
    EXPECT_EQ(asked, 1);
}

TEST_F(LocalDiskTest, WritesNothingUnlessTheCatalogWasTold) {
    bool down = true;
    const auto local =
        disk(true, {.before_first_write = [&]() -> Result<void> {
                 return down ? fail(Errc::unavailable, "the catalog is down") : Result<void>{};
             }});
    EXPECT_EQ(write(*local, 0, "X"), EIO);
    EXPECT_EQ(run(*local, {.op = Op::trim, .offset = 0, .length = 16}), EIO);
    EXPECT_EQ(run(*local, {.op = Op::write_zeroes, .offset = 0, .length = 16}), EIO);
    EXPECT_EQ(content(), "0123456789abcdef");
    EXPECT_TRUE(log.has("the catalog is down"));
    down = false;
    EXPECT_EQ(write(*local, 0, "X"), 0);
}

// For as long as it lives, NUMBER is another open file, one that fdatasync does not know how to
// serve.
class BrokenDescriptor {
   public:
    explicit BrokenDescriptor(int number) : number_(number), saved_(::dup(number)) {
        int ends[2];
        EXPECT_EQ(::pipe(ends), 0);
        EXPECT_EQ(::dup2(ends[0], number), number);
        ::close(ends[0]);
        ::close(ends[1]);
    }
    ~BrokenDescriptor() { EXPECT_EQ(::dup2(saved_.get(), number_), number_); }

   private:
    const int number_;
    const UniqueFd saved_;
};

TEST_F(LocalDiskTest, AFailedFlushIsNeverForgotten) {
    OpenImage image = open(true);
    const int number = image.chain.front().fd.get();
    const auto local = make_local_disk(std::move(image), {}, log).value();
    {
        const BrokenDescriptor broken(number);
        EXPECT_EQ(run(*local, {.op = Op::flush}), EIO);
    }
    EXPECT_EQ(run(*local, {.op = Op::flush}), EIO);
    EXPECT_EQ(write(*local, 0, "X", kRequestFua), EIO);
    EXPECT_EQ(write(*local, 0, "Y"), 0);
    EXPECT_EQ(log.lines().size(), 1u);
    EXPECT_TRUE(log.has("durable"));
    EXPECT_EQ(run(*disk(true), {.op = Op::flush}), 0) << "opened anew";
}

TEST_F(LocalDiskTest, AFullDiskIsSaidToTheClient) {
    tree.make_sparse("a.raw", 1 << 20);
    const auto local = disk(true);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto handler = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const int error = write(*local, 65536, "X");
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    ::signal(SIGXFSZ, handler);
    EXPECT_EQ(error, ENOSPC);
    EXPECT_TRUE(log.has("cannot be written"));
    EXPECT_EQ(write(*local, 65536, "X"), 0) << "the disk survives";
}

TEST_F(LocalDiskTest, ManyFlushesAndWritesAtOnce) {
    const auto local = disk(true);
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&, i] {
            for (int round = 0; round < 20; ++round) {
                EXPECT_EQ(write(*local, static_cast<std::uint64_t>(i), "X", kRequestFua), 0);
                EXPECT_EQ(run(*local, {.op = Op::flush}), 0);
            }
        });
    }
    threads.clear();
    EXPECT_EQ(read(*local, 0, 9), "XXXXXXXX8");
}

// Readers meet a file on the move; that must not be taken for a change of content.
TEST_F(LocalDiskTest, NeverMistakesARenameUnderLoad) {
    const auto local = disk();
    std::atomic<bool> stop = false;
    std::vector<std::jthread> readers;
    for (int i = 0; i < 3; ++i) {
        readers.emplace_back([&] {
            while (!stop) {
                ASSERT_EQ(read(*local, 0, 16), "0123456789abcdef");
            }
        });
    }
    std::string name = "a.raw";
    for (int i = 0; i < 300; ++i) {
        const std::string next = std::to_string(i) + ".raw";
        tree.rename(name, next);
        name = next;
    }
    stop = true;
}

}  // namespace
}  // namespace signpost::test
