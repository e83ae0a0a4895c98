// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/recovery.h"

#include <gtest/gtest.h>

#include "libvirt-pool/pool_directory.h"
#include "libvirt-pool/pool_file.h"
#include "libvirt-pool/pool_json.h"
#include "libvirt-pool/volume_name.h"
#include "tests/unit/disk/programs.h"

namespace signpost::test {

class RecoveryTest : public testing::Test {
   protected:
    RecoveryTest() : directory_(*PoolDirectory::open(tree_.path("pool"), true)) {}

    int directory() const { return directory_.descriptor(); }

    TempDirectory tree_;
    PoolDirectory directory_;
    Recovery recovery_{"web01",
                       false,
                       {{*DiskName::parse("web01/vda"), "vda", {1 << 20, "nbd://h/web01/vda"}},
                        {*DiskName::parse("web01/vdb"), "vdb", {512, "nbd://h/web01/vdb"}}}};
};

TEST_F(RecoveryTest, IsKeptBesideTheDirectory) {
    ASSERT_TRUE(directory_.make_records());
    const int records = directory_.records();
    ASSERT_TRUE(write_recovery(records, recovery_));
    const auto kept = read_recovery(records, "web01");
    ASSERT_TRUE(kept) << kept.error().message;
    EXPECT_EQ(*kept, recovery_);
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
    ASSERT_TRUE(remove_recovery(records, "web01"));
    EXPECT_EQ(read_recovery(records, "web01").error().code, Errc::not_found);
    EXPECT_TRUE(remove_recovery(records, "web01"));
}

TEST_F(RecoveryTest, ItsVolumesAreNoDisksVolumes) {
    const std::string file = recovery_.file(recovery_.disks.front());
    EXPECT_EQ(file, "web01~vda.qcow2");
    EXPECT_FALSE(disk_of_volume(file));
}

TEST_F(RecoveryTest, WhatSomebodyHasChangedIsRefused) {
    const std::string good = recovery_json(recovery_);
    ASSERT_TRUE(parse_recovery(good));
    for (const auto& [from, to] :
         std::vector<std::pair<std::string, std::string>>{{"\"vda\"", "\"../vda\""},
                                                          {"\"vda\"", "7"},
                                                          {"\"web01\"", "\"../web01\""},
                                                          {"\"web01/vdb\"", "\"../etc\""},
                                                          {"512", "-512"},
                                                          {"512", "\"512\""},
                                                          {"false", "\"no\""},
                                                          {"\"disks\"", "\"disk\""},
                                                          {"}", ""}}) {
        std::string bad = good;
        bad.replace(bad.find(from), from.size(), to);
        ASSERT_TRUE(write_state(directory(), "machine-web01.json", bad));
        const auto refused = read_recovery(directory(), "web01");
        ASSERT_FALSE(refused) << bad;
        EXPECT_EQ(refused.error().code, Errc::invalid);
    }
}

TEST_F(RecoveryTest, WhatCouldNotBeReadIsNotWritten) {
    for (const char* target : {"", "../vda", "a target of many words"}) {
        recovery_.disks.front().target = target;
        const auto refused = write_recovery(directory(), recovery_);
        ASSERT_FALSE(refused) << target;
        EXPECT_EQ(refused.error().code, Errc::invalid);
    }
    recovery_.disks.assign(257, recovery_.disks.back());
    EXPECT_FALSE(write_recovery(directory(), recovery_));
    recovery_.disks.pop_back();
    EXPECT_TRUE(write_recovery(directory(), recovery_));
}

TEST_F(RecoveryTest, OfAnotherMachineIsRefused) {
    ASSERT_TRUE(write_state(directory(), "machine-db01.json", recovery_json(recovery_)));
    EXPECT_EQ(read_recovery(directory(), "db01").error().code, Errc::invalid);
}

TEST(MachineName, IsAPlainWord) {
    for (const char* name : {"web01", "a", "web-01.test_2+x"}) {
        EXPECT_TRUE(check_machine_name(name)) << name;
    }
    for (const char* name : {"", ".hidden", "-x", "a/b", "a b", "a~b", "\xc3\xa4", "a\n"}) {
        EXPECT_FALSE(check_machine_name(name)) << name;
    }
}

TEST(StateFile, TooLargeOrNoFileIsRefused) {
    const TempDirectory tree;
    const PoolDirectory directory = *PoolDirectory::open(tree.path("pool"), true);
    ASSERT_TRUE(write_state(directory.descriptor(), ".x", std::string(kMaxState + 1, 'x')));
    EXPECT_EQ(read_state(directory.descriptor(), ".x").error().code, Errc::invalid);
    ASSERT_EQ(::symlink("/etc/passwd", (directory.path() + "/.y").c_str()), 0);
    EXPECT_FALSE(read_state(directory.descriptor(), ".y"));
}

}  // namespace signpost::test
