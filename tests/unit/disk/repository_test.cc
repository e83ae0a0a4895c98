// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/repository.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "tests/unit/disk/header_bytes.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

using namespace std::chrono_literals;

DiskName name(std::string_view text) {
    return DiskName::parse(text).value();
}

RepositorySet repositories(const std::vector<std::string>& directories,
                           RepositoryOptions options = {}) {
    std::vector<Repository> all;
    for (const std::string& directory : directories) {
        all.push_back(Repository::open(directory, options).value());
    }
    return RepositorySet(std::move(all));
}

class Images : public testing::Test {
   protected:
    RepositorySet set(RepositoryOptions options = {}) {
        return repositories({tree.root()}, options);
    }

    Result<OpenImage> open(std::string_view disk, RepositoryOptions options = {}) {
        return set(options).open_image(name(disk));
    }

    // Opening fails with CODE and PART in the message, and a scan says the same and finds no image.
    void expect_refused(std::string_view disk, Errc code, std::string_view part,
                        RepositoryOptions options = {}) {
        const auto image = open(disk, options);
        ASSERT_FALSE(image.has_value());
        EXPECT_EQ(image.error().code, code) << image.error().message;
        EXPECT_NE(image.error().message.find(part), std::string::npos) << image.error().message;
        const auto scan = set(options).scan();
        EXPECT_TRUE(std::ranges::none_of(
            scan.images, [&](const Image& found) { return found.name.str() == disk; }));
        EXPECT_TRUE(std::ranges::any_of(scan.refusals, [&](const std::string& line) {
            return line.find(part) != std::string::npos && line.find('\n') == std::string::npos;
        }));
    }

    TempTree tree;
};

// Root may write to any file: for as long as this lives, the test is not root.
class OrdinaryUser {
   public:
    explicit OrdinaryUser(const TempTree& tree) : was_root_(::geteuid() == 0) {
        constexpr uid_t kNobody = 65534;
        if (was_root_) {
            EXPECT_EQ(::chmod(tree.root().c_str(), 0755), 0);
            EXPECT_EQ(::seteuid(kNobody), 0);
        }
    }
    ~OrdinaryUser() {
        if (was_root_) {
            EXPECT_EQ(::seteuid(0), 0);
        }
    }

   private:
    const bool was_root_;
};

TEST(Repository, NamesAMissingDirectory) {
    const auto repository = Repository::open("/nonexistent/images", {});
    ASSERT_FALSE(repository.has_value());
    EXPECT_EQ(repository.error().code, Errc::not_found);
    EXPECT_NE(repository.error().message.find("/nonexistent/images"), std::string::npos);
}

TEST(Repository, RefusesAFileForADirectory) {
    TempTree tree;
    tree.write("file", "x");
    EXPECT_EQ(Repository::open(tree.path("file"), {}).error().code, Errc::invalid);
}

TEST(Repository, KnowsAbsolutePathsBeneathIt) {
    TempTree tree;
    const auto repository = Repository::open(tree.root() + "/", {}).value();
    EXPECT_EQ(repository.relative(tree.path("a/b.raw")), "a/b.raw");
    EXPECT_EQ(repository.relative(tree.root()), std::nullopt);
    EXPECT_EQ(repository.relative(tree.root() + "x/b.raw"), std::nullopt);
    EXPECT_EQ(repository.relative("/etc/passwd"), std::nullopt);
}

TEST(RepositoryPathNames, ExtensionSaysTheFormat) {
    EXPECT_EQ(format_of_path("a/b.qcow2"), ImageFormat::qcow2);
    EXPECT_EQ(format_of_path("a.b.img"), ImageFormat::raw);
    EXPECT_EQ(format_of_path("a.iso"), ImageFormat::raw);
    EXPECT_EQ(format_of_path("a.txt"), std::nullopt);
    EXPECT_EQ(format_of_path("a.raw/readme"), std::nullopt);
    EXPECT_EQ(format_of_path("a/.raw"), std::nullopt);
    EXPECT_EQ(disk_name_of_path("web01/vda.qcow2")->value().str(), "web01/vda");
    EXPECT_FALSE(disk_name_of_path("a:b.raw")->has_value());
}

