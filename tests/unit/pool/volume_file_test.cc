// SPDX-License-Identifier: BSD-3-Clause
//
// Volumes' files, judged by qemu-img and qemu-io.

#include "libvirt-pool/volume_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/unit/disk/programs.h"

namespace signpost::test {

constexpr std::uint64_t kGiB = 1 << 30;

class VolumeFile : public testing::Test {
   protected:
    VolumeFile() : directory_(::open(tree_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
        EXPECT_TRUE(directory_);
    }

    void write(const VolumeTerms& terms, const std::string& file = "a.qcow2") {
        const auto written = write_volume(directory_.get(), file, terms);
        ASSERT_TRUE(written) << written.error().message;
    }

    VolumeFacts inspect(const std::string& file = "a.qcow2") {
        const auto facts = inspect_volume(directory_.get(), file);
        EXPECT_TRUE(facts) << facts.error().message;
        return facts.value_or(VolumeFacts{});
    }

    // A qcow2 whose backing file is a raw file of its own, so that QEMU can open it.
    void write_over_raw(std::uint64_t size = kGiB) {
        write_file(tree_.path("raw"), "");
        ASSERT_EQ(::truncate(tree_.path("raw").c_str(), static_cast<off_t>(size)), 0);
        write({size, tree_.path("raw")});
    }

    bool qemu_io(const std::string& command) {
        return run_program({"qemu-io", "-f", "qcow2", "-c", command, tree_.path("a.qcow2")});
    }

    TempDirectory tree_;
    UniqueFd directory_;
};

TEST_F(VolumeFile, IsCleanToQemuAtEverySize) {
    for (const std::uint64_t size :
         {std::uint64_t{512}, kGiB, kGiB + 512, 1024 * kGiB, 65536 * kGiB}) {
        const std::string file = std::to_string(size);
        write({size, "nbd+unix:///web01%2Fvda?socket=/run/signpost/nbd.sock"}, file);
        EXPECT_TRUE(run_program(
            {"qemu-img", "check", "-q", "--image-opts",
             "driver=qcow2,backing=,file.driver=file,file.filename=" + tree_.path(file)}))
            << size;
    }
}

TEST_F(VolumeFile, TakesThreePagesWhateverTheSize) {
    write({16 * 1024 * kGiB, "nbd://localhost/a"});
    struct stat status {};
    ASSERT_EQ(::stat(tree_.path("a.qcow2").c_str(), &status), 0);
    EXPECT_LE(status.st_blocks * 512, 16 * 1024);
}

TEST_F(VolumeFile, IsPristineAsWritten) {
    const VolumeTerms terms{kGiB, "nbd+unix:///a?socket=/run/x"};
    write(terms);
    const VolumeFacts facts = inspect();
    EXPECT_EQ(facts.state, VolumeState::pristine);
    EXPECT_EQ(facts.terms, terms);
}

TEST_F(VolumeFile, StaysPristineWhenItIsReadOnly) {
    write_over_raw();
    ASSERT_TRUE(qemu_io("read 0 65536"));
    EXPECT_EQ(inspect().state, VolumeState::pristine);
}

TEST_F(VolumeFile, IsWrittenAfterASingleWrite) {
    write_over_raw();
    ASSERT_TRUE(qemu_io("write -P 7 1M 512"));
    EXPECT_EQ(inspect().state, VolumeState::written);
    EXPECT_EQ(inspect().terms.size, kGiB);
    EXPECT_TRUE(run_program({"qemu-img", "check", "-q", tree_.path("a.qcow2")}));
}

TEST_F(VolumeFile, IsWrittenAfterZeroesAnInternalSnapshotOrAnotherSize) {
    write_over_raw();
    ASSERT_TRUE(qemu_io("write -z 0 64k"));
    EXPECT_EQ(inspect().state, VolumeState::written);
    ::unlink(tree_.path("a.qcow2").c_str());
    write_over_raw();
    ASSERT_TRUE(run_program({"qemu-img", "snapshot", "-c", "s", tree_.path("a.qcow2")}));
    EXPECT_EQ(inspect().state, VolumeState::written);
    ::unlink(tree_.path("a.qcow2").c_str());
    write_over_raw();
    ASSERT_TRUE(run_program({"qemu-img", "resize", "-q", tree_.path("a.qcow2"), "+1G"}));
    EXPECT_EQ(inspect().state, VolumeState::written);
}

TEST_F(VolumeFile, OfAnotherMakerIsNotPristine) {
    ASSERT_TRUE(
        run_program({"qemu-img", "create", "-q", "-f", "qcow2", tree_.path("a.qcow2"), "1G"}));
    EXPECT_EQ(inspect().state, VolumeState::written);
}

TEST_F(VolumeFile, ThatIsNoQcow2IsDamaged) {
    write_file(tree_.path("a.qcow2"), std::string(8192, '\0'));
    EXPECT_EQ(inspect().state, VolumeState::damaged);
    write_file(tree_.path("a.qcow2"), "QFI");
    EXPECT_EQ(inspect().state, VolumeState::damaged);
}

TEST_F(VolumeFile, WithAByteChangedAnywhereInItsTablesIsNotPristine) {
    for (const off_t at : {off_t{5}, off_t{200}, off_t{4095}, off_t{65536 + 20}, off_t{131072 + 9},
                           off_t{196608 + 3}}) {
        ::unlink(tree_.path("a.qcow2").c_str());
        write({kGiB, "nbd://localhost/a"});
        const UniqueFd fd(::open(tree_.path("a.qcow2").c_str(), O_RDWR | O_CLOEXEC));
        ASSERT_EQ(::pwrite(fd.get(), "\x7f", 1, at), 1);
        EXPECT_EQ(inspect().state, VolumeState::written) << at;
    }
}

TEST_F(VolumeFile, IsNotWrittenOverAnother) {
    write({kGiB, "nbd://localhost/a"});
    const auto again = write_volume(directory_.get(), "a.qcow2", {kGiB, "nbd://localhost/b"});
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::conflict);
    EXPECT_EQ(inspect().terms.backing, "nbd://localhost/a");
}

TEST_F(VolumeFile, TermsBeyondTheLimitsAreRefused) {
    for (const VolumeTerms& terms :
         {VolumeTerms{0, "nbd://h/a"}, VolumeTerms{513, "nbd://h/a"},
          VolumeTerms{kMaxVolumeSize + 512, "nbd://h/a"}, VolumeTerms{kGiB, ""},
          VolumeTerms{kGiB, std::string(1024, 'x')}}) {
        const auto refused = write_volume(directory_.get(), "a.qcow2", terms);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::invalid);
    }
    write({kMaxVolumeSize, std::string(1023, 'x')});
    EXPECT_EQ(inspect().state, VolumeState::pristine);
}

