// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/remembering_catalog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "catalog/memory_catalog.h"
#include "tests/unit/disk/federation_fixture.h"

namespace signpost::test {

namespace {

using std::chrono::milliseconds;

// What the tests' catalogs have in common with a database server: it can be lost, and counts.
class Database {
   public:
    std::shared_ptr<MemoryCatalog> rows() {
        const std::lock_guard lock(mutex_);
        return rows_;
    }
    void make_anew() {
        const std::lock_guard lock(mutex_);
        rows_ = std::make_shared<MemoryCatalog>();
    }

    std::atomic<bool> away{false};
    std::atomic<int> finds{0};
    std::atomic<bool> swollen{false};  // somebody has put a huge generation into each row of "b"

   private:
    std::mutex mutex_;
    std::shared_ptr<MemoryCatalog> rows_ = std::make_shared<MemoryCatalog>();
};

// A connection to it.
class Connected final : public MemoryCatalog {
   public:
    explicit Connected(Database& database) : database_(database) {}

    Result<std::optional<DiskRecord>> find(const DiskName& name) override {
        ++database_.finds;
        return with<std::optional<DiskRecord>>([&] { return database_.rows()->find(name); });
    }
    Result<std::vector<DiskRecord>> list(std::string_view prefix, std::string_view after,
                                         std::size_t limit) override {
        auto page = with<std::vector<DiskRecord>>(
            [&] { return database_.rows()->list(prefix, after, limit); });
        if (page && database_.swollen) {
            swell(*page);
        }
        return page;
    }
    Result<std::vector<Server>> servers() override {
        return with<std::vector<Server>>([&] { return database_.rows()->servers(); });
    }
    Result<std::optional<Server>> find_server(std::string_view name) override {
        return with<std::optional<Server>>([&] { return database_.rows()->find_server(name); });
    }
    Result<std::vector<SiteCost>> site_costs() override {
        return with<std::vector<SiteCost>>([&] { return database_.rows()->site_costs(); });
    }
    Result<std::uint64_t> change_sequence() override {
        return with<std::uint64_t>([&] { return database_.rows()->change_sequence(); });
    }
    Result<PublishSummary> publish(std::string_view server, const Publication& change) override {
        return with<PublishSummary>([&] { return database_.rows()->publish(server, change); });
    }
    Result<void> put_server(const Server& server) override {
        return with<void>([&] { return database_.rows()->put_server(server); });
    }
    Result<void> restore(const Restoration& records) override {
        return with<void>([&] { return database_.rows()->restore(records); });
    }

   private:
    template <class T, class Call>
    Result<T> with(Call call) {
        if (database_.away) {
            return fail(Errc::unavailable, "the database is on holiday");
        }
        return call();
    }

    static void swell(std::vector<DiskRecord>& page) {
        for (DiskRecord& disk : page) {
            if (disk.name.str() == "b") {
                disk.locations.at(0).generation = std::uint64_t{1} << 62;
            }
        }
    }

    Database& database_;
};

class RememberingCatalogTest : public testing::Test {
   protected:
    RememberingCatalogTest() {
        std::string pattern = testing::TempDir() + "signpost-stubs-XXXXXX";
        directory_ = mkdtemp(pattern.data());
        start();
    }
    ~RememberingCatalogTest() override {
        catalog_.reset();
        std::filesystem::remove_all(directory_);
    }

    void start(const std::string& server = "alpha", const std::string& url = "sqlite:/catalog.db") {
        catalog_.reset();
        catalog_ = make(server, url);
    }

    std::unique_ptr<Catalog> make(const std::string& server, const std::string& url) {
        auto store = std::make_unique<StubStore>(
            StubStore::Settings{.directory = directory_, .server = server, .catalog = url}, log_);
        StubKeeperSettings settings;
        settings.server = server;
        settings.lifetime = milliseconds(200);
        settings.probe = probe_;
        settings.shortest_round = milliseconds(10);
        settings.servers = milliseconds(50);
        settings.known_trouble = database_.away ? "the database is on holiday" : "";
        settings.wall_clock = [this] { return wall_.load(); };
        return make_remembering_catalog(std::move(settings), std::make_unique<Connected>(database_),
                                        std::move(store), log_);
    }

