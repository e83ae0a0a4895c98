// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/tree_watch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

using Change = TreeWatch::Change;

class TreeWatchTest : public testing::Test {
   protected:
    void watch(const std::string& directory) {
        const UniqueFd fd(::open(tree.path(directory).c_str(), O_RDONLY | O_DIRECTORY));
        watched.add({.repository = 0, .path = directory}, fd.get());
    }

    bool saw(const std::vector<TreeWatch::Event>& events, Change change, const std::string& path) {
        return std::ranges::any_of(events, [&](const TreeWatch::Event& event) {
            return event.change == change && event.where.path == path;
        });
    }

    TempTree tree;
    KeptLog log;
    TreeWatch watched{log};
};

TEST_F(TreeWatchTest, TellsFilesFromDirectories) {
    watch("");
    tree.write("a.raw", "x");
    std::filesystem::create_directory(tree.path("d"));
    std::filesystem::remove(tree.path("d"));
    const auto events = watched.take();
    EXPECT_TRUE(saw(events, Change::file, "a.raw"));
    EXPECT_TRUE(saw(events, Change::directory_came, "d"));
    EXPECT_TRUE(saw(events, Change::directory_went, "d"));
    EXPECT_TRUE(watched.take().empty());
}

TEST_F(TreeWatchTest, DoesNotSeeHiddenAndUnfinishedFiles) {
    watch("");
    tree.write(".hidden", "x");
    tree.write("a.raw.part", "x");
    EXPECT_TRUE(watched.take().empty());
}

TEST_F(TreeWatchTest, ReadingIsNoEvent) {
    tree.write("a.raw", "x");
    watch("");
    EXPECT_TRUE(UniqueFd(::open(tree.path("a.raw").c_str(), O_RDONLY)));
    EXPECT_TRUE(watched.take().empty());
}

TEST_F(TreeWatchTest, AMovedDirectoryIsNoLongerWatchedUnderItsOldName) {
    tree.write("d/a.raw", "x");
    watch("");
    watch("d");
    tree.rename("d", "e");
    EXPECT_TRUE(saw(watched.take(), Change::directory_went, "d"));
    tree.write("e/b.raw", "x");
    EXPECT_FALSE(saw(watched.take(), Change::file, "d/b.raw"));
}

TEST_F(TreeWatchTest, ADirectoryThatIsSeenAtTwoPlacesIsWatchedAtBoth) {
    tree.write("d/old.raw", "x");
    watch("d");
    const UniqueFd fd(::open(tree.path("d").c_str(), O_RDONLY | O_DIRECTORY));
    watched.add({.repository = 1, .path = ""}, fd.get());
    tree.write("d/a.raw", "x");
    const auto events = watched.take();
    EXPECT_TRUE(saw(events, Change::file, "d/a.raw"));
    EXPECT_TRUE(saw(events, Change::file, "a.raw"));
}

TEST_F(TreeWatchTest, SaysWhenTheKernelLostEvents) {
    std::size_t limit = 0;
    std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
    if (limit == 0 || limit > 50'000) {
        GTEST_SKIP() << "the queue holds " << limit << " events: too many to fill here";
    }
    watch("");
    tree.write("0.raw", "x");
    for (std::size_t i = 0; i <= limit / 2; ++i) {
        tree.rename(std::to_string(i) + ".raw", std::to_string(i + 1) + ".raw");
    }
    const auto events = watched.take();
    EXPECT_TRUE(std::ranges::any_of(
        events, [](const TreeWatch::Event& event) { return event.change == Change::lost; }));
}

TEST(LiesBeneath, ComparesWholeComponents) {
    EXPECT_TRUE(lies_beneath("a/b", "a"));
    EXPECT_TRUE(lies_beneath("a", "a"));
    EXPECT_TRUE(lies_beneath("a", ""));
    EXPECT_FALSE(lies_beneath("ab", "a"));
    EXPECT_FALSE(lies_beneath("a", "a/b"));
}

}  // namespace
}  // namespace signpost::test
