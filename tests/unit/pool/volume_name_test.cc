// SPDX-License-Identifier: BSD-3-Clause
#include "libvirt-pool/volume_name.h"

#include <gtest/gtest.h>

#include <string>

namespace signpost::test {

DiskName disk(const std::string& name) {
    return *DiskName::parse(name);
}

TEST(VolumeName, IsTheDisksWithoutSlashes) {
    EXPECT_EQ(volume_name(disk("web01/vda")), "web01%2Fvda.qcow2");
    EXPECT_EQ(volume_name(disk("plain-name_1.2")), "plain-name_1.2.qcow2");
}

TEST(VolumeName, ComesBackAsTheDisk) {
    for (const char* name : {"web01/vda", "a%2Fb", "100%", ".hidden", "-option", "a b", "\"'$`&;*?",
                             "ü/öä", "a\\b", "tenant/x:y", "%", "%%41", "a.qcow2", "x@y,z=1+2"}) {
        const auto file = volume_name(disk(name));
        ASSERT_TRUE(file);
        EXPECT_EQ(file->find('/'), std::string::npos) << name;
        EXPECT_NE(file->front(), '.') << name;
        EXPECT_NE(file->front(), '-') << name;
        EXPECT_EQ(file->find_first_of(" \"'$`&;*?\\"), std::string::npos) << name;
        EXPECT_EQ(disk_of_volume(*file), disk(name)) << name;
    }
}

TEST(VolumeName, DifferentDisksHaveDifferentNames) {
    EXPECT_NE(*volume_name(disk("a/b")), *volume_name(disk("a%2Fb")));
}

TEST(VolumeName, OfAFileThatIsNoVolumesIsNone) {
    for (const char* file :
         {"", ".qcow2", "a", "a.raw", "a%2fb.qcow2", "a%2.qcow2", "a%.qcow2", "%41.qcow2",
          "a b.qcow2", "..qcow2", "a%2F%2Fb.qcow2", "a%00b.qcow2", "a%2F.qcow2"}) {
        EXPECT_FALSE(disk_of_volume(file)) << file;
    }
}

TEST(VolumeName, ThatIsTooLongForAFileIsRefused) {
    EXPECT_TRUE(volume_name(disk(std::string(249, 'x'))));
    const auto refused = volume_name(disk(std::string(250, 'x')));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::invalid);
}

}  // namespace signpost::test
