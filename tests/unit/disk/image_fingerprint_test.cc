// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/image_fingerprint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

class Fingerprint : public testing::Test {
   protected:
    Fingerprint() { tree.write("a.raw", "content"); }

    std::string of(std::string_view file, bool writable = false) const {
        const UniqueFd fd(::open(tree.path(file).c_str(), O_RDONLY));
        const int number = fd.get();
        return image_fingerprint({&number, 1}, writable).value();
    }

    // As `cp -p` and `rsync --times --inplace` leave a file: other bytes, same length, same mtime.
    void change_and_restore_mtime() const {
        struct stat before {};
        ASSERT_EQ(::stat(tree.path("a.raw").c_str(), &before), 0);
        tree.write("a.raw", "CONTENT");
        const timespec times[2] = {before.st_atim, before.st_mtim};
        ASSERT_EQ(::utimensat(AT_FDCWD, tree.path("a.raw").c_str(), times, 0), 0);
    }

    TempTree tree;
};

TEST_F(Fingerprint, StaysWhileTheFileStays) {
    EXPECT_EQ(of("a.raw"), of("a.raw"));
    EXPECT_EQ(of("a.raw").size(), 34u);
    EXPECT_NE(of("a.raw"), of("a.raw", true));
}

TEST_F(Fingerprint, ChangesWithContentEvenWhenMtimeIsPutBack) {
    const std::string before = of("a.raw");
    change_and_restore_mtime();
    EXPECT_NE(of("a.raw"), before);
}

TEST_F(Fingerprint, TellsCopiesApart) {
    tree.write("b.raw", "content");
    EXPECT_NE(of("a.raw"), of("b.raw"));
    EXPECT_NE(of("a.raw", true), of("b.raw", true));
}

TEST_F(Fingerprint, OfAWritableImageOutlivesWrites) {
    const std::string before = of("a.raw", true);
    tree.write("a.raw", "other content");
    EXPECT_EQ(of("a.raw", true), before);
}

TEST_F(Fingerprint, CoversEveryFileOfTheChain) {
    tree.write("b.raw", "base");
    const UniqueFd top(::open(tree.path("a.raw").c_str(), O_RDONLY));
    const UniqueFd base(::open(tree.path("b.raw").c_str(), O_RDONLY));
    const int fds[] = {top.get(), base.get()};
    const auto before = image_fingerprint(fds, false).value();
    EXPECT_NE(before, image_fingerprint({fds, 1}, false).value());
    tree.write("b.raw", "BASE!");
    EXPECT_NE(image_fingerprint(fds, false).value(), before);
}

TEST_F(Fingerprint, FailsOnAClosedDescriptor) {
    const int fd = -1;
    EXPECT_EQ(image_fingerprint({&fd, 1}, false).error().code, Errc::io);
}

TEST_F(Fingerprint, TravelsInADescription) {
    const std::string fingerprint = of("a.raw");
    const std::string description = describe_with_fingerprint("40 GiB raw, here", fingerprint);
    EXPECT_EQ(fingerprint_in(description), fingerprint);
}

TEST(FingerprintInDescription, IsOnlyTakenWhenWellFormed) {
    const std::string good = "r-0123456789abcdef0123456789abcdef";
    EXPECT_EQ(fingerprint_in("fingerprint=" + good), good);
    EXPECT_EQ(fingerprint_in(""), std::nullopt);
    EXPECT_EQ(fingerprint_in("40 GiB raw"), std::nullopt);
    EXPECT_EQ(fingerprint_in("fingerprint=" + good + "0"), std::nullopt);
    EXPECT_EQ(fingerprint_in("fingerprint=x-" + good.substr(2)), std::nullopt);
    EXPECT_EQ(fingerprint_in("fingerprint=" + good + " and more"), std::nullopt);
}

}  // namespace
}  // namespace signpost::test
