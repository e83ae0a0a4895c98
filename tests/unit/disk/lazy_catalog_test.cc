// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/lazy_catalog.h"

#include <optional>

#include "tests/unit/disk/federation_fixture.h"

namespace signpost::test {

namespace {

// Opens the test's real catalog, or says what the test wants it to say.
class LazyCatalogTest : public FederationTest {
   protected:
    std::unique_ptr<Catalog> make(std::chrono::milliseconds retry) {
        return make_lazy_catalog(
            {.url = catalog_path(),
             .retry = retry,
             .known_trouble = "",
             .open =
                 [this](const std::string& url, OpenMode mode) {
                     modes_.push_back(mode);
                     if (refusal_ && mode != OpenMode::read_only) {
                         return Result<std::unique_ptr<Catalog>>(std::unexpected(*refusal_));
                     }
                     if (refusal_ && refusal_->code != Errc::denied) {
                         return Result<std::unique_ptr<Catalog>>(std::unexpected(*refusal_));
                     }
                     return open_catalog(url, mode);
                 }},
            log_);
    }

    std::optional<Error> refusal_;
    std::vector<OpenMode> modes_;
};

TEST_F(LazyCatalogTest, ForwardsToTheStore) {
    const auto catalog = make(std::chrono::hours(1));
    ASSERT_TRUE(catalog->put_server(server_named("beta")));
    EXPECT_TRUE(catalog->find_server("beta")->has_value());
    EXPECT_EQ(modes_.size(), 1u);
}

TEST_F(LazyCatalogTest, SaysWhyItIsNotThere) {
    refusal_ = Error{Errc::unavailable, "catalog is on holiday"};
    const auto catalog = make(std::chrono::hours(1));
    const auto servers = catalog->servers();
    ASSERT_FALSE(servers);
    EXPECT_EQ(servers.error().code, Errc::unavailable);
    EXPECT_EQ(servers.error().message, "catalog is on holiday");
    EXPECT_TRUE(log_.has("on holiday"));
}

TEST_F(LazyCatalogTest, DoesNotTryOnEachCall) {
    refusal_ = Error{Errc::unavailable, "catalog is on holiday"};
    const auto catalog = make(std::chrono::hours(1));
    for (int i = 0; i < 100; ++i) {
        EXPECT_FALSE(catalog->servers());
    }
    EXPECT_EQ(modes_.size(), 1u);
}

TEST_F(LazyCatalogTest, FindsItLaterAndSaysSo) {
    refusal_ = Error{Errc::unavailable, "catalog is on holiday"};
    const auto catalog = make(std::chrono::milliseconds(0));
    EXPECT_FALSE(catalog->servers());
    refusal_.reset();
    EXPECT_TRUE(catalog->servers());
    EXPECT_TRUE(log_.has("is back"));
}

TEST_F(LazyCatalogTest, TellsTheSameTroubleOnce) {
    refusal_ = Error{Errc::unavailable, "catalog is on holiday"};
    const auto catalog = make(std::chrono::milliseconds(0));
    for (int i = 0; i < 10; ++i) {
        EXPECT_FALSE(catalog->servers());
    }
    EXPECT_EQ(log_.lines().size(), 1u);
}

TEST_F(LazyCatalogTest, ReadsWhatItMayNotWrite) {
    refusal_ = Error{Errc::denied, "catalog is read-only"};
    const auto catalog = make(std::chrono::milliseconds(0));
    EXPECT_TRUE(catalog->servers());
    EXPECT_FALSE(catalog->put_server(server_named("beta")));
    refusal_.reset();
    EXPECT_TRUE(catalog->put_server(server_named("beta")));
}

}  // namespace

}  // namespace signpost::test
