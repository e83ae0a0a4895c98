// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/publisher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <fstream>

#include "tests/unit/disk/header_bytes.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/observed_catalog.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

using namespace std::chrono_literals;

class PublisherTest : public testing::Test {
   protected:
    PublisherTest() {
        settings.server = Server{.name = "beta",
                                 .uris = {NbdUri::parse("nbd://127.0.0.1:10810").value()},
                                 .site = {},
                                 .instance = "one"};
        settings.settle = 20ms;
        EXPECT_TRUE(catalog.put_server(settings.server).has_value());
    }

    void start(RepositoryOptions options = {}) {
        std::vector<Repository> all;
        all.push_back(Repository::open(tree.root(), options).value());
        repositories.emplace(std::move(all));
        publisher = start_publisher(settings, *repositories, catalog, log);
    }

    bool published(std::string_view disk) { return location(disk).has_value(); }
    std::optional<Location> location(std::string_view disk) {
        return catalog.location(disk, "beta");
    }
    bool wait_for(std::string_view disk) {
        return catalog.wait_until([&] { return published(disk); });
    }
    bool wait_for_loss(std::string_view disk) {
        return catalog.wait_until([&] { return !published(disk); });
    }
    bool wait_for_log(std::string_view part) {
        return catalog.wait_until([&] { return log.has(part); });
    }
    int lines_with(std::string_view part) const {
        return static_cast<int>(std::ranges::count_if(log.lines(), [&](const std::string& line) {
            return line.find(part) != std::string::npos;
        }));
    }

    TempTree tree;
    KeptLog log;
    ObservedCatalog catalog;
    PublisherSettings settings;
    std::optional<RepositorySet> repositories;
    std::unique_ptr<Publisher> publisher;  // first to go
};

TEST_F(PublisherTest, PublishesWhatIsThere) {
    tree.write("web01/vda.raw", std::string(1024, 'x'));
    tree.write("base.qcow2", Qcow2Bytes(5 << 20).bytes);
    start();
    ASSERT_TRUE(wait_for("web01/vda"));
    ASSERT_TRUE(wait_for("base"));
    EXPECT_EQ(location("web01/vda")->size, 1024u);
    EXPECT_EQ(location("base")->size, 5u << 20);
    EXPECT_EQ(location("base")->format, ImageFormat::qcow2);
    EXPECT_TRUE(location("base")->read_only);
    EXPECT_EQ(publisher->images().size(), 2u);
}

TEST_F(PublisherTest, WithdrawsWhatIsGoneSinceTheLastRun) {
    const Image old{.name = DiskName::parse("old").value(),
                    .export_name = "old",
                    .size = 512,
                    .fingerprint = {}};
    ASSERT_TRUE(catalog.publish("beta", {.images = {old}}).has_value());
    start();
    EXPECT_TRUE(wait_for_loss("old"));
}

TEST_F(PublisherTest, PublishesWhatComes) {
    start();
    tree.write("new.raw", "x");
    EXPECT_TRUE(wait_for("new"));
}

TEST_F(PublisherTest, PublishesWhatComesByRename) {
    start();
    tree.write("new.raw.part", "x");
    tree.rename("new.raw.part", "new.raw");
    EXPECT_TRUE(wait_for("new"));
}

TEST_F(PublisherTest, WithdrawsWhatGoes) {
    tree.write("a.raw", "x");
    tree.write("b.raw", "x");
    start();
    ASSERT_TRUE(wait_for("a"));
    ASSERT_TRUE(wait_for("b"));
    ASSERT_EQ(::unlink(tree.path("a.raw").c_str()), 0);
    tree.rename("b.raw", "b.raw.old");
    EXPECT_TRUE(wait_for_loss("a"));
    EXPECT_TRUE(wait_for_loss("b"));
    EXPECT_TRUE(publisher->images().empty());
}

// As a copy that landed is, before it has settled.
TEST_F(PublisherTest, WithdrawsWhatAnotherPublishedAndIsGone) {
    settings.settle = 1h;
    tree.write("a.raw", "x");
    start();
    ASSERT_TRUE(catalog.wait_until([&] { return !catalog.publications().empty(); }));
    const Image landed{
        .name = DiskName::parse("a").value(), .export_name = "a", .size = 512, .fingerprint = {}};
    ASSERT_TRUE(catalog.publish("beta", {.images = {landed}}).has_value());
    ASSERT_EQ(::unlink(tree.path("a.raw").c_str()), 0);
    EXPECT_TRUE(wait_for_loss("a"));
}

