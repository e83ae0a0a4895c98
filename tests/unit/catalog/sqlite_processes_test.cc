// SPDX-License-Identifier: BSD-3-Clause
//
// Several processes use one file. Children are forked before this process has a catalog open (a
// SQLite handle must not be carried across a fork) and open their own.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <future>
#include <stdexcept>
#include <thread>

#include "catalog/sqlite_catalog.h"
#include "tests/unit/catalog/sample_records.h"
#include "tests/unit/catalog/temp_directory.h"

namespace signpost {
namespace {

using namespace test;
namespace fs = std::filesystem;

// Ends a child, or a test, with the reason in its output.
template <class T>
T must(Result<T> result) {
    if (!result)
        throw std::runtime_error(result.error().message);
    if constexpr (!std::is_void_v<T>)
        return std::move(*result);
}

std::unique_ptr<Catalog> open(const std::string& path, OpenMode mode = OpenMode::existing) {
    return must(SqliteCatalog::open(path, mode));
}

// A child process, which succeeds unless WORK throws; killed if it still runs at the end.
class Child {
   public:
    explicit Child(const std::function<void()>& work) {
        fflush(nullptr);
        pid_ = fork();
        if (pid_ == 0)
            _exit(run(work) ? 0 : 1);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (pid_ > 0) {
            kill();
            wait();
        }
    }

    void kill() { ::kill(pid_, SIGKILL); }

    // The status that waitpid gives.
    int wait() {
        int status = -1;
        waitpid(pid_, &status, 0);
        pid_ = -1;
        return status;
    }

    bool succeeded() {
        const int status = wait();
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }

   private:
    static bool run(const std::function<void()>& work) {
        try {
            work();
            return true;
        } catch (const std::exception& error) {
            fmt::print(stderr, "process {}: {}\n", getpid(), error.what());
            return false;
        }
    }

    pid_t pid_ = -1;
};

// Publishes ROUNDS times two images.
void publish_one_by_one(const std::string& path, const std::string& holder, int rounds) {
    const auto catalog = open(path);
    must(catalog->put_server(server(holder)));
    for (int i = 0; i < rounds; ++i)
        must(catalog->publish(holder, images({image(fmt::format("{}/{:03}", holder, i)),
                                              image(fmt::format("shared/{:03}", i))})));
}

std::vector<Image> generation_of_images(int count, int number) {
    std::vector<Image> all;
    for (int i = 0; i < count; ++i)
        all.push_back(image(fmt::format("rack-{:02}/vm-{:06}/vda", i % 40, i),
                            fmt::format("r-{:0100}", number)));
    return all;
}

TEST(SqliteProcesses, TwoCatalogsInOneProcessWriteAtOnce) {
    const TempDirectory directory;
    const std::string path = directory.file("catalog.db");
    open(path, OpenMode::create);
    auto other = std::async(std::launch::async, [&] { publish_one_by_one(path, "beta", 40); });
    publish_one_by_one(path, "gamma", 40);
    other.get();
    const auto catalog = open(path);
    EXPECT_EQ(catalog->totals().value().disks, 120u);
    EXPECT_EQ(catalog->totals().value().locations, 160u);
    EXPECT_TRUE(catalog->check_integrity());
}

TEST(SqliteProcesses, ThreeProcessesWriteAtOnce) {
    const TempDirectory directory;
    const std::string path = directory.file("catalog.db");
    open(path, OpenMode::create);
    Child one([&] { publish_one_by_one(path, "one", 40); });
    Child two([&] { publish_one_by_one(path, "two", 40); });
    publish_one_by_one(path, "three", 40);
    EXPECT_TRUE(one.succeeded());
    EXPECT_TRUE(two.succeeded());
    const auto catalog = open(path);
    EXPECT_EQ(catalog->totals().value().disks, 160u);
    EXPECT_EQ(catalog->totals().value().locations, 240u);
    EXPECT_TRUE(catalog->check_integrity());
}

struct StopAtEnd {
    std::atomic<bool>& stop;
    ~StopAtEnd() { stop = true; }
};

TEST(SqliteProcesses, WriterWithoutPauseKeepsNobodyOut) {
    constexpr std::uint64_t kBeats = 20;
    const TempDirectory directory;
    const std::string path = directory.file("catalog.db");
    const auto patient = open(path, OpenMode::create);
    must(patient->put_server(server("patient")));
    must(patient->put_server(server("busy")));
    const Publication versions[] = {all_images(generation_of_images(1000, 1)),
                                    all_images(generation_of_images(1000, 2))};
    std::atomic<bool> stop = false;
    const auto runs = [](const std::future<void>& writer) {
        return writer.wait_for(std::chrono::seconds(0)) == std::future_status::timeout;
    };
    auto busy = std::async(std::launch::async, [&] {
        const auto catalog = open(path);
        for (int number = 0; !stop; ++number)
            must(catalog->publish("busy", versions[number % 2]));
    });
    const StopAtEnd ends_busy{stop};
    const std::uint64_t begun = must(patient->change_sequence());
    std::uint64_t now = begun;
    for (std::uint64_t i = 0; i < kBeats; ++i) {
        for (const auto before = now; now == before && runs(busy);
             now = must(patient->change_sequence()))
            std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));  // not right at its end
        must(patient->heartbeat("patient", ""));
        now = must(patient->change_sequence());
    }
    stop = true;
    busy.get();
    // Each beat waits for one change of the other's, and then for one or two more.
    EXPECT_LT(now - begun, kBeats * 10);
}

