// SPDX-License-Identifier: BSD-3-Clause
//
// Catalogs as files: the same catalog gives the same file, whatever store it has been in, and a
// file that is not as it was written is refused by the number of its line.

#include "cli/catalog_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "catalog/memory_catalog.h"
#include "catalog/sqlite_catalog.h"
#include "cli/catalog_transfer.h"
#include "tests/unit/catalog/sample_records.h"
#include "tests/unit/catalog/temp_directory.h"

namespace signpost {
namespace {

using namespace test;

using Lines = std::vector<std::string>;

void no_progress(const TransferCounts&) {}

void fill(Catalog& catalog) {
    Server beta = server("beta", "nbd://b.example:10810", "i-\"1\"");
    beta.site = "Tromsø \\ hall 2";
    beta.uris.push_back(NbdUri::parse("nbds://[2001:db8::1]").value());
    beta.priority_class = PriorityClass::global_high;
    beta.priority = -7;
    EXPECT_TRUE(catalog.put_server(beta));
    EXPECT_TRUE(catalog.put_server(foreign_server("vault")));
    EXPECT_TRUE(catalog.set_draining("vault", true));
    EXPECT_TRUE(catalog.put_site_cost({"oslo", "rome", 30}));
    std::vector<Image> all;
    for (int i = 0; i < 2500; ++i)
        all.push_back(image(fmt::format("vm{:04}/é", i), "r-1", 4096));
    EXPECT_TRUE(catalog.publish("beta", all_images(all)));
    Image shared = image("vm0007/é", "", 4096);
    shared.read_only = false;
    EXPECT_TRUE(catalog.publish("vault", images({shared})));
    EXPECT_TRUE(catalog.take_writer(shared.name, "beta", "uid 7"));
    EXPECT_TRUE(catalog.release_writer(catalog.take_writer(shared.name, "beta", "uid 7").value()));
    EXPECT_TRUE(catalog.take_writer(shared.name, "vault", "CN=\"é\""));
    EXPECT_TRUE(catalog.take_writer(disk("vm0008/é"), "beta", "uid 7"));
    EXPECT_TRUE(catalog.mark_changed(disk("vm0001/é"), "beta"));
    const auto found = catalog.find(disk("vm0002/é")).value().value();
    EXPECT_TRUE(catalog.record_digest(
        {found.name, "beta", found.locations.front().generation, digest('a')}));
    EXPECT_TRUE(catalog.publish("beta", {.vanished = {disk("vm0003/é")}}));
}

Lines exported(Catalog& catalog) {
    Lines lines;
    CatalogFileWriter writer([&](std::string_view line) {
        lines.emplace_back(line.substr(0, line.size() - 1));
        return Result<void>();
    });
    EXPECT_FALSE(read_catalog(catalog, writer, no_progress).value().changed);
    return lines;
}

Result<void> read(const Lines& lines, CatalogSink& sink) {
    CatalogFileReader reader(sink);
    for (const std::string& line : lines)
        if (auto taken = reader.line(line); !taken)
            return taken;
    return reader.finish();
}

Result<void> import(const Lines& lines, Catalog& catalog, bool merge = false) {
    CatalogImport sink(catalog, merge, no_progress);
    if (auto begun = sink.begin(); !begun)
        return begun;
    return read(lines, sink);
}

// The refusal of LINES, which must be one of the line WHERE.
std::string refusal(const Lines& lines, std::size_t where) {
    CheckingSink sink;
    const auto refused = read(lines, sink);
    if (refused)
        return "none";
    EXPECT_EQ(refused.error().code, Errc::invalid);
    const std::string beginning = fmt::format("line {}: ", where);
    EXPECT_TRUE(refused.error().message.starts_with(beginning)) << refused.error().message;
    return refused.error().message;
}

// Each page of disks comes only when it is asked for the fourth time.
class SlowCatalog final : public MemoryCatalog {
   public:
    Result<std::vector<DiskRecord>> list(std::string_view prefix, std::string_view after,
                                         std::size_t limit) override {
        if (++asked_ % 4 != 0)
            return fail(Errc::unavailable, "is busy");
        return MemoryCatalog::list(prefix, after, limit);
    }

