// SPDX-License-Identifier: BSD-3-Clause
//
// The contract of every store, for PostgreSQL's.

#include "tests/unit/catalog/catalog_contract.h"
#include "tests/unit/catalog/postgres_cluster.h"

namespace signpost::test {
namespace {

std::unique_ptr<Catalog> open_postgres(const TempDirectory&, StoreClock clock) {
    const std::string uri = shared_cluster().uri(shared_cluster().make_database());
    return PostgresCatalog::open(uri, OpenMode::create, std::move(clock), kPatience).value();
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Stores, CatalogContract, testing::Values(Store{"Postgres", open_postgres}),
                         store_name);

}  // namespace signpost::test
