// SPDX-License-Identifier: BSD-3-Clause

#include <fstream>

#include "nbd-server/disk/federation.h"
#include "tests/unit/disk/federation_fixture.h"

namespace signpost::test {

namespace {

class CheckFederation : public FederationTest {
   protected:
    FederationSettings settings() const {
        FederationSettings settings;
        settings.repositories = {repository()};
        settings.catalog_url = catalog_path();
        settings.server = "alpha";
        settings.uri = "nbd://alpha.example.com";
        return settings;
    }

    // What the check says of SETTINGS, which must not pass.
    Error refusal(const FederationSettings& settings) {
        const auto checked = check_federation(settings, log_);
        EXPECT_FALSE(checked);
        return checked ? Error{Errc::io, ""} : checked.error();
    }
};

TEST_F(CheckFederation, RegistersTheServer) {
    FederationSettings wish = settings();
    wish.site = "oslo";
    wish.priority = 7;
    const auto checked = check_federation(wish, log_);
    ASSERT_TRUE(checked) << checked.error().message;
    const auto server = catalog_->find_server("alpha");
    ASSERT_TRUE(server && *server);
    EXPECT_EQ((*server)->uris.at(0).str(), NbdUri::parse(wish.uri)->str());
    EXPECT_EQ((*server)->site, "oslo");
    EXPECT_EQ((*server)->priority, 7);
    EXPECT_EQ((*server)->instance, checked->instance);
    EXPECT_FALSE(checked->instance.empty());
}

TEST_F(CheckFederation, NamesTheServerAfterTheHost) {
    FederationSettings wish = settings();
    wish.server.clear();
    const auto checked = check_federation(wish, log_);
    ASSERT_TRUE(checked) << checked.error().message;
    EXPECT_FALSE(checked->server.empty());
}

TEST_F(CheckFederation, RefusesANameInUse) {
    Server other = server_named("alpha");
    other.uris = {*NbdUri::parse("nbd://elsewhere.example.com")};
    ASSERT_TRUE(catalog_->put_server(other));
    ASSERT_TRUE(catalog_->heartbeat("alpha", other.instance));
    const Error error = refusal(settings());
    EXPECT_EQ(error.code, Errc::conflict);
    EXPECT_NE(error.message.find("server=NAME"), std::string::npos);
}

TEST_F(CheckFederation, RefusesADirectoryThatIsNotThere) {
    FederationSettings wish = settings();
    wish.repositories = {directory_ + "/missing"};
    EXPECT_NE(refusal(wish).message.find("missing"), std::string::npos);
}

TEST_F(CheckFederation, RefusesADirectoryGivenTwice) {
    FederationSettings wish = settings();
    wish.repositories = {repository(), repository() + "/."};
    EXPECT_EQ(refusal(wish).code, Errc::invalid);
}

TEST_F(CheckFederation, RefusesUrisThatPeersCannotUse) {
    for (const char* uri : {"http://alpha", "nbd://alpha/disk", "nbd://0.0.0.0", "nbd://[::]"}) {
        FederationSettings wish = settings();
        wish.uri = uri;
        EXPECT_EQ(refusal(wish).code, Errc::invalid) << uri;
    }
}

TEST_F(CheckFederation, RefusesADamagedCatalog) {
    FederationSettings wish = settings();
    wish.catalog_url = directory_ + "/garbage.db";
    std::ofstream(wish.catalog_url) << std::string(5000, 'x');
    EXPECT_EQ(refusal(wish).code, Errc::corrupt);
}

TEST_F(CheckFederation, ServesWithoutACatalogThatCannotBeReached) {
    FederationSettings wish = settings();
    wish.catalog_url = directory_ + "/missing/catalog.db";
    const auto checked = check_federation(wish, log_);
    ASSERT_TRUE(checked) << checked.error().message;
    EXPECT_EQ(log_.lines().size(), 1u);
}

TEST_F(CheckFederation, SaysThatNothingIsPublishedWithoutAUri) {
    FederationSettings wish = settings();
    wish.uri.clear();
    ASSERT_TRUE(check_federation(wish, log_));
    EXPECT_TRUE(log_.has("publishes no location"));
    EXPECT_FALSE(catalog_->find_server("alpha")->has_value());
}

TEST_F(CheckFederation, SaysNothingOfAPureGateway) {
    FederationSettings wish = settings();
    wish.uri.clear();
    wish.repositories.clear();
    ASSERT_TRUE(check_federation(wish, log_));
    EXPECT_TRUE(log_.lines().empty());
}

}  // namespace

}  // namespace signpost::test
