// SPDX-License-Identifier: BSD-3-Clause
//
// What befalls the file: missing, garbage, truncated, read-only, full, replaced, locked.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <sstream>

#include "catalog/sqlite_catalog.h"
#include "tests/unit/catalog/raw_sql.h"
#include "tests/unit/catalog/sample_records.h"
#include "tests/unit/catalog/temp_directory.h"

namespace signpost {
namespace {

using namespace test;
namespace fs = std::filesystem;

constexpr OpenMode kModes[] = {OpenMode::create, OpenMode::existing, OpenMode::read_only};

std::string content_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
}

std::vector<Image> many_images(int count) {
    std::vector<Image> all;
    for (int i = 0; i < count; ++i)
        all.push_back(image(fmt::format("rack-{:02}/vm-{:06}/vda", i % 40, i)));
    return all;
}

class SqliteFile : public testing::Test {
   protected:
    std::unique_ptr<Catalog> open(OpenMode mode = OpenMode::create) {
        return SqliteCatalog::open(path_, mode).value();
    }

    // A catalog with server beta and a disk "a"; closed again, so that all is in the one file.
    void make_catalog() {
        const auto catalog = open();
        ASSERT_TRUE(catalog->put_server(server("beta")));
        ASSERT_TRUE(catalog->publish("beta", images({image("a")})));
    }

    void expect_refused_and_kept(Errc code) {
        const std::string before = content_of(path_);
        for (const OpenMode mode : kModes) {
            const auto opened = SqliteCatalog::open(path_, mode);
            ASSERT_FALSE(opened);
            EXPECT_EQ(opened.error().code, code) << opened.error().message;
            EXPECT_NE(opened.error().message.find(path_), std::string::npos);
        }
        EXPECT_EQ(content_of(path_), before);
    }

    TempDirectory directory_;
    std::string path_ = directory_.file("catalog.db");
};

TEST_F(SqliteFile, MissingFileIsMadeInCreateModeOnly) {
    EXPECT_EQ(SqliteCatalog::open(path_, OpenMode::existing).error().code, Errc::not_found);
    EXPECT_EQ(SqliteCatalog::open(path_, OpenMode::read_only).error().code, Errc::not_found);
    EXPECT_FALSE(fs::exists(path_));
    EXPECT_TRUE(SqliteCatalog::open(path_, OpenMode::create));
    EXPECT_TRUE(SqliteCatalog::open(path_, OpenMode::existing));
}

TEST_F(SqliteFile, ContentOutlivesTheProcess) {
    make_catalog();
    EXPECT_EQ(only_location(*open(OpenMode::existing), "a").server, "beta");
    EXPECT_EQ(only_location(*open(OpenMode::create), "a").server, "beta");
}

TEST_F(SqliteFile, GarbageIsRefusedAndKept) {
    std::ofstream(path_) << std::string(100'000, 'x');
    expect_refused_and_kept(Errc::corrupt);
}

TEST_F(SqliteFile, EmptyFileIsRefusedAndKept) {
    std::ofstream(path_) << "";
    expect_refused_and_kept(Errc::corrupt);
}

TEST_F(SqliteFile, OtherDatabaseIsRefusedAndKept) {
    RawDatabase(path_).run("CREATE TABLE server (x); PRAGMA user_version = 1");
    expect_refused_and_kept(Errc::corrupt);
}

TEST_F(SqliteFile, TruncatedFileIsRefusedAndKept) {
    make_catalog();
    ASSERT_TRUE(open()->publish("beta", images(many_images(2000))));
    fs::resize_file(path_, fs::file_size(path_) / 2 / 4096 * 4096);
    expect_refused_and_kept(Errc::corrupt);
    fs::resize_file(path_, 50);
    expect_refused_and_kept(Errc::corrupt);
}

TEST_F(SqliteFile, OverwrittenPageIsRefusedAndKept) {
    make_catalog();
    ASSERT_TRUE(open()->publish("beta", images(many_images(2000))));
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(fs::file_size(path_) / 2 / 4096 * 4096));
    file << std::string(4096, '\xa5');
    file.close();
    expect_refused_and_kept(Errc::corrupt);
}

TEST_F(SqliteFile, WhatIsNoFileIsRefused) {
    ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
    for (const OpenMode mode : kModes) {
        EXPECT_EQ(SqliteCatalog::open(path_, mode).error().code, Errc::invalid);
        EXPECT_EQ(SqliteCatalog::open(directory_.path(), mode).error().code, Errc::invalid);
    }
    EXPECT_EQ(SqliteCatalog::open("/dev/null", OpenMode::create).error().code, Errc::invalid);
}

TEST_F(SqliteFile, ReadOnlyModeRefusesEveryChange) {
    make_catalog();
    const auto catalog = open(OpenMode::read_only);
    EXPECT_TRUE(catalog->find(disk("a")).value());
    EXPECT_EQ(catalog->publish("beta", images({image("b")})).error().code, Errc::denied);
    EXPECT_EQ(catalog->put_server(server("x")).error().code, Errc::denied);
    EXPECT_EQ(catalog->remove_server("beta").error().code, Errc::denied);
    EXPECT_EQ(catalog->mark_changed(disk("a"), "beta").error().code, Errc::denied);
    EXPECT_EQ(catalog->heartbeat("beta", "").error().code, Errc::denied);
    EXPECT_EQ(catalog->record_digest({disk("a"), "beta", 1, digest('1')}).error().code,
              Errc::denied);
    EXPECT_EQ(names(catalog->list("", "", 10).value()).size(), 1u);
}

// Until the end of a test, this process has no rights of root.
class WithoutRoot {
   public:
    WithoutRoot() : was_root_(geteuid() == 0) { set(65534); }
    WithoutRoot(const WithoutRoot&) = delete;
    WithoutRoot& operator=(const WithoutRoot&) = delete;
    ~WithoutRoot() { set(0); }