TEST_F(PublisherTest, ChangedContentIsANewGeneration) {
    tree.write("a.raw", "x");
    start();
    ASSERT_TRUE(wait_for("a"));
    const auto before = location("a")->generation;
    tree.write("a.raw", "longer");
    EXPECT_TRUE(catalog.wait_until([&] { return location("a")->size == 6; }));
    EXPECT_GT(location("a")->generation, before);
}

TEST_F(PublisherTest, OneEventDoesNotPublishEverything) {
    for (int i = 0; i < 50; ++i) {
        tree.write("d/" + std::to_string(i) + ".raw", "x");
    }
    start();
    ASSERT_TRUE(catalog.wait_until([&] { return publisher->images().size() == 50; }));
    ASSERT_TRUE(wait_for("d/49"));
    tree.write("d/new.raw", "x");
    ASSERT_TRUE(wait_for("d/new"));
    const Publication last = catalog.publications().back();
    EXPECT_FALSE(last.complete);
    EXPECT_EQ(last.images.size(), 1u);
}

TEST_F(PublisherTest, FollowsNewDirectories) {
    start();
    ASSERT_TRUE(catalog.wait_until([&] { return !catalog.publications().empty(); }));
    tree.write("a/b/c/deep.raw", "x");
    ASSERT_TRUE(wait_for("a/b/c/deep"));
    tree.write("a/b/c/later.raw", "x");
    EXPECT_TRUE(wait_for("a/b/c/later"));
}

TEST_F(PublisherTest, FollowsMovedDirectories) {
    tree.write("old/a.raw", "x");
    start();
    ASSERT_TRUE(wait_for("old/a"));
    tree.rename("old", "new");
    ASSERT_TRUE(wait_for("new/a"));
    EXPECT_TRUE(wait_for_loss("old/a"));
    tree.write("new/b.raw", "x");
    EXPECT_TRUE(wait_for("new/b"));
    EXPECT_FALSE(published("old/b"));
}

TEST_F(PublisherTest, WithdrawsRemovedDirectories) {
    tree.write("d/e/a.raw", "x");
    start();
    ASSERT_TRUE(wait_for("d/e/a"));
    std::filesystem::remove_all(tree.path("d"));
    EXPECT_TRUE(wait_for_loss("d/e/a"));
}

TEST_F(PublisherTest, WaitsForAFileUntilItsWriterEnds) {
    start();
    tree.write("slow.raw", "half");
    UniqueFd writer(::open(tree.path("slow.raw").c_str(), O_WRONLY | O_APPEND));
    tree.write("mark.raw", "x");
    ASSERT_TRUE(wait_for("mark"));
    EXPECT_FALSE(published("slow"));
    ASSERT_EQ(::write(writer.get(), "half", 4), 4);
    writer.reset();
    ASSERT_TRUE(wait_for("slow"));
    EXPECT_EQ(location("slow")->size, 8u);
}

TEST_F(PublisherTest, WaitsForAYoungFile) {
    settings.settle = 1h;
    tree.write("young.raw", "x");
    tree.write("old.raw", "x");
    start();
    ASSERT_TRUE(catalog.wait_until([&] { return !catalog.publications().empty(); }));
    EXPECT_TRUE(catalog.publications().front().complete);
    EXPECT_FALSE(published("young"));
    EXPECT_TRUE(publisher->images().empty());
}

TEST_F(PublisherTest, KeepsWhatIsBeingWrittenWhenItStarts) {
    settings.settle = 1h;
    tree.write("young.raw", "x");
    const Image known{.name = DiskName::parse("young").value(),
                      .export_name = "young",
                      .size = 1,
                      .fingerprint = "r-1"};
    ASSERT_TRUE(catalog.publish("beta", {.images = {known}}).has_value());
    const auto before = location("young");
    start();
    ASSERT_TRUE(catalog.wait_until([&] { return catalog.publications().size() > 1; }));
    EXPECT_TRUE(catalog.publications().back().complete);
    EXPECT_EQ(location("young")->generation, before->generation);
}

TEST_F(PublisherTest, ABackingFileThatChangesChangesTheDisksOnIt) {
    tree.write("base/b.img", "x");
    tree.write("top.qcow2", Qcow2Bytes().backing("base/b.img", "raw").bytes);
    start();
    ASSERT_TRUE(wait_for("top"));
    const auto before = location("top")->generation;
    tree.write("base/b.img", "y");
    EXPECT_TRUE(catalog.wait_until([&] { return location("top")->generation > before; }));
}