    void join(const std::string& server, const std::vector<std::string>& disks) {
        ASSERT_TRUE(database_.rows()->put_server(server_named(server)));
        ASSERT_TRUE(database_.rows()->publish(server, everything(disks)));
    }

    static Publication everything(const std::vector<std::string>& disks) {
        Publication all;
        for (const std::string& disk : disks) {
            all.images.push_back(image_named(disk, 4096));
        }
        all.complete = true;
        return all;
    }

    std::unique_ptr<Catalog> stubs() { return std::move(read_stubs(directory_)->rows); }

    bool is_kept(const std::string& disk) {
        const auto found = stubs()->find(disk_name(disk));
        return found && found->has_value();
    }

    static bool comes_true(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) {
                return false;
            }
            std::this_thread::sleep_for(milliseconds(2));
        }
        return true;
    }

    // The keeper knows that the catalog is as it is now.
    bool is_up_to_date() {
        return comes_true([&] {
            const auto note = parse_stub_note(note_text());
            return note && note->sequence == *database_.rows()->change_sequence();
        });
    }

    std::string note_text() const {
        std::ifstream file(directory_ + "/stubs.json");
        return {std::istreambuf_iterator<char>(file), {}};
    }

    bool is_about_now(std::int64_t time) const { return time <= wall_ && time > wall_ - 10; }

    Result<std::optional<DiskRecord>> find(const std::string& disk) {
        return catalog_->find(disk_name(disk));
    }

    std::string directory_;
    KeptLog log_;
    Database database_;
    std::atomic<std::int64_t> wall_{1'700'000'000};
    milliseconds probe_{10};
    std::unique_ptr<Catalog> catalog_;
};

TEST_F(RememberingCatalogTest, AsksTheCatalogWhileItAnswers) {
    join("beta", {"a"});
    const auto found = find("a");
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->as_of, 0);
    EXPECT_TRUE(find("b") && !*find("b"));
}

TEST_F(RememberingCatalogTest, KnowsDisksThatNobodyAskedForWhenTheCatalogGoes) {
    join("beta", {"a", "b"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    const auto found = find("b");
    ASSERT_TRUE(found && *found) << found.error().message;
    EXPECT_EQ((*found)->locations.at(0).server, "beta");
    EXPECT_TRUE(is_about_now((*found)->as_of));
    EXPECT_TRUE(catalog_->find_server("beta")->has_value());
    EXPECT_EQ(catalog_->list("", "", 10)->size(), 2u);
    EXPECT_TRUE(is_about_now(catalog_->list("", "", 10)->at(0).as_of));
}

TEST_F(RememberingCatalogTest, KnowsWhatWasAskedForOnAServerThatHasJustCome) {
    join("gamma", {"z"});
    probe_ = std::chrono::hours(1);
    start();
    ASSERT_TRUE(is_up_to_date());
    join("beta", {"a"});
    ASSERT_TRUE(*find("a"));
    EXPECT_TRUE(comes_true([&] { return is_kept("a"); }));
}

TEST_F(RememberingCatalogTest, KnowsThemAfterARestart) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    start();
    const auto found = find("a");
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->locations, database_.rows()->find(disk_name("a")).value()->locations);
}

TEST_F(RememberingCatalogTest, NeverSaysFromMemoryThatThereIsNone) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    const auto found = find("b");
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Errc::unavailable);
}

TEST_F(RememberingCatalogTest, AsksAtMostOnceWhileTheCatalogIsAway) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(find("a"));
    }
    // One more by the thread, for a stub whose time is over.
    EXPECT_LE(database_.finds, 2);
}

