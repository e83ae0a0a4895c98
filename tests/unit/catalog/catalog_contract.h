// SPDX-License-Identifier: BSD-3-Clause
//
// What every store promises. The tests are in catalog_contract_test.cc, which each program is built
// with that runs them; it says with INSTANTIATE_TEST_SUITE_P against which stores.

#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "catalog/store_rules.h"
#include "tests/unit/catalog/sample_records.h"
#include "tests/unit/catalog/temp_directory.h"

namespace signpost::test {

struct Store {
    const char* name;
    std::function<std::unique_ptr<Catalog>(const TempDirectory&, StoreClock)> open;
};

inline std::string store_name(const testing::TestParamInfo<Store>& store) {
    return store.param.name;
}

class CatalogContract : public testing::TestWithParam<Store> {
   protected:
    void SetUp() override {
        catalog_ = GetParam().open(directory_, [this] { return now_; });
        ASSERT_TRUE(catalog_->put_server(server("beta")));
        ASSERT_TRUE(catalog_->put_server(server("gamma")));
    }

    PublishSummary publish(std::string_view holder, const Publication& change) {
        return catalog_->publish(holder, change).value();
    }

    Location location(std::string_view name) { return only_location(*catalog_, name); }

    Location location_at(std::string_view name, std::string_view holder) {
        const DiskRecord found = catalog_->find(disk(name)).value().value();
        for (const Location& each : found.locations)
            if (each.server == holder)
                return each;
        throw std::runtime_error("no such location");
    }

    std::uint64_t sequence() { return catalog_->change_sequence().value(); }
    std::vector<std::string> listed(std::string_view prefix, std::string_view after = "",
                                    std::size_t limit = 100) {
        return names(catalog_->list(prefix, after, limit).value());
    }

    TempDirectory directory_;
    std::int64_t now_ = 1'000'000;
    std::unique_ptr<Catalog> catalog_;
};

}  // namespace signpost::test