TEST_F(PublisherTest, ARefusedDiskIsPublishedWhenItsBackingFileComes) {
    tree.write("top.qcow2", Qcow2Bytes().backing("late.raw", "raw").bytes);
    start();
    ASSERT_TRUE(wait_for_log("late.raw"));
    tree.write("late.raw", "x");
    EXPECT_TRUE(wait_for("top"));
}

TEST_F(PublisherTest, TwoFilesOfOneNameWithdrawEachOther) {
    tree.write("a.raw", "x");
    start();
    ASSERT_TRUE(wait_for("a"));
    tree.write("a.qcow2", Qcow2Bytes().bytes);
    ASSERT_TRUE(wait_for_loss("a"));
    EXPECT_TRUE(wait_for_log("both"));
    ASSERT_EQ(::unlink(tree.path("a.qcow2").c_str()), 0);
    EXPECT_TRUE(wait_for("a"));
}

TEST_F(PublisherTest, ADatedDirectoryThatGoesTakesItsPointsWithIt) {
    start();
    tree.write("web01/2026-11-20/vda.raw", "x");
    ASSERT_TRUE(wait_for("web01/vda@2026-11-20"));
    tree.rename("web01/2026-11-20", "web01/.old");
    EXPECT_TRUE(wait_for_loss("web01/vda@2026-11-20"));
}

TEST_F(PublisherTest, ANewLayerMakesAPointOfTheOneBelow) {
    tree.write("web01/vda.qcow2", Qcow2Bytes().bytes);
    start();
    ASSERT_TRUE(wait_for("web01/vda"));
    EXPECT_TRUE(publisher->names_beginning("web01/vda@").empty());

    tree.write("web01/vda.snap1", Qcow2Bytes(2 << 20).backing("vda.qcow2", "qcow2").bytes);
    ASSERT_TRUE(
        catalog.wait_until([&] { return publisher->names_beginning("web01/vda@").size() == 1; }));
    EXPECT_TRUE(catalog.wait_until([&] { return location("web01/vda")->size == 2 << 20; }));

    tree.write("web01/vda.snap2", Qcow2Bytes(3 << 20).backing("vda.snap1", "qcow2").bytes);
    ASSERT_TRUE(
        catalog.wait_until([&] { return publisher->names_beginning("web01/vda@").size() == 2; }));
    EXPECT_TRUE(catalog.wait_until([&] { return location("web01/vda")->size == 3 << 20; }));

    ASSERT_EQ(::unlink(tree.path("web01/vda.snap2").c_str()), 0);
    EXPECT_TRUE(
        catalog.wait_until([&] { return publisher->names_beginning("web01/vda@").size() == 1; }));
    EXPECT_TRUE(catalog.wait_until([&] { return location("web01/vda")->size == 2 << 20; }));
}

TEST_F(PublisherTest, ASecondLayerOnOneFileEndsTheChain) {
    tree.write("vda.qcow2", Qcow2Bytes().bytes);
    tree.write("vda.a.qcow2", Qcow2Bytes(2 << 20).backing("vda.qcow2", "qcow2").bytes);
    start();
    ASSERT_TRUE(catalog.wait_until([&] { return publisher->names_beginning("vda@").size() == 1; }));
    tree.write("vda.b.qcow2", Qcow2Bytes(3 << 20).backing("vda.qcow2", "qcow2").bytes);
    ASSERT_TRUE(wait_for("vda.b"));
    ASSERT_TRUE(wait_for("vda.a"));
    EXPECT_TRUE(catalog.wait_until([&] { return publisher->names_beginning("vda@").empty(); }));
    EXPECT_TRUE(catalog.wait_until([&] { return location("vda")->size == 1 << 20; }));
}

TEST_F(PublisherTest, LogsEachRefusalOnce) {
    settings.rescan = 1s;
    ASSERT_EQ(::mkfifo(tree.path("pipe.raw").c_str(), 0600), 0);
    tree.write("bad\nname.raw", "x");
    settings.heartbeat = 1s;
    start();
    ASSERT_TRUE(wait_for_log("a FIFO"));
    const int beats = catalog.heartbeats();
    ASSERT_TRUE(catalog.wait_until([&] { return catalog.heartbeats() >= beats + 3; }));
    EXPECT_EQ(lines_with("a FIFO"), 1);
    EXPECT_EQ(lines_with("bad\\x0a"), 1);
}