   private:
    void set(uid_t user) {
        if (was_root_ && seteuid(user) != 0)
            abort();
    }

    bool was_root_;
};

class ReadOnlyFile : public SqliteFile {
   protected:
    void SetUp() override { make_catalog(); }
    void TearDown() override { ASSERT_EQ(chmod(directory_.path().c_str(), 0755), 0); }

    void protect(mode_t file, mode_t directory) {
        ASSERT_EQ(chmod(path_.c_str(), file), 0);
        ASSERT_EQ(chmod(directory_.path().c_str(), directory), 0);
    }
};

TEST_F(ReadOnlyFile, CanBeReadButNotChanged) {
    protect(0444, 0555);
    const WithoutRoot without;
    for (const OpenMode mode : kModes) {
        const auto catalog = open(mode);
        EXPECT_TRUE(catalog->find(disk("a")).value());
        const auto changed = catalog->publish("beta", images({image("b")}));
        ASSERT_FALSE(changed);
        EXPECT_EQ(changed.error().code, Errc::denied);
        const auto* remedy = mode == OpenMode::read_only ? "for reading only" : "permission";
        EXPECT_NE(changed.error().message.find(remedy), std::string::npos);
        EXPECT_TRUE(catalog->find(disk("a")).value());
    }
}

TEST_F(ReadOnlyFile, DirectoryAloneIsEnoughToDenyChanges) {
    protect(0666, 0555);
    const WithoutRoot without;
    const auto catalog = open();
    EXPECT_TRUE(catalog->find(disk("a")).value());
    EXPECT_EQ(catalog->publish("beta", images({image("b")})).error().code, Errc::denied);
}

TEST_F(ReadOnlyFile, UnreadableFileIsDenied) {
    if (geteuid() != 0)
        GTEST_SKIP() << "needs root, to read nothing without being it";
    protect(0600, 0755);
    const WithoutRoot without;
    EXPECT_EQ(SqliteCatalog::open(path_, OpenMode::existing).error().code, Errc::denied);
}

TEST_F(ReadOnlyFile, CannotBeMadeInAReadOnlyDirectory) {
    ASSERT_EQ(chmod(directory_.path().c_str(), 0555), 0);
    const WithoutRoot without;
    const auto opened = SqliteCatalog::open(directory_.file("new.db"), OpenMode::create);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::denied);
}