TEST(SqliteProcesses, ProcessesThatStartTogetherMakeOneCatalog) {
    const TempDirectory directory;
    const std::string path = directory.file("catalog.db");
    std::vector<std::unique_ptr<Child>> children;
    for (int i = 0; i < 6; ++i)
        children.push_back(std::make_unique<Child>([&, i] {
            must(open(path, OpenMode::create)->put_server(server(fmt::format("server-{}", i))));
        }));
    for (const auto& child : children)
        EXPECT_TRUE(child->succeeded());
    EXPECT_EQ(open(path)->servers().value().size(), 6u);
    for (const auto& entry : fs::directory_iterator(directory.path()))
        EXPECT_EQ(entry.path().filename().string().find(".new"), std::string::npos);
}

TEST(SqliteProcesses, ChangeOfOneIsSeenByTheOther) {
    const TempDirectory directory;
    const std::string path = directory.file("catalog.db");
    const auto one = open(path, OpenMode::create);
    const auto two = open(path);
    ASSERT_TRUE(one->put_server(server("beta")));
    ASSERT_TRUE(one->publish("beta", images({image("a")})));
    EXPECT_TRUE(two->find(disk("a")).value());
    EXPECT_EQ(one->change_sequence().value(), two->change_sequence().value());
}

// True when a write transaction was cut: the log has grown by what is not committed.
bool kill_in_mid_publication(const std::string& path, int images, int number) {
    Child child([&] {
        const auto all = generation_of_images(images, number);
        must(open(path)->publish("beta", all_images(all)));
    });
    std::error_code ignored;
    const std::string log = path + "-wal";
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    const auto grown = [&] {
        const auto size = fs::file_size(log, ignored);
        return !ignored && size > (1 << 20);
    };
    while (!grown() && std::chrono::steady_clock::now() < deadline)
        std::this_thread::yield();
    child.kill();
    return WIFSIGNALED(child.wait());
}

TEST(SqliteProcesses, KillInMidPublicationLeavesAllOrNothing) {
    constexpr int kImages = 60'000;
    const TempDirectory directory;
    const std::string path = directory.file("catalog.db");
    {
        const auto catalog = open(path, OpenMode::create);
        ASSERT_TRUE(catalog->put_server(server("beta")));
        ASSERT_TRUE(catalog->publish("beta", images({image("before")})));
    }
    ASSERT_TRUE(kill_in_mid_publication(path, kImages, 1));
    const auto catalog = open(path);
    const auto totals = catalog->totals().value();
    EXPECT_TRUE(totals.disks == 1 || totals.disks == kImages) << totals.disks;
    EXPECT_EQ(catalog->find(disk("before")).value().has_value(), totals.disks == 1);
    EXPECT_TRUE(catalog->check_integrity());
    EXPECT_TRUE(catalog->publish("beta", images({image("after")})));
}

}  // namespace
}  // namespace signpost
