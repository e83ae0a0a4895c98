// SPDX-License-Identifier: BSD-3-Clause
//
// A block device in a repository, as a disk. Needs root and a free loop device.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>

#include "nbd-server/disk/local_disk.h"
#include "tests/unit/disk/disk_text.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/temp_tree.h"
#include "tests/unit/requires.h"

namespace signpost::test {
namespace {

constexpr std::uint64_t kSize = 1 << 20;

class LoopDevice : public testing::Test {
   protected:
    // Makes `disk.raw` the node of a loop device of kSize bytes; false where that cannot be done.
    bool attach() {
        store.write("store", std::string(kSize, 'x'));
        device_ = output_of("losetup --find --show '" + store.path("store") + "' 2>/dev/null");
        struct stat node {};
        return !device_.empty() && ::stat(device_.c_str(), &node) == 0 &&
               ::mknod(tree.path("disk.raw").c_str(), S_IFBLK | 0600, node.st_rdev) == 0;
    }

    ~LoopDevice() override {
        if (!device_.empty()) {
            output_of("losetup -d " + device_);
        }
    }

    Result<OpenImage> open(RepositoryOptions options) {
        std::vector<Repository> all;
        all.push_back(Repository::open(tree.root(), options).value());
        return RepositorySet(std::move(all)).open_image(DiskName::parse("disk").value());
    }

    TempTree store;
    TempTree tree;
    KeptLog log;

   private:
    static std::string output_of(const std::string& command) {
        std::FILE* pipe = ::popen(command.c_str(), "r");
        char line[256] = "";
        const bool any = std::fgets(line, sizeof line, pipe) != nullptr;
        const std::string text = any ? line : "";
        return ::pclose(pipe) == 0 ? text.substr(0, text.find('\n')) : "";
    }

    std::string device_;
};

TEST_F(LoopDevice, IsServedOnlyWhenAllowed) {
    SIGNPOST_REQUIRES("losetup");
    if (!attach()) {
        GTEST_SKIP() << "no loop device can be made here";
    }
    EXPECT_EQ(open({}).error().code, Errc::denied);
    const auto image = open({.block_devices = true});
    ASSERT_TRUE(image.has_value()) << image.error().message;
    EXPECT_EQ(image->size, kSize);
}

TEST_F(LoopDevice, ReadsWritesAndZeroes) {
    SIGNPOST_REQUIRES("losetup");
    if (!attach()) {
        GTEST_SKIP() << "no loop device can be made here";
    }
    auto image = open({.writable = true, .block_devices = true});
    ASSERT_TRUE(image.has_value()) << image.error().message;
    const auto disk = make_local_disk(std::move(*image), {}, log).value();
    EXPECT_EQ(write(*disk, 1001, "hello", kRequestFua), 0);
    EXPECT_EQ(read(*disk, 1000, 7), "xhellox");
    // Unaligned: the device cannot, so bytes are written.
    EXPECT_EQ(run(*disk, {.op = Op::write_zeroes, .offset = 1001, .length = 5}), 0);
    EXPECT_EQ(read(*disk, 1000, 7), std::string("x\0\0\0\0\0x", 7));
    for (const std::uint8_t flags : {std::uint8_t{0}, kRequestNoHole}) {
        EXPECT_EQ(
            run(*disk, {.op = Op::write_zeroes, .flags = flags, .offset = 8192, .length = 4096}),
            0);
        EXPECT_EQ(read(*disk, 8191, 3), std::string("x\0\0", 3));
    }
    EXPECT_EQ(run(*disk, {.op = Op::trim, .offset = 16384, .length = 4096}), 0);
    EXPECT_EQ(run(*disk, {.op = Op::flush}), 0);
    std::vector<Extent> extents;
    EXPECT_EQ(run(*disk, {.op = Op::extents, .length = kSize, .extents = &extents}), 0);
    EXPECT_EQ(extents, (std::vector<Extent>{{.length = kSize, .flags = 0}}));
    EXPECT_TRUE(log.lines().empty());
}

TEST_F(LoopDevice, KeepsSpaceFastOnlyIfItCan) {
    SIGNPOST_REQUIRES("losetup");
    if (!attach()) {
        GTEST_SKIP() << "no loop device can be made here";
    }
    auto image = open({.writable = true, .block_devices = true});
    ASSERT_TRUE(image.has_value()) << image.error().message;
    const auto disk = make_local_disk(std::move(*image), {}, log).value();
    EXPECT_EQ(run(*disk, {.op = Op::write_zeroes,
                          .flags = kRequestFastZero | kRequestNoHole,
                          .offset = 0,
                          .length = 4096}),
              ENOTSUP);
    EXPECT_EQ(read(*disk, 0, 1), "x");
}

}  // namespace
}  // namespace signpost::test
