// SPDX-License-Identifier: BSD-3-Clause
//
// The contract of every store, for those that need no server.

#include "catalog/memory_catalog.h"
#include "catalog/sqlite_catalog.h"
#include "tests/unit/catalog/catalog_contract.h"

namespace signpost::test {
namespace {

std::unique_ptr<Catalog> open_memory(const TempDirectory&, StoreClock clock) {
    return std::make_unique<MemoryCatalog>(std::move(clock));
}

std::unique_ptr<Catalog> open_sqlite(const TempDirectory& directory, StoreClock clock) {
    return SqliteCatalog::open(directory.file("catalog.db"), OpenMode::create, std::move(clock))
        .value();
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Stores, CatalogContract,
                         testing::Values(Store{"Memory", open_memory},
                                         Store{"Sqlite", open_sqlite}),
                         store_name);

}  // namespace signpost::test