TEST_F(RememberingCatalogTest, FindsTheCatalogAgain) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    EXPECT_NE(find("a")->value().as_of, 0);
    database_.away = false;
    EXPECT_TRUE(comes_true([&] { return find("a")->value().as_of == 0; }));
    EXPECT_TRUE(log_.has("answers again"));
}

TEST_F(RememberingCatalogTest, ForgetsWhatTheCatalogHasForgotten) {
    join("beta", {"a", "b", "c"});
    ASSERT_TRUE(comes_true([&] { return is_kept("b"); }));
    ASSERT_TRUE(database_.rows()->publish("beta", everything({"a", "c"})));
    EXPECT_TRUE(comes_true([&] { return !is_kept("b"); }));
    EXPECT_TRUE(is_kept("a") && is_kept("c"));
    ASSERT_TRUE(database_.rows()->remove_server("beta"));
    EXPECT_TRUE(comes_true([&] { return !is_kept("a") && stubs()->servers()->empty(); }));
}

TEST_F(RememberingCatalogTest, KeepsTheOthersOfAPageWithAHugeGeneration) {
    database_.swollen = true;
    join("beta", {"a", "b", "c"});
    ASSERT_TRUE(is_up_to_date());
    EXPECT_TRUE(is_kept("a") && !is_kept("b") && is_kept("c"));
}

TEST_F(RememberingCatalogTest, KeepsEveryPageOfALargeCatalog) {
    std::vector<std::string> disks;
    for (int i = 0; i < 2500; ++i) {
        disks.push_back("disk" + std::to_string(i));
    }
    join("beta", disks);
    EXPECT_TRUE(comes_true([&] {
        const auto totals = stubs()->totals();
        return totals && totals->disks == 2500;
    }));
    disks.erase(disks.begin() + 500, disks.begin() + 1900);
    ASSERT_TRUE(database_.rows()->publish("beta", everything(disks)));
    EXPECT_TRUE(comes_true([&] { return stubs()->totals()->disks == 1100; }));
}

TEST_F(RememberingCatalogTest, GivesItsOwnBackToACatalogMadeAnew) {
    ASSERT_TRUE(catalog_->put_server(server_named("alpha")));
    ASSERT_TRUE(catalog_->publish("alpha", everything({"other"})));
    ASSERT_TRUE(catalog_->publish("alpha", everything({"a", "b"})));
    const auto before = database_.rows()->find(disk_name("a")).value().value().locations.at(0);
    const std::string digest = "sha256-32k:" + std::string(64, 'a');
    ASSERT_TRUE(
        database_.rows()->record_digest({disk_name("a"), "alpha", before.generation, digest}));
    ASSERT_TRUE(comes_true([&] {
        const auto kept = stubs()->find(disk_name("a"));
        return kept && *kept && (*kept)->locations.at(0).digest == digest;
    }));
    catalog_.reset();

    database_.make_anew();
    start();
    ASSERT_TRUE(catalog_->put_server(server_named("alpha")));
    Publication now = everything({"a", "b"});
    now.images[1].fingerprint = "another";
    ASSERT_TRUE(catalog_->publish("alpha", now));
    const auto a = database_.rows()->find(disk_name("a")).value().value().locations.at(0);
    EXPECT_EQ(a.generation, before.generation);
    EXPECT_EQ(a.digest, digest);
    const auto b = database_.rows()->find(disk_name("b")).value().value().locations.at(0);
    EXPECT_GT(b.generation, before.generation);
    EXPECT_TRUE(log_.has("given back"));
}

TEST_F(RememberingCatalogTest, ForgetsNothingWhenTheCatalogHasGoneBack) {
    join("beta", {"a"});
    join("beta", {"a", "b"});
    ASSERT_TRUE(is_up_to_date());
    database_.make_anew();
    ASSERT_TRUE(database_.rows()->put_server(server_named("gamma")));
    EXPECT_TRUE(comes_true([&] { return stubs()->find_server("gamma")->has_value(); }));
    EXPECT_TRUE(is_kept("a") && is_kept("b"));
    EXPECT_TRUE(log_.has("gone back"));
}