TEST_F(PublisherTest, RescanFindsWhatInotifyDoesNotSee) {
    settings.rescan = 1s;
    tree.write("store/real", "x");
    tree.link("store/real", "alias.raw");
    start();
    ASSERT_TRUE(wait_for("alias"));
    // The link's target is no image, so no event names the disk.
    const auto before = location("alias")->generation;
    tree.write("store/real", "changed");
    EXPECT_TRUE(catalog.wait_until([&] { return location("alias")->generation > before; }));
}

TEST_F(PublisherTest, TriesAgainWhenTheCatalogIsDown) {
    catalog.break_with(Errc::unavailable);
    tree.write("a.raw", "x");
    start();
    ASSERT_TRUE(catalog.wait_until([&] { return catalog.failures() >= 3; }));
    EXPECT_EQ(lines_with("cannot be published"), 1);
    catalog.break_with(std::nullopt);
    ASSERT_TRUE(wait_for("a"));
    EXPECT_TRUE(wait_for_log("works again"));
}

TEST_F(PublisherTest, KeepsTheHeartbeatGoing) {
    settings.heartbeat = 1s;
    start();
    EXPECT_TRUE(catalog.wait_until([&] { return catalog.heartbeats() >= 2; }));
}

TEST_F(PublisherTest, RegistersAgainWhenTheCatalogWasMadeAnew) {
    settings.heartbeat = 1s;
    tree.write("a.raw", "x");
    start();
    ASSERT_TRUE(wait_for("a"));
    ASSERT_TRUE(catalog.remove_server("beta").has_value());
    ASSERT_FALSE(published("a"));
    EXPECT_TRUE(wait_for("a"));
    EXPECT_TRUE(wait_for_log("registered again"));
}

TEST_F(PublisherTest, RegistersWhatCouldNotBeRegisteredAtTheStart) {
    // The catalog was away, and knows the process that ran before.
    settings.server.instance = "two";
    settings.registered = false;
    tree.write("a.raw", "x");
    start();
    ASSERT_TRUE(wait_for("a"));
    EXPECT_EQ(catalog.find_server("beta").value()->instance, "two");
    EXPECT_EQ(lines_with("used by another process"), 0);
}

TEST_F(PublisherTest, RegistersWhenItsNameIsFreeAgain) {
    settings.server.uris = {NbdUri::parse("nbd://127.0.0.1:10811").value()};
    settings.server.instance = "two";
    settings.registered = false;
    tree.write("a.raw", "x");
    start();
    ASSERT_TRUE(wait_for_log("server name beta is in use by a running server"));
    EXPECT_EQ(catalog.find_server("beta").value()->instance, "one");
    EXPECT_FALSE(published("a"));
    ASSERT_TRUE(catalog.remove_server("beta"));
    EXPECT_TRUE(wait_for("a"));
    EXPECT_EQ(catalog.find_server("beta").value()->instance, "two");
}

// At the first beat.
class AwayCatalog final : public MemoryCatalog {
   public:
    Result<void> heartbeat(std::string_view, std::string_view, std::uint32_t) override {
        return ++beats == 1 ? fail(Errc::unavailable, "away") : Result<void>();
    }
    std::atomic<int> beats = 0;
};

TEST_F(PublisherTest, BeatsSoonAgainWhenItCouldNot) {
    AwayCatalog away;
    ASSERT_TRUE(away.put_server(settings.server));
    settings.heartbeat = 3600s;
    std::vector<Repository> all;
    all.push_back(Repository::open(tree.root(), {}).value());
    repositories.emplace(std::move(all));
    publisher = start_publisher(settings, *repositories, away, log);
    EXPECT_TRUE(catalog.wait_until([&] { return away.beats == 2; }));
    EXPECT_TRUE(wait_for_log("the catalog works again"));
    publisher.reset();
}

// The clock of the catalog's lease is long past for the second instance.
class LostNameCatalog final : public MemoryCatalog {
   public:
    Result<void> heartbeat(std::string_view, std::string_view, std::uint32_t) override {
        ++beats;
        return fail(Errc::conflict, "another instance is registered");
    }
    Result<void> put_server(const Server& server) override {
        return elsewhere ? fail(Errc::conflict, "it runs at another address")
                         : MemoryCatalog::put_server(server);
    }
    Result<PublishSummary> publish(std::string_view, const Publication&) override {
        ++published;
        return PublishSummary{};
    }
    bool elsewhere = true;
    std::atomic<int> beats = 0;
    std::atomic<int> published = 0;
};