TEST_F(Images, OpensARawImageReadOnly) {
    tree.write("web01/vda.raw", std::string(1000, 'x'));
    const auto image = open("web01/vda");
    ASSERT_TRUE(image.has_value()) << image.error().message;
    EXPECT_EQ(image->size, 1000u);
    EXPECT_EQ(image->format(), ImageFormat::raw);
    EXPECT_FALSE(image->writable);
    EXPECT_EQ(image->chain.size(), 1u);
    EXPECT_EQ(image->chain.front().path, "web01/vda.raw");
    EXPECT_EQ(::fcntl(image->chain.front().fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_TRUE(image->fingerprint.starts_with("r-"));
}

TEST_F(Images, OpensForWritingWhereTheRepositoryIsWritable) {
    tree.write("a.raw", "x");
    const auto image = open("a", {.writable = true});
    ASSERT_TRUE(image.has_value());
    EXPECT_TRUE(image->writable);
    EXPECT_EQ(::fcntl(image->chain.front().fd.get(), F_GETFL) & O_ACCMODE, O_RDWR);
    EXPECT_TRUE(image->fingerprint.starts_with("w-"));
}

TEST_F(Images, SaysThatThereIsNone) {
    EXPECT_EQ(open("a").error().code, Errc::not_found);
}

TEST_F(Images, ServesAnImgWithAQcow2HeaderAsRaw) {
    const std::string bytes = Qcow2Bytes(1 << 30).backing("/etc/passwd", "raw").bytes;
    tree.write("guest.img", bytes);
    const auto image = open("guest");
    ASSERT_TRUE(image.has_value());
    EXPECT_EQ(image->size, bytes.size());
    EXPECT_EQ(image->format(), ImageFormat::raw);
}

TEST_F(Images, RefusesTwoFilesOfOneNameAndNamesBoth) {
    tree.write("a.raw", "x");
    tree.write("a.qcow2", Qcow2Bytes().bytes);
    expect_refused("a", Errc::conflict, "a.qcow2");
    expect_refused("a", Errc::conflict, "a.raw");
}

TEST_F(Images, RefusesOneNameInTwoRepositories) {
    TempTree other;
    tree.write("a.raw", "x");
    other.write("a.raw", "y");
    const auto both = repositories({tree.root(), other.root()});
    const auto image = both.open_image(name("a"));
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code, Errc::conflict);
    EXPECT_NE(image.error().message.find(tree.path("a.raw")), std::string::npos);
    EXPECT_NE(image.error().message.find(other.path("a.raw")), std::string::npos);
    EXPECT_TRUE(both.scan().images.empty());
    EXPECT_EQ(both.scan().refusals.size(), 1u);
}

TEST_F(Images, ADirectoryNamedLikeAnImageIsADirectory) {
    tree.write("a.raw/b.raw", "x");
    tree.write("a.qcow2", Qcow2Bytes().bytes);
    EXPECT_TRUE(open("a").has_value());
    EXPECT_TRUE(open("a.raw/b").has_value());
    EXPECT_EQ(set().scan().images.size(), 2u);
}

TEST_F(Images, FollowsLinksThatStayInside) {
    tree.write("store/real.raw", "content");
    tree.link("store/real.raw", "alias.raw");
    EXPECT_EQ(open("alias").value().size, 7u);
    EXPECT_EQ(set().scan().images.size(), 2u);
}

TEST_F(Images, DoesNotScanLinkedDirectories) {
    tree.write("store/real.raw", "content");
    tree.link("store", "again");
    tree.link(".", "store/circle");
    EXPECT_EQ(set().scan().images.size(), 1u);
}

TEST_F(Images, RefusesAbsoluteLinkOut) {
    tree.link("/etc/passwd", "evil.raw");
    expect_refused("evil", Errc::denied, "outside the repository");
}

TEST_F(Images, RefusesRelativeLinkOut) {
    tree.write("sub/x.raw", "x");
    tree.link("../../../../../../etc/passwd", "sub/evil.raw");
    expect_refused("sub/evil", Errc::denied, "outside the repository");
}

TEST_F(Images, RefusesLinkedDirectoryOut) {
    tree.link("/etc", "etc");
    EXPECT_FALSE(open("etc/passwd").has_value());
}

TEST_F(Images, RefusesLinksIntoProc) {
    tree.link("/proc/self/environ", "a.raw");
    tree.link("/proc/self/fd/0", "b.raw");
    expect_refused("a", Errc::denied, "not followed");
    expect_refused("b", Errc::denied, "not followed");
}

TEST_F(Images, RefusesLinksInACircle) {
    tree.link("b.raw", "a.raw");
    tree.link("a.raw", "b.raw");
    expect_refused("a", Errc::denied, "not followed");
}

TEST_F(Images, RefusesAFifoWithoutWaiting) {
    ASSERT_EQ(::mkfifo(tree.path("pipe.raw").c_str(), 0600), 0);
    expect_refused("pipe", Errc::denied, "a FIFO");
    expect_refused("pipe", Errc::denied, "a FIFO", {.writable = true});
}

TEST_F(Images, RefusesASocket) {
    const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    tree.path("s.raw").copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    expect_refused("s", Errc::denied, "a socket");
}

TEST_F(Images, RefusesDeviceNodes) {
    if (::mknod(tree.path("zero.raw").c_str(), S_IFCHR | 0666, makedev(1, 5)) != 0 ||
        ::mknod(tree.path("ram.raw").c_str(), S_IFBLK | 0600, makedev(1, 0)) != 0) {
        GTEST_SKIP() << "only root may make device nodes";
    }
    expect_refused("zero", Errc::denied, "a character device");
    expect_refused("ram", Errc::denied, "a block device");
    expect_refused("zero", Errc::denied, "a character device", {.block_devices = true});
}

TEST_F(Images, RefusesNamesThatAreNoDiskNames) {
    tree.write("line\nfeed.raw", "x");
    tree.write("latin\xe9.raw", "x");
    tree.write("nbd:evil.raw", "x");
    tree.write("good.raw", "x");
    const auto scan = set().scan();
    EXPECT_EQ(scan.images.size(), 1u);
    ASSERT_EQ(scan.refusals.size(), 3u);
    for (const std::string& line : scan.refusals) {
        EXPECT_TRUE(is_utf8(line)) << line;
        EXPECT_EQ(line.find('\n'), std::string::npos);
    }
}

TEST_F(Images, RefusesANameOf1025Bytes) {
    const std::string directory(200, 'd');
    std::string path;
    for (int i = 0; i < 5; ++i) {
        path += directory + '/';
    }
    tree.write(path + std::string(1024 - path.size(), 'a') + ".raw", "x");
    tree.write(path + std::string(1025 - path.size(), 'b') + ".raw", "x");
    const auto scan = set().scan();
    ASSERT_EQ(scan.images.size(), 1u);
    EXPECT_EQ(scan.images.front().name.str().size(), 1024u);
    EXPECT_EQ(scan.refusals.size(), 1u);
}

TEST_F(Images, DoesNotSeeHiddenAndUnfinishedFiles) {
    tree.write(".hidden/a.raw", "x");
    tree.write(".b.raw", "x");
    tree.write("c.raw.part", "x");
    tree.write("d.raw.tmp", "x");
    tree.write("staging.tmp/e.raw", "x");
    const auto scan = set().scan();
    EXPECT_TRUE(scan.images.empty());
    EXPECT_TRUE(scan.refusals.empty());
    EXPECT_EQ(open(".hidden/a").error().code, Errc::not_found);
    EXPECT_EQ(open("staging.tmp/e").error().code, Errc::not_found);
}

TEST_F(Images, WaitsForAFileThatIsOpenForWriting) {
    tree.write("a.raw", "x");
    UniqueFd writer(::open(tree.path("a.raw").c_str(), O_WRONLY));
    const auto image = open("a");
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code, Errc::conflict);
    EXPECT_NE(image.error().message.find("still being written"), std::string::npos);
    const auto scan = set().scan();
    EXPECT_TRUE(scan.images.empty());
    EXPECT_TRUE(scan.refusals.empty());
    EXPECT_TRUE(scan.unsettled);
    EXPECT_EQ(scan.waiting, std::vector{name("a")});
    writer.reset();
    EXPECT_TRUE(open("a").has_value());
}