TEST_F(VolumeFile, IsNotLookedForThroughLinksOrPipes) {
    ASSERT_EQ(::symlink("/etc/passwd", tree_.path("a.qcow2").c_str()), 0);
    EXPECT_FALSE(inspect_volume(directory_.get(), "a.qcow2"));
    ASSERT_EQ(::mkfifo(tree_.path("b.qcow2").c_str(), 0600), 0);
    EXPECT_FALSE(inspect_volume(directory_.get(), "b.qcow2"));
    const auto missing = inspect_volume(directory_.get(), "c.qcow2");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Errc::not_found);
}

TEST_F(VolumeFile, LockKeepsQemuOut) {
    write_over_raw();
    {
        const auto lock = lock_volume(directory_.get(), "a.qcow2");
        ASSERT_TRUE(lock) << lock.error().message;
        for (const char* command : {"write 0 512", "read 0 512"}) {
            EXPECT_TRUE(run_program({"sh", "-c", "! qemu-io -f qcow2 -c \"$1\" \"$2\" 2>/dev/null",
                                     "sh", command, tree_.path("a.qcow2")}));
        }
        EXPECT_FALSE(lock_volume(directory_.get(), "a.qcow2"));
    }
    EXPECT_TRUE(qemu_io("write 0 512"));
}

TEST_F(VolumeFile, ThatQemuHasOpenCannotBeLocked) {
    write_over_raw();
    const SocketServer server(
        tree_.path("sock"), {"qemu-nbd", "--format=qcow2", "--persistent", tree_.path("a.qcow2")});
    ASSERT_TRUE(run_program({"nbdinfo", "--size", "nbd+unix:///?socket=" + tree_.path("sock")}));
    const auto lock = lock_volume(directory_.get(), "a.qcow2");
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code, Errc::unavailable);
}

}  // namespace signpost::test