TEST_F(RememberingCatalogTest, MeasuresAgeWithoutTheWallClock) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    ASSERT_TRUE(find("a"));
    wall_ += 7200;
    EXPECT_TRUE(is_about_now(find("a")->value().as_of));
    wall_ -= 3 * 7200;
    EXPECT_TRUE(is_about_now(find("a")->value().as_of));
}

TEST_F(RememberingCatalogTest, IsNeverOfTheFutureAfterARestart) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    catalog_.reset();
    wall_ -= 7200;
    start();
    EXPECT_TRUE(is_about_now(find("a")->value().as_of));
}

TEST_F(RememberingCatalogTest, StubsOfAnotherServerAreNotUsed) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    start("gamma");
    EXPECT_FALSE(find("a"));
    EXPECT_TRUE(std::filesystem::exists(directory_ + "/stubs.db.aside"));
    EXPECT_TRUE(log_.has("they are server alpha's"));
}

TEST_F(RememberingCatalogTest, StubsOfAnotherCatalogAreNotUsed) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    start("alpha", "sqlite:/other.db");
    EXPECT_FALSE(find("a"));
}

TEST_F(RememberingCatalogTest, DamagedStubsAreBegunAnew) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    catalog_.reset();
    std::filesystem::resize_file(directory_ + "/stubs.db", 5000);
    std::ofstream(directory_ + "/stubs.json") << "[1, 2";
    start();
    EXPECT_TRUE(comes_true([&] {
        const auto kept = read_stubs(directory_);
        return kept && kept->rows->find(disk_name("a"))->has_value();
    }));
    EXPECT_TRUE(log_.has("damaged"));
}

TEST_F(RememberingCatalogTest, RemovedStubsAreBegunAnew) {
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    std::filesystem::remove(directory_ + "/stubs.db");
    EXPECT_TRUE(comes_true([&] {
        const auto kept = read_stubs(directory_);
        const auto found = kept ? kept->rows->find(disk_name("a")) : std::nullopt;
        return found && *found;
    }));
}

TEST_F(RememberingCatalogTest, TwoProcessesOfOneServerShareTheirStubs) {
    const auto other = make("alpha", "sqlite:/catalog.db");
    join("beta", {"a"});
    ASSERT_TRUE(is_up_to_date());
    join("gamma", {"b"});
    ASSERT_TRUE(is_up_to_date());
    database_.away = true;
    for (Catalog* each : {catalog_.get(), other.get()}) {
        EXPECT_TRUE(each->find(disk_name("a"))->has_value());
        EXPECT_TRUE(each->find(disk_name("b"))->has_value());
    }
}

TEST_F(RememberingCatalogTest, WithoutAPlaceForStubsTheCatalogIsAskedAllTheSame) {
    std::filesystem::remove_all(directory_);
    std::ofstream(directory_.c_str()) << "no directory";
    start();
    join("beta", {"a"});
    EXPECT_TRUE(find("a") && *find("a"));
    database_.away = true;
    EXPECT_FALSE(find("a"));
    EXPECT_TRUE(log_.has("cannot be kept"));
}

TEST(StubNote, IsReadAsWritten) {
    const StubNote note{.server = "alpha", .catalog = "sqlite:/c", .sequence = 7, .as_of = 1234};
    EXPECT_EQ(parse_stub_note(stub_note_text(note)), note);
}

TEST(StubNote, RefusesWhatIsNone) {
    EXPECT_FALSE(parse_stub_note(""));
    EXPECT_FALSE(parse_stub_note("[]"));
    EXPECT_FALSE(parse_stub_note(R"({"version": 2})"));
    const auto odd = parse_stub_note(
        R"({"version": 1, "server": 5, "as_of": 99999999999999999, "sequence": -1})");
    ASSERT_TRUE(odd);
    EXPECT_EQ(*odd, StubNote{});
}

}  // namespace

}  // namespace signpost::test