TEST_F(Images, ALookDoesNotDisturbWriters) {
    tree.write("a.raw", "x");
    const auto image = open("a");
    const UniqueFd writer(::open(tree.path("a.raw").c_str(), O_WRONLY | O_NONBLOCK));
    EXPECT_TRUE(writer) << "a lease was left behind";
}

TEST_F(Images, ScanWaitsForAYoungFileUntilItSettles) {
    tree.write("a.raw", "x");
    const auto young = set().scan({.settle = 1h, .keep_going = {}, .on_directory = {}});
    EXPECT_TRUE(young.images.empty());
    EXPECT_TRUE(young.unsettled);
    EXPECT_EQ(set().scan().images.size(), 1u);
}

TEST_F(Images, ScanSaysWhatOpenSays) {
    tree.write("a.raw", std::string(512, 'x'));
    tree.write("b.qcow2", Qcow2Bytes().backing("a.raw", "raw").bytes);
    for (const bool writable : {false, true}) {
        const RepositoryOptions options{.writable = writable};
        const auto scan = set(options).scan();
        ASSERT_EQ(scan.images.size(), 2u);
        for (const Image& image : scan.images) {
            const auto opened = open(image.name.str(), options);
            ASSERT_TRUE(opened.has_value());
            EXPECT_EQ(image.size, opened->size);
            EXPECT_EQ(image.format, opened->format());
            EXPECT_EQ(image.fingerprint, opened->fingerprint);
            EXPECT_EQ(image.read_only, !opened->writable);
            EXPECT_EQ(image.export_name, image.name.str());
        }
    }
}

