// SPDX-License-Identifier: BSD-3-Clause

#include "catalog/sqlite_changes.h"

#include <gtest/gtest.h>

#include "catalog/sqlite_catalog.h"
#include "tests/unit/catalog/sample_records.h"
#include "tests/unit/catalog/temp_directory.h"
#include "tests/unit/catalog/told.h"

namespace signpost::test {
namespace {

std::unique_ptr<Catalog> open(const std::string& path) {
    return SqliteCatalog::open(path, OpenMode::create).value();
}

class SqliteChangesTest : public testing::Test {
   protected:
    TempDirectory directory_;
    std::string path_ = directory_.file("catalog.db");
};

TEST_F(SqliteChangesTest, ChangesOfOthersAreTold) {
    const auto watching = open(path_);
    Told told(*watching);
    int times = 0;
    for (const char* name : {"beta", "gamma"}) {
        ASSERT_TRUE(open(path_)->put_server(server(name)));
        times = told.more_than(times);
    }
}

TEST_F(SqliteChangesTest, OwnChangesAreTold) {
    const auto catalog = open(path_);
    Told told(*catalog);
    ASSERT_TRUE(catalog->put_server(server("beta")));
    told.more_than(0);
}

TEST_F(SqliteChangesTest, DirectoryThatIsMissingTellsNothingAndEnds) {
    const SqliteChanges changes(directory_.file("missing/catalog.db"),
                                std::make_shared<ChangeHints>());
}

}  // namespace
}  // namespace signpost::test
