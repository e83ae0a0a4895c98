// SPDX-License-Identifier: BSD-3-Clause
#include "libvirt-pool/pool_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "libvirt-pool/pool_file.h"
#include "tests/unit/disk/programs.h"

namespace signpost::test {

using Step = PoolPlan::Step;

constexpr std::uint64_t kSize = 1 << 30;

class PoolDirectoryTest : public testing::Test {
   protected:
    PoolDirectoryTest() : pool_(*PoolDirectory::open(tree_.path("pool/a"), true)) {}

    std::string path(const std::string& file) const { return pool_.path() + "/" + file; }

    VolumeState state(const std::string& file) {
        const auto facts = inspect_volume(pool_.descriptor(), file);
        EXPECT_TRUE(facts);
        return facts ? facts->state : VolumeState::damaged;
    }

    void create(const std::string& file, const std::string& backing = "nbd://localhost/a") {
        const auto made = pool_.apply({Step::create, file, {kSize, backing}});
        ASSERT_TRUE(made) << made.error().message;
    }

    void scribble(const std::string& file) {
        const UniqueFd fd(::open(path(file).c_str(), O_RDWR | O_CLOEXEC));
        ASSERT_EQ(::pwrite(fd.get(), "x", 1, 1 << 20), 1);
    }

    TempDirectory tree_;
    PoolDirectory pool_;
};

TEST_F(PoolDirectoryTest, IsMadeWithItsParentsForOthersToPassOnly) {
    struct stat status {};
    ASSERT_EQ(::stat(pool_.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0711U);
}

TEST_F(PoolDirectoryTest, ThatIsMissingIsNotMadeUnasked) {
    const auto missing = PoolDirectory::open(tree_.path("elsewhere"));
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Errc::not_found);
}

TEST_F(PoolDirectoryTest, ListsWhatLibvirtWouldShow) {
    create("b.qcow2");
    create("a.qcow2");
    write_file(path("c.qcow2"), "no qcow2");
    write_file(path(".hidden"), "");
    const auto list = pool_.list();
    ASSERT_TRUE(list);
    ASSERT_EQ(list->size(), 3U);
    EXPECT_EQ((*list)[0].file, "a.qcow2");
    EXPECT_EQ((*list)[0].facts.state, VolumeState::pristine);
    EXPECT_EQ((*list)[2].facts.state, VolumeState::damaged);
}

TEST_F(PoolDirectoryTest, ReplacesAPristineVolume) {
    create("a.qcow2");
    ASSERT_TRUE(pool_.apply({Step::replace, "a.qcow2", {2 * kSize, "nbd://localhost/a"}}));
    EXPECT_EQ(inspect_volume(pool_.descriptor(), "a.qcow2")->terms.size, 2 * kSize);
}

TEST_F(PoolDirectoryTest, RemovesAPristineVolume) {
    create("a.qcow2");
    ASSERT_TRUE(pool_.apply({Step::remove, "a.qcow2", {}}));
    EXPECT_TRUE(pool_.list()->empty());
}

TEST_F(PoolDirectoryTest, WhatWasWrittenSinceThePlanStays) {
    create("a.qcow2");
    scribble("a.qcow2");
    for (const Step step : {Step::remove, Step::replace}) {
        const auto refused = pool_.apply({step, "a.qcow2", {kSize, "nbd://localhost/b"}});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::conflict);
    }
    EXPECT_EQ(state("a.qcow2"), VolumeState::written);
}

TEST_F(PoolDirectoryTest, WhatAMachineHasOpenStays) {
    write_file(tree_.path("raw"), "");
    ASSERT_EQ(::truncate(tree_.path("raw").c_str(), kSize), 0);
    create("a.qcow2", tree_.path("raw"));
    const SocketServer machine(tree_.path("sock"),
                               {"qemu-nbd", "--format=qcow2", "--persistent", path("a.qcow2")});
    ASSERT_TRUE(run_program({"nbdinfo", "--size", "nbd+unix:///?socket=" + tree_.path("sock")}));
    for (const Step step : {Step::remove, Step::replace}) {
        const auto refused = pool_.apply({step, "a.qcow2", {kSize, "nbd://localhost/b"}});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::unavailable);
    }
    EXPECT_EQ(state("a.qcow2"), VolumeState::pristine);
}

TEST_F(PoolDirectoryTest, LeftoversOfASyncThatWasKilledGo) {
    write_file(path(std::string(kTemporaryPrefix) + "1-2"), "half");
    write_file(path(".mine"), "");
    pool_.remove_leftovers();
    EXPECT_NE(::access(path(std::string(kTemporaryPrefix) + "1-2").c_str(), F_OK), 0);
    EXPECT_EQ(::access(path(".mine").c_str(), F_OK), 0);
}

}  // namespace signpost::test