TEST_F(Images, ScanEndsWhenToldTo) {
    for (int i = 0; i < 300; ++i) {
        tree.write("d/" + std::to_string(i) + ".raw", "x");
    }
    const auto scan =
        set().scan({.settle = 0ms, .keep_going = [] { return false; }, .on_directory = {}});
    EXPECT_FALSE(scan.ended);
    EXPECT_LT(scan.images.size(), 300u);
}

TEST_F(Images, OpensAWholeBackingChain) {
    tree.write("base/root.raw", "raw content");
    tree.write("base/mid.qcow2", Qcow2Bytes(2 << 20).backing("root.raw", "").bytes);
    tree.write("top.qcow2", Qcow2Bytes(3 << 20).backing("base/mid.qcow2", "qcow2").bytes);
    const auto image = open("top");
    ASSERT_TRUE(image.has_value()) << image.error().message;
    EXPECT_EQ(image->size, 3u << 20);
    ASSERT_EQ(image->chain.size(), 3u);
    EXPECT_EQ(image->chain[1].path, "base/mid.qcow2");
    EXPECT_EQ(image->chain[1].format, ImageFormat::qcow2);
    EXPECT_EQ(image->chain[2].path, "base/root.raw");
    EXPECT_EQ(image->chain[2].format, ImageFormat::raw);
    EXPECT_EQ(set().scan().images.size(), 3u) << "a backing file is a disk by itself";
}