// As after a restore, or a failover to a standby that was behind.
TEST_F(PublisherTest, TakesItsNameBackFromTheProcessThatRanBefore) {
    settings.heartbeat = 1s;
    tree.write("a.raw", "x");
    start();
    ASSERT_TRUE(wait_for("a"));
    Server before = settings.server;
    before.instance = "zero";
    ASSERT_TRUE(catalog.put_server(before));
    ASSERT_TRUE(catalog.publish("beta", {.vanished = {DiskName::parse("a").value()}}));
    EXPECT_TRUE(wait_for("a"));
    EXPECT_EQ(catalog.find_server("beta").value()->instance, "one");
}

TEST_F(PublisherTest, TakesItsNameBackOnlyOnce) {
    LostNameCatalog lost;
    lost.elsewhere = false;
    settings.heartbeat = 1s;
    std::vector<Repository> all;
    all.push_back(Repository::open(tree.root(), {}).value());
    repositories.emplace(std::move(all));
    publisher = start_publisher(settings, *repositories, lost, log);
    ASSERT_TRUE(wait_for_log("server name beta is now used by another process"));
    EXPECT_EQ(lost.beats, 2);
    publisher.reset();
}

TEST_F(PublisherTest, StopsPublishingWhenItsNameBelongsToAnother) {
    LostNameCatalog lost;
    tree.write("a.raw", "x");
    std::vector<Repository> all;
    all.push_back(Repository::open(tree.root(), {}).value());
    repositories.emplace(std::move(all));
    publisher = start_publisher(settings, *repositories, lost, log);
    ASSERT_TRUE(wait_for_log("server name beta is now used by another process"));
    // Its own list goes on.
    tree.write("b.raw", "x");
    EXPECT_TRUE(catalog.wait_until([&] { return publisher->images().size() == 2; }));
    EXPECT_EQ(lost.published, 0);
    publisher.reset();
}

// Holds the publisher in its first publication until the test lets it go.
class GateCatalog final : public MemoryCatalog {
   public:
    Result<PublishSummary> publish(std::string_view server, const Publication& change) override {
        if (!reached.test_and_set()) {
            reached.notify_all();
            open.wait(false);
        }
        return MemoryCatalog::publish(server, change);
    }
    std::atomic_flag reached;
    std::atomic_flag open;
};

TEST_F(PublisherTest, ScansAgainWhenTheKernelLostEvents) {
    std::size_t limit = 0;
    std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
    if (limit == 0 || limit > 50'000) {
        GTEST_SKIP() << "the queue holds " << limit << " events: too many to fill here";
    }
    GateCatalog gate;
    ASSERT_TRUE(gate.put_server(settings.server).has_value());
    std::vector<Repository> all;
    all.push_back(Repository::open(tree.root(), {}).value());
    repositories.emplace(std::move(all));
    publisher = start_publisher(settings, *repositories, gate, log);
    gate.reached.wait(false);
    tree.write("0.noise", "x");
    for (std::size_t i = 0; i <= limit / 2; ++i) {
        tree.rename(std::to_string(i) + ".noise", std::to_string(i + 1) + ".noise");
    }
    tree.write("unseen.raw", "x");
    gate.open.test_and_set();
    gate.open.notify_all();
    EXPECT_TRUE(catalog.wait_until([&] { return publisher->images().size() == 1; }));
    EXPECT_TRUE(log.has("lost events"));
    publisher.reset();
}

TEST_F(PublisherTest, StopsPromptly) {
    settings.settle = 1h;
    start();
    const auto start_of_stop = std::chrono::steady_clock::now();
    publisher.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - start_of_stop, 2s);
}

TEST_F(PublisherTest, OwnWritesAreNoNews) {
    settings.rescan = 1s;
    tree.write("a.raw", "content");
    start({.writable = true});
    ASSERT_TRUE(wait_for("a"));
    EXPECT_FALSE(location("a")->read_only);
    const auto generation = location("a")->generation;
    tree.write("a.raw", "CONTENT");
    tree.write("mark.raw", "x");
    ASSERT_TRUE(wait_for("mark"));
    EXPECT_EQ(location("a")->generation, generation);
}

}  // namespace
}  // namespace signpost::test