TEST_F(ReadOnlyFile, FollowsAWriterThatComesLater) {
    if (geteuid() != 0)
        GTEST_SKIP() << "needs root, to write what others cannot";
    protect(0644, 0755);
    std::unique_ptr<Catalog> reader;
    {
        const WithoutRoot without;
        reader = open(OpenMode::existing);
        EXPECT_TRUE(reader->find(disk("a")).value());
    }
    const auto writer = open();
    ASSERT_TRUE(writer->publish("beta", images({image("b")})));
    const WithoutRoot without;
    EXPECT_TRUE(reader->find(disk("b")).value());
}

TEST_F(ReadOnlyFile, SeesWhatIsStillInTheLog) {
    if (geteuid() != 0)
        GTEST_SKIP() << "needs root, to write what others cannot";
    protect(0644, 0755);
    const auto writer = open();
    ASSERT_TRUE(writer->publish("beta", images({image("b")})));
    ASSERT_TRUE(fs::exists(path_ + "-wal"));
    const WithoutRoot without;
    EXPECT_TRUE(open(OpenMode::read_only)->find(disk("b")).value());
    EXPECT_TRUE(open(OpenMode::existing)->find(disk("b")).value());
}

// No file of this process can grow beyond BYTES.
class FileSizeLimit {
   public:
    explicit FileSizeLimit(rlim_t bytes) {
        signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;
    ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

   private:
    rlimit before_;
};

TEST_F(SqliteFile, FullDiskRefusesChangesAndKeepsReading) {
    make_catalog();
    const auto catalog = open();
    const auto sequence = catalog->change_sequence().value();
    {
        const FileSizeLimit limit(256 << 10);
        const auto refused = catalog->publish("beta", images(many_images(20'000)));
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::full) << refused.error().message;
        EXPECT_TRUE(catalog->find(disk("a")).value());
        EXPECT_EQ(catalog->change_sequence().value(), sequence);
    }
    EXPECT_TRUE(catalog->publish("beta", images(many_images(20'000))));
    EXPECT_TRUE(catalog->check_integrity());
}

TEST_F(SqliteFile, FullDiskMakesNoCatalog) {
    const FileSizeLimit limit(8192);
    const auto refused = SqliteCatalog::open(path_, OpenMode::create);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::full) << refused.error().message;
    EXPECT_TRUE(fs::is_empty(directory_.path()));
}

enum : int { kPassed = 0, kFailed = 1, kCannotMount = 77 };

// In a process and mount namespace of its own: a file system of 2 MiB that fills up.
int fill_small_file_system(const std::string& directory) {
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=2m") != 0)
        return kCannotMount;
    const std::string path = directory + "/catalog.db";
    const auto catalog = SqliteCatalog::open(path, OpenMode::create).value();
    const bool prepared = catalog->put_server(server("beta")).has_value() &&
                          catalog->publish("beta", images({image("a")})).has_value();
    const auto refused = catalog->publish("beta", images(many_images(20'000)));
    const bool full = !refused && refused.error().code == Errc::full;
    const bool readable = catalog->find(disk("a")).value().has_value();
    const bool whole = catalog->check_integrity().has_value();
    // With not a byte left, not even the shared memory of a second process's log fits.
    std::ofstream(directory + "/filler") << std::string(4 << 20, 'x');
    const auto second = SqliteCatalog::open(path, OpenMode::existing);
    const bool readable_again = second && (*second)->find(disk("a")).value().has_value();
    return prepared && full && readable && whole && readable_again ? kPassed : kFailed;
}

TEST_F(SqliteFile, FullFileSystemRefusesChangesAndKeepsReading) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0)
        _exit(fill_small_file_system(directory_.path()));
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == kCannotMount)
        GTEST_SKIP() << "cannot mount a file system here";
    EXPECT_EQ(WEXITSTATUS(status), kPassed);
}

TEST_F(SqliteFile, CatalogPutBackFromACopyIsFollowed) {
    make_catalog();
    const std::string copy = directory_.file("copy.db");
    {
        const auto other = SqliteCatalog::open(copy, OpenMode::create).value();
        ASSERT_TRUE(other->put_server(server("gamma")));
        ASSERT_TRUE(other->publish("gamma", images({image("c")})));
    }
    const auto catalog = open();
    ASSERT_TRUE(catalog->find(disk("a")).value());
    fs::rename(copy, path_);
    fs::remove(path_ + "-wal");
    fs::remove(path_ + "-shm");
    EXPECT_TRUE(catalog->find(disk("c")).value());
    EXPECT_FALSE(catalog->find(disk("a")).value());
    EXPECT_TRUE(catalog->publish("gamma", images({image("d")})));
    EXPECT_TRUE(open()->find(disk("d")).value());
}

TEST_F(SqliteFile, FileThatVanishesIsUnavailableNotUnknown) {
    make_catalog();
    const auto catalog = open();
    fs::remove(path_);
    EXPECT_EQ(catalog->find(disk("a")).error().code, Errc::unavailable);
    EXPECT_EQ(catalog->publish("beta", images({image("b")})).error().code, Errc::unavailable);
    EXPECT_FALSE(fs::exists(path_));
}

TEST_F(SqliteFile, LockedStoreBoundsChangesAndLetsLookUpsPass) {
    make_catalog();
    const auto catalog = open();
    RawDatabase other(path_);
    other.run("BEGIN IMMEDIATE; UPDATE catalog_state SET disks = disks");
    const auto begun = std::chrono::steady_clock::now();
    auto change = std::async(std::launch::async,
                             [&] { return catalog->publish("beta", images({image("b")})); });
    while (change.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
        const auto asked = std::chrono::steady_clock::now();
        ASSERT_TRUE(catalog->find(disk("a")).value());
        ASSERT_LT(std::chrono::steady_clock::now() - asked, kLookupWait);
    }
    const auto waited = std::chrono::steady_clock::now() - begun;
    EXPECT_EQ(change.get().error().code, Errc::unavailable);
    EXPECT_GE(waited, kChangeWait / 2);
    EXPECT_LT(waited, kChangeWait * 2);
    other.run("COMMIT");
    EXPECT_TRUE(catalog->publish("beta", images({image("b")})));
}

TEST_F(SqliteFile, OpeningWaitsForWhoeverHasTheFileAlone) {
    make_catalog();
    auto other = std::make_unique<RawDatabase>(path_);
    other->run(
        "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE;"
        "UPDATE catalog_state SET disks = disks; COMMIT");
    auto opening = std::async(std::launch::async,
                              [&] { return SqliteCatalog::open(path_, OpenMode::existing); });
    EXPECT_EQ(opening.wait_for(kLookupWait / 10), std::future_status::timeout);
    other.reset();
    const auto opened = opening.get();
    EXPECT_TRUE(opened) << opened.error().message;
}

TEST_F(SqliteFile, StoreThatNobodyElseMayReadBoundsLookUps) {
    make_catalog();
    const auto catalog = open();
    catalog->find(disk("a")).value();
    auto blocked = directory_.file("blocked.db");
    fs::copy_file(path_, blocked);
    RawDatabase other(blocked);
    other.run(
        "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE;"
        "UPDATE catalog_state SET disks = disks; COMMIT");
    const auto begun = std::chrono::steady_clock::now();
    const auto opened = SqliteCatalog::open(blocked, OpenMode::existing);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::unavailable) << opened.error().message;
    EXPECT_LT(std::chrono::steady_clock::now() - begun, kLookupWait * 4);
}

}  // namespace
}  // namespace signpost