TEST_F(Images, OpensBackingFilesReadOnlyBelowAWritableTop) {
    tree.write("base.raw", "raw content");
    tree.write("top.qcow2", Qcow2Bytes().backing("base.raw", "raw").bytes);
    const auto image = open("top", {.writable = true});
    ASSERT_TRUE(image.has_value());
    EXPECT_TRUE(image->writable);
    EXPECT_EQ(::fcntl(image->chain[0].fd.get(), F_GETFL) & O_ACCMODE, O_RDWR);
    EXPECT_EQ(::fcntl(image->chain[1].fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(Images, TakesABackingFormatFromTheHeaderBeforeTheExtension) {
    tree.write("base.qcow2", "in truth raw");
    tree.write("top.qcow2", Qcow2Bytes().backing("base.qcow2", "raw").bytes);
    EXPECT_EQ(open("top").value().chain[1].format, ImageFormat::raw);
}

TEST_F(Images, FollowsAnAbsoluteBackingPathInsideTheRepository) {
    tree.write("base.raw", "x");
    tree.write("top.qcow2", Qcow2Bytes().backing(tree.path("base.raw"), "raw").bytes);
    EXPECT_EQ(open("top").value().chain[1].path, "base.raw");
}

TEST_F(Images, FollowsBackingIntoAnotherRepository) {
    TempTree other;
    other.write("base.raw", "x");
    tree.write("absolute.qcow2", Qcow2Bytes().backing(other.path("base.raw"), "raw").bytes);
    const std::string sibling =
        "../" + std::filesystem::path(other.root()).filename().string() + "/base.raw";
    tree.write("relative.qcow2", Qcow2Bytes().backing(sibling, "raw").bytes);
    const auto both = repositories({tree.root(), other.root()});
    for (const char* disk : {"absolute", "relative"}) {
        const auto image = both.open_image(name(disk));
        ASSERT_TRUE(image.has_value()) << image.error().message;
        EXPECT_EQ(image->chain[1].repository, 1u);
    }
    EXPECT_FALSE(open("absolute").has_value());
    EXPECT_FALSE(open("relative").has_value());
}

TEST_F(Images, RefusesBackingFilesOutside) {
    tree.write("a.qcow2", Qcow2Bytes().backing("/etc/passwd", "raw").bytes);
    tree.write("b.qcow2", Qcow2Bytes().backing("../../../../../etc/passwd", "raw").bytes);
    tree.write("c.qcow2",
               Qcow2Bytes().backing(tree.root() + "/../../../../etc/passwd", "raw").bytes);
    tree.link("/etc/passwd", "link");
    tree.write("d.qcow2", Qcow2Bytes().backing("link", "raw").bytes);
    for (const char* disk : {"a", "b", "c", "d"}) {
        expect_refused(disk, Errc::invalid, std::string(disk) + ".qcow2: backing file");
    }
}

TEST_F(Images, RefusesBackingStringsThatAreNoPlainPath) {
    tree.write("a.qcow2", Qcow2Bytes().backing("json:{\"driver\":\"raw\"}", "raw").bytes);
    tree.write("b.qcow2", Qcow2Bytes().backing("nbd://127.0.0.1/x", "raw").bytes);
    tree.write("c.qcow2", Qcow2Bytes().backing("fat:rw:/etc", "raw").bytes);
    for (const char* disk : {"a", "b", "c"}) {
        expect_refused(disk, Errc::invalid, "only a plain file name");
    }
    tree.write("e.raw", "x");
    tree.write("d.qcow2", Qcow2Bytes().backing(std::string_view("e.raw\0x", 7), "raw").bytes);
    expect_refused("d", Errc::invalid, "NUL");
}

TEST_F(Images, RefusesExternalDataFiles) {
    tree.write("a.qcow2", Qcow2Bytes().incompatible(4).extension(0x44415441, "/etc/passwd").bytes);
    expect_refused("a", Errc::invalid, "another file");
}

TEST_F(Images, RefusesBackingInACircle) {
    tree.write("self.qcow2", Qcow2Bytes().backing("self.qcow2", "qcow2").bytes);
    tree.write("a.qcow2", Qcow2Bytes().backing("b.qcow2", "qcow2").bytes);
    tree.write("b.qcow2", Qcow2Bytes().backing("a.qcow2", "qcow2").bytes);
    expect_refused("self", Errc::invalid, "circle");
    expect_refused("a", Errc::invalid, "circle");
}

TEST_F(Images, Takes200FilesInAChainAndNotOneMore) {
    tree.write("0.qcow2", Qcow2Bytes().bytes);
    for (int i = 1; i <= 200; ++i) {
        tree.write(std::to_string(i) + ".qcow2",
                   Qcow2Bytes().backing(std::to_string(i - 1) + ".qcow2", "qcow2").bytes);
    }
    EXPECT_EQ(open("199").value().chain.size(), 200u);
    expect_refused("200", Errc::invalid, "more than 200 files");
}

TEST_F(Images, RefusesBackingOfUnknownFormat) {
    tree.write("base", "x");
    tree.write("base.vmdk", "x");
    tree.write("a.qcow2", Qcow2Bytes().backing("base", "").bytes);
    tree.write("b.qcow2", Qcow2Bytes().backing("base.vmdk", "").bytes);
    tree.write("c.qcow2", Qcow2Bytes().backing("base", "vmdk").bytes);
    for (const char* disk : {"a", "b", "c"}) {
        expect_refused(disk, Errc::invalid, "not raw or qcow2");
    }
}

TEST_F(Images, AMissingBackingFileIsNotAMissingDisk) {
    tree.write("a.qcow2", Qcow2Bytes().backing("gone.raw", "raw").bytes);
    expect_refused("a", Errc::invalid, "gone.raw");
}

TEST_F(Images, RefusesABackingFifo) {
    ASSERT_EQ(::mkfifo(tree.path("pipe").c_str(), 0600), 0);
    tree.write("a.qcow2", Qcow2Bytes().backing("pipe", "raw").bytes);
    expect_refused("a", Errc::denied, "a FIFO");
}

TEST_F(Images, WaitsForABackingFileThatIsBeingWritten) {
    tree.write("base.raw", "x");
    tree.write("top.qcow2", Qcow2Bytes().backing("base.raw", "raw").bytes);
    const UniqueFd writer(::open(tree.path("base.raw").c_str(), O_WRONLY));
    EXPECT_EQ(open("top").error().code, Errc::conflict);
    EXPECT_EQ(set().scan().waiting.size(), 2u);
}

TEST_F(Images, ScanTellsWhatIsBasedOnWhat) {
    tree.write("base/a.raw", "x");
    tree.write("sub/top.qcow2", Qcow2Bytes().backing("../base/a.raw", "raw").bytes);
    const auto scan = set().scan();
    ASSERT_EQ(scan.backing.size(), 1u);
    EXPECT_EQ(scan.backing.front().first, (RepositoryPath{.repository = 0, .path = "base/a.raw"}));
    EXPECT_EQ(scan.backing.front().second.str(), "sub/top");
}

TEST_F(Images, NamesBeneathADirectory) {
    tree.write("x/a.raw", "x");
    tree.write("x/y/b.raw", "x");
    tree.write("c.raw", "x");
    auto names = set().names_beneath({.repository = 0, .path = "x"}, {});
    std::ranges::sort(names);
    EXPECT_EQ(names, (std::vector{name("x/a"), name("x/y/b")}));
}

TEST_F(Images, RefusesWhatItMayNotRead) {
    tree.write("a.raw", "x");
    ASSERT_EQ(::chmod(tree.path("a.raw").c_str(), 0), 0);
    const OrdinaryUser user(tree);
    expect_refused("a", Errc::denied, "may not read");
}

TEST_F(Images, SaysThatADirectoryCannotBeRead) {
    tree.write("closed/a.raw", "x");
    ASSERT_EQ(::chmod(tree.path("closed").c_str(), 0), 0);
    {
        const OrdinaryUser user(tree);
        const auto scan = set().scan();
        ASSERT_EQ(scan.refusals.size(), 1u);
        EXPECT_NE(scan.refusals.front().find("closed"), std::string::npos);
        EXPECT_EQ(scan.unread, (std::vector<RepositoryPath>{{.repository = 0, .path = "closed"}}));
    }
    ASSERT_EQ(::chmod(tree.path("closed").c_str(), 0755), 0);
}

TEST_F(Images, FallsBackToReadOnlyWhereTheFileDoesNotAllowMore) {
    tree.write("a.raw", "x");
    ASSERT_EQ(::chmod(tree.path("a.raw").c_str(), 0444), 0);
    const OrdinaryUser user(tree);
    const auto image = open("a", {.writable = true});
    ASSERT_TRUE(image.has_value());
    EXPECT_FALSE(image->writable);
    EXPECT_TRUE(image->fingerprint.starts_with("r-"));
    EXPECT_TRUE(set({.writable = true}).scan().images.front().read_only);
}

}  // namespace
}  // namespace signpost::test