   private:
    unsigned asked_ = 0;
};

class CatalogFile : public testing::Test {
   protected:
    void SetUp() override {
        catalog_ = open("catalog.db", OpenMode::create);
        fill(*catalog_);
    }

    std::unique_ptr<Catalog> open(const std::string& name, OpenMode mode) {
        return SqliteCatalog::open(directory_.file(name), mode).value();
    }

    TempDirectory directory_;
    std::unique_ptr<Catalog> catalog_;
};

TEST(CatalogReading, AsksAgainForWhatDidNotComeAtOnce) {
    constexpr AskAgain kAtOnce{.after = std::chrono::milliseconds(0)};
    SlowCatalog catalog;
    fill(catalog);
    CheckingSink sink;
    EXPECT_EQ(read_catalog(catalog, sink, no_progress, kAtOnce).value().counts.disks, 2499u);
    const auto refused = read_catalog(catalog, sink, no_progress, {kAtOnce.after, 3});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::unavailable);
}

TEST_F(CatalogFile, ExportsOfEqualCatalogsAreEqual) {
    const Lines first = exported(*catalog_);
    EXPECT_EQ(first.size(), 1u + 2 + 1 + 2499 + 1);
    const auto other = open("other.db", OpenMode::import);
    ASSERT_TRUE(import(first, *other));
    EXPECT_EQ(exported(*other), first);
    EXPECT_TRUE(other->check_integrity());
    MemoryCatalog memory;
    ASSERT_TRUE(import(exported(*other), memory));
    EXPECT_EQ(exported(memory), first);
}

TEST_F(CatalogFile, ImportedCatalogGoesOnWithNewGenerations) {
    const auto newest = catalog_->newest_generation().value();
    const auto other = open("other.db", OpenMode::import);
    ASSERT_TRUE(import(exported(*catalog_), *other));
    ASSERT_TRUE(other->mark_changed(disk("vm0001/é"), "beta"));
    EXPECT_EQ(other->find(disk("vm0001/é")).value()->locations.front().generation, newest + 1);
}

TEST_F(CatalogFile, LastWriterOfSeveralCopiesGoesAlong) {
    const auto other = open("other.db", OpenMode::import);
    ASSERT_TRUE(import(exported(*catalog_), *other));
    WriterLease last = catalog_->last_writer(disk("vm0007/é")).value().value();
    EXPECT_EQ(last.fence, 2u);
    last.expires = 0;  // whoever it is has to ask the new catalog
    EXPECT_EQ(other->last_writer(disk("vm0007/é")).value(), last);
    EXPECT_EQ(other->last_writer(disk("vm0008/é")).value(), std::nullopt);
}

TEST_F(CatalogFile, MergingKeepsOwnLastWriterAndSiteCosts) {
    const Lines lines = exported(*catalog_);
    MemoryCatalog other;
    ASSERT_TRUE(other.put_site_cost({"oslo", "rome", 90}));
    ASSERT_TRUE(other.take_writer(disk("vm0007/é"), "gamma", "own"));
    ASSERT_TRUE(import(lines, other, true));
    EXPECT_EQ(other.site_costs().value(), (std::vector<SiteCost>{{"oslo", "rome", 90}}));
    EXPECT_EQ(other.last_writer(disk("vm0007/é")).value()->writer, "own");
}

TEST_F(CatalogFile, TwoImportsAtOnceAreNotDeclaredWhole) {
    const Lines lines = exported(*catalog_);
    MemoryCatalog other;
    CatalogImport one(other, false, no_progress);
    CatalogImport two(other, false, no_progress);
    ASSERT_TRUE(one.begin());
    ASSERT_TRUE(two.begin());
    EXPECT_EQ(read(lines, one).error().code, Errc::conflict);
    EXPECT_EQ(read(lines, two).error().code, Errc::conflict);
    ASSERT_TRUE(import(lines, other));
    EXPECT_EQ(exported(other), lines);
}

TEST_F(CatalogFile, EmptyCatalogHasAFileToo) {
    MemoryCatalog empty;
    const Lines lines = exported(empty);
    EXPECT_EQ(lines.size(), 2u);
    CheckingSink sink;
    EXPECT_TRUE(read(lines, sink));
}

TEST_F(CatalogFile, ImportNeedsAnEmptyCatalogUnlessItMerges) {
    const Lines lines = exported(*catalog_);
    MemoryCatalog other;
    ASSERT_TRUE(other.put_server(server("gamma")));
    ASSERT_TRUE(other.put_server(server("beta", "nbd://own:1")));
    EXPECT_EQ(import(lines, other).error().code, Errc::conflict);
    ASSERT_TRUE(import(lines, other, true));
    EXPECT_EQ(other.servers().value().size(), 3u);
    EXPECT_EQ(other.find_server("beta").value()->uris.front().host, "own");
    EXPECT_EQ(other.totals().value().disks, 2499u);
}

TEST_F(CatalogFile, MergingKeepsTheNewerOfTwoLocations) {
    const Lines lines = exported(*catalog_);
    ASSERT_TRUE(catalog_->mark_changed(disk("vm0005/é"), "beta"));
    const auto newer = catalog_->find(disk("vm0005/é")).value();
    ASSERT_TRUE(import(lines, *catalog_, true));
    EXPECT_EQ(catalog_->find(disk("vm0005/é")).value(), newer);
    EXPECT_EQ(catalog_->totals().value().disks, 2499u);
}

TEST_F(CatalogFile, InterruptedImportIsRepeated) {
    const Lines lines = exported(*catalog_);
    {
        const auto other = open("other.db", OpenMode::import);
        CatalogImport sink(*other, false, no_progress);
        ASSERT_TRUE(sink.begin());
        const Lines half(lines.begin(), lines.begin() + 2300);
        EXPECT_FALSE(read(half, sink));
        EXPECT_GT(other->totals().value().disks, 0u);
    }
    EXPECT_FALSE(SqliteCatalog::open(directory_.file("other.db"), OpenMode::existing));
    ASSERT_TRUE(import(lines, *open("other.db", OpenMode::import)));
    EXPECT_EQ(exported(*open("other.db", OpenMode::existing)), lines);
}

TEST_F(CatalogFile, RepeatedImportBeginsWithoutLeases) {
    MemoryCatalog memory;
    const auto file = open("other.db", OpenMode::import);
    for (Catalog* other : std::initializer_list<Catalog*>{&memory, file.get()}) {
        ASSERT_TRUE(other->begin_import());
        ASSERT_TRUE(other->take_writer(disk("a"), "beta", "w"));
        ASSERT_TRUE(other->begin_import());
        EXPECT_EQ(other->last_writer(disk("a")).value(), std::nullopt);
    }
}

TEST_F(CatalogFile, CutFileIsRefused) {
    Lines lines = exported(*catalog_);
    lines.pop_back();
    EXPECT_NE(refusal(lines, lines.size()).find("cut off"), std::string::npos);
    lines.back().resize(lines.back().size() - 5);
    refusal(lines, lines.size());
    refusal({lines[0]}, 1);
    refusal({}, 0);
}

TEST_F(CatalogFile, NewerFormatIsRefused) {
    Lines lines = exported(*catalog_);
    lines.front() = R"({"signpost_catalog":2})";
    EXPECT_NE(refusal(lines, 1).find("upgrade"), std::string::npos);
    lines.front() = R"({"signpost_catalog":"1"})";
    refusal(lines, 1);
    refusal({"PK\x03\x04"}, 1);
    refusal({"[[[["}, 1);
    refusal({""}, 1);
}

TEST_F(CatalogFile, NameThatIsThereTwiceIsRefused) {
    const Lines lines = exported(*catalog_);
    Lines twice = lines;
    twice.insert(twice.begin() + 10, twice[9]);
    EXPECT_NE(refusal(twice, 11).find("twice"), std::string::npos);
    twice = lines;
    twice.insert(twice.begin() + 2, twice[1]);
    EXPECT_NE(refusal(twice, 3).find("beta is there twice"), std::string::npos);
    twice = lines;
    std::swap(twice[1], twice[6]);
    refusal(twice, 3);
}

TEST_F(CatalogFile, EditedFieldsAreRefusedByTheirRules) {
    const Lines lines = exported(*catalog_);
    const auto edited = [&](std::size_t line, const std::string& from, const std::string& to) {
        Lines changed = lines;
        const std::size_t at = changed[line - 1].find(from);
        EXPECT_NE(at, std::string::npos) << from << " in " << changed[line - 1];
        changed[line - 1].replace(at, from.size(), to);
        refusal(changed, line);
    };
    edited(2, "\"beta\"", "\"../beta\"");
    edited(2, "nbd://b.example:10810", "nbd+ssh://b.example");
    edited(2, "\"draining\":false", "\"draining\":0");
    edited(2, "\"priority\":-7", "\"priority\":1e9");
    edited(2, "\"class\":\"global-high\"", "\"class\":\"high\"");
    edited(2, "\"site\"", "\"sight\"");
    edited(4, "\"cost\":30", "\"cost\":10001");
    edited(4, "[\"oslo\",\"rome\"]", "[\"rome\",\"oslo\"]");
    edited(6, "\"vm0001/é\"", "\"/etc/passwd\"");
    edited(6, "\"size\":4096", "\"size\":9223372036854775808");
    edited(6, "\"size\":4096", "\"size\":-1");
    edited(6, "\"state\":\"ready\"", "\"state\":\"good\"");
    edited(6, "\"digest\":\"\"", "\"digest\":\"sha256-32k:00\"");
    edited(6, "\"minimum_block\":1", "\"minimum_block\":3");
    edited(11, "\"server\":\"vault\",\"writer\"", "\"server\":\"../x\",\"writer\"");
    edited(11, "\"fence\":2", "\"fence\":0");
    edited(11, "\"fence\":2", "\"fence\":2,\"more\":1");
    edited(6, "\"verified\":0", "\"verified\":0,\"extra\":1");
}

TEST_F(CatalogFile, PlausibleEditIsFoundByTheSum) {
    Lines lines = exported(*catalog_);
    const std::size_t at = lines[5].find("\"size\":4096");
    lines[5].replace(at, 11, "\"size\":4097");
    EXPECT_NE(refusal(lines, lines.size()).find("edited"), std::string::npos);
}

// Whatever is done to a file, reading it ends, and with the same records or a refusal.
TEST_F(CatalogFile, RandomDamageIsRefused) {
    MemoryCatalog small;
    ASSERT_TRUE(small.put_server(server("beta")));
    ASSERT_TRUE(small.put_site_cost({"a", "b", 1}));
    ASSERT_TRUE(small.publish("beta", images({image("x"), image("y")})));
    const Lines lines = exported(small);
    std::minstd_rand random(7);
    const auto below = [&](std::size_t n) { return random() % n; };
    for (int round = 0; round < 3000; ++round) {
        Lines damaged = lines;
        std::string& line = damaged[below(damaged.size())];
        for (std::size_t edits = 1 + below(3); edits > 0; --edits) {
            const std::size_t at = below(line.size());
            const char byte = static_cast<char>(random());
            switch (below(4)) {
                case 0:
                    line[at] = byte;
                    break;
                case 1:
                    line.erase(at, 1 + below(20));
                    break;
                case 2:
                    line.insert(at, 1 + below(3), "[{\"0-"[below(5)]);
                    break;
                default:
                    line.insert(at, line.substr(below(line.size()), below(40)));
            }
            if (line.empty())
                break;
        }
        CheckingSink sink;
        const auto taken = read(damaged, sink);
        if (taken)
            EXPECT_EQ(damaged, lines);
        else
            EXPECT_EQ(taken.error().code, Errc::invalid);
    }
}

}  // namespace
}  // namespace signpost
