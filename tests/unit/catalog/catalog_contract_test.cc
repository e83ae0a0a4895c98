// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/catalog/catalog_contract.h"

#include <algorithm>
#include <thread>

#include "catalog/point_search.h"

namespace signpost::test {

using Names = std::vector<std::string>;

// Disks and locations.

TEST_P(CatalogContract, UnknownDiskIsNotThere) {
    EXPECT_EQ(catalog_->find(disk("a")).value(), std::nullopt);
}

TEST_P(CatalogContract, PublishedImageIsFoundWithAllItsFields) {
    Image published = image("web01/vda", "r-abc", 12345);
    published.export_name = "other name";
    published.format = ImageFormat::vhdx;
    published.read_only = false;
    published.minimum_block = 512;
    EXPECT_EQ(publish("beta", images({published})), (PublishSummary{1, 0, 0}));

    const Location found = location("web01/vda");
    EXPECT_EQ(found.server, "beta");
    EXPECT_EQ(found.export_name, "other name");
    EXPECT_EQ(found.size, 12345u);
    EXPECT_EQ(found.format, ImageFormat::vhdx);
    EXPECT_FALSE(found.read_only);
    EXPECT_GT(found.generation, 0u);
    EXPECT_EQ(found.digest, "");
    EXPECT_EQ(found.state, LocationState::ready);
    EXPECT_EQ(found.priority, kDefaultPriority);
    EXPECT_EQ(found.last_seen, now_);
    EXPECT_EQ(found.fingerprint, "r-abc");
    EXPECT_EQ(found.minimum_block, 512u);
}

TEST_P(CatalogContract, ExportNameMayBeEmpty) {
    Image published = image("a");
    published.export_name = "";
    publish("beta", images({published}));
    EXPECT_EQ(location("a").export_name, "");
}

TEST_P(CatalogContract, LargestSizeIsKept) {
    publish("beta", images({image("a", "r-1", (std::uint64_t{1} << 63) - 1)}));
    EXPECT_EQ(location("a").size, (std::uint64_t{1} << 63) - 1);
}

TEST_P(CatalogContract, LocationsAreOrderedByServer) {
    publish("gamma", images({image("a")}));
    publish("beta", images({image("a")}));
    const auto found = catalog_->find(disk("a")).value().value();
    ASSERT_EQ(found.locations.size(), 2u);
    EXPECT_EQ(found.locations[0].server, "beta");
    EXPECT_EQ(found.locations[1].server, "gamma");
    EXPECT_EQ(catalog_->list("", "", 1).value().front(), found);
}

TEST_P(CatalogContract, UnregisteredServerCannotPublish) {
    const auto refused = catalog_->publish("nobody", images({image("a")}));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::not_found);
    EXPECT_EQ(listed(""), Names());
}

TEST_P(CatalogContract, RefusedPublicationChangesNothing) {
    Image bad = image("b");
    bad.size = std::uint64_t{1} << 63;
    const auto before = sequence();
    for (const auto& change : {images({image("a"), bad}), images({image("a"), image("a")})}) {
        const auto refused = catalog_->publish("beta", change);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::invalid);
    }
    EXPECT_EQ(listed(""), Names());
    EXPECT_EQ(sequence(), before);
}

TEST_P(CatalogContract, IncrementalPublicationLeavesOtherImages) {
    publish("beta", images({image("a"), image("b")}));
    EXPECT_EQ(publish("beta", images({image("c")})), (PublishSummary{1, 0, 0}));
    EXPECT_EQ(listed(""), (Names{"a", "b", "c"}));
}

TEST_P(CatalogContract, VanishedImagesAreWithdrawn) {
    publish("beta", images({image("a"), image("b")}));
    const Publication change{.images = {image("c")},
                             .vanished = {disk("a"), disk("a"), disk("never-there")}};
    EXPECT_EQ(publish("beta", change), (PublishSummary{1, 0, 1}));
    EXPECT_EQ(listed(""), (Names{"b", "c"}));
}

TEST_P(CatalogContract, ImageWinsOverVanished) {
    publish("beta", images({image("a")}));
    const auto generation = location("a").generation;
    const Publication change{.images = {image("a")}, .vanished = {disk("a")}};
    EXPECT_EQ(publish("beta", change), PublishSummary());
    EXPECT_EQ(location("a").generation, generation);
}

TEST_P(CatalogContract, CompletePublicationWithdrawsTheRest) {
    publish("beta", images({image("a"), image("b"), image("c")}));
    EXPECT_EQ(publish("beta", all_images({image("b"), image("c", "r-2"), image("d")})),
              (PublishSummary{1, 1, 1}));
    EXPECT_EQ(listed(""), (Names{"b", "c", "d"}));
    EXPECT_EQ(publish("beta", all_images({})), (PublishSummary{0, 0, 3}));
    EXPECT_EQ(listed(""), Names());
}

TEST_P(CatalogContract, CompletePublicationLeavesWhatIsUnsettled) {
    publish("beta", images({image("a"), image("b"), image("c")}));
    const auto generation = location("b").generation;
    Publication change = all_images({image("a")});
    change.unsettled = {disk("b"), disk("never-there")};
    EXPECT_EQ(publish("beta", change), (PublishSummary{0, 0, 1}));
    EXPECT_EQ(listed(""), (Names{"a", "b"}));
    EXPECT_EQ(location("b").generation, generation);
}

TEST_P(CatalogContract, LargeCompletePublicationIsComparedToo) {
    std::vector<Image> all;
    for (int i = 0; i < 3000; ++i)
        all.push_back(image(fmt::format("vm{:04}", i)));
    EXPECT_EQ(publish("beta", all_images(all)), (PublishSummary{3000, 0, 0}));
    EXPECT_EQ(publish("beta", all_images(all)), PublishSummary());
    all.front().fingerprint = "r-2";
    all.pop_back();
    EXPECT_EQ(publish("beta", all_images(all)), (PublishSummary{0, 1, 1}));
    EXPECT_EQ(catalog_->totals().value().disks, 2999u);
}

TEST_P(CatalogContract, PublicationLeavesOtherServersAlone) {
    publish("beta", images({image("a"), image("b")}));
    publish("gamma", images({image("b"), image("c")}));
    EXPECT_EQ(publish("beta", all_images({})), (PublishSummary{0, 0, 2}));
    EXPECT_EQ(listed(""), (Names{"b", "c"}));
    EXPECT_EQ(location("b").server, "gamma");
}

TEST_P(CatalogContract, DiskWithoutLocationsIsGone) {
    publish("beta", images({image("a")}));
    publish("beta", Publication{.vanished = {disk("a")}});
    EXPECT_EQ(catalog_->find(disk("a")).value(), std::nullopt);
    EXPECT_EQ(catalog_->totals().value().disks, 0u);
}

// Generations and digests.

TEST_P(CatalogContract, UnchangedImageKeepsGenerationAndDigest) {
    publish("beta", images({image("a")}));
    const auto generation = location("a").generation;
    ASSERT_TRUE(catalog_->record_digest({disk("a"), "beta", generation, digest('1')}));
    const auto before = sequence();
    EXPECT_EQ(publish("beta", images({image("a")})), PublishSummary());
    EXPECT_EQ(publish("beta", all_images({image("a")})), PublishSummary());
    EXPECT_EQ(location("a").generation, generation);
    EXPECT_EQ(location("a").digest, digest('1'));
    EXPECT_EQ(sequence(), before);
}

TEST_P(CatalogContract, OtherFingerprintSizeOrFormatIsANewGeneration) {
    Image published = image("a");
    publish("beta", images({published}));
    auto generation = location("a").generation;
    const auto expect_new = [&] {
        ASSERT_TRUE(catalog_->record_digest({disk("a"), "beta", generation, digest('1')}));
        EXPECT_EQ(publish("beta", images({published})), (PublishSummary{0, 1, 0}));
        EXPECT_GT(location("a").generation, generation);
        EXPECT_EQ(location("a").digest, "");
        generation = location("a").generation;
    };
    published.fingerprint = "r-2";
    expect_new();
    published.size += 1;
    expect_new();
    published.format = ImageFormat::qcow2;
    expect_new();
}

TEST_P(CatalogContract, OtherAttributesKeepTheContent) {
    Image published = image("a");
    publish("beta", images({published}));
    const auto generation = location("a").generation;
    const auto before = sequence();
    published.export_name = "renamed";
    published.read_only = false;
    published.minimum_block = 4096;
    EXPECT_EQ(publish("beta", images({published})), (PublishSummary{0, 1, 0}));
    EXPECT_EQ(location("a").generation, generation);
    EXPECT_EQ(location("a").export_name, "renamed");
    EXPECT_FALSE(location("a").read_only);
    EXPECT_EQ(location("a").minimum_block, 4096u);
    EXPECT_GT(sequence(), before);
}

TEST_P(CatalogContract, ForeignImageIsComparedByWhatItsServerSays) {
    ASSERT_TRUE(catalog_->put_server(foreign_server("vault")));
    Image published = image("a", "");
    publish("vault", images({published}));
    const auto generation = location("a").generation;
    EXPECT_EQ(publish("vault", images({published})), PublishSummary());
    EXPECT_EQ(location("a").generation, generation);
    published.export_name = "b";
    EXPECT_EQ(publish("vault", images({published})), (PublishSummary{0, 1, 0}));
    EXPECT_GT(location("a").generation, generation);
}

TEST_P(CatalogContract, GenerationIsNeverUsedAgain) {
    publish("beta", images({image("a")}));
    const auto generation = location("a").generation;
    publish("beta", all_images({}));
    publish("beta", images({image("a")}));
    const auto again = location("a").generation;
    EXPECT_GT(again, generation);
    ASSERT_TRUE(catalog_->remove_server("beta"));
    ASSERT_TRUE(catalog_->put_server(server("beta")));
    publish("beta", images({image("a")}));
    EXPECT_GT(location("a").generation, again);
}

TEST_P(CatalogContract, CopiesHaveGenerationsOfTheirOwn) {
    publish("beta", images({image("a")}));
    publish("gamma", images({image("a")}));
    EXPECT_NE(location_at("a", "beta").generation, location_at("a", "gamma").generation);
}

TEST_P(CatalogContract, EqualDigestsGiveOneGeneration) {
    publish("beta", images({image("a")}));
    publish("gamma", images({image("a", "r-other")}));
    const auto older = location_at("a", "beta").generation;
    const auto newer = location_at("a", "gamma").generation;
    ASSERT_TRUE(catalog_->record_digest({disk("a"), "gamma", newer, digest('1')}));
    EXPECT_FALSE(interchangeable(location_at("a", "beta"), location_at("a", "gamma")));
    ASSERT_TRUE(catalog_->record_digest({disk("a"), "beta", older, digest('1')}));
    EXPECT_EQ(location_at("a", "beta").generation, newer);
    EXPECT_EQ(location_at("a", "gamma").generation, newer);
    EXPECT_TRUE(interchangeable(location_at("a", "beta"), location_at("a", "gamma")));
}

TEST_P(CatalogContract, EqualDigestOfAnotherSizeIsAnotherContent) {
    publish("beta", images({image("a", "r-1", 10)}));
    publish("gamma", images({image("a", "r-1", 20)}));
    for (const auto* holder : {"beta", "gamma"}) {
        const auto generation = location_at("a", holder).generation;
        ASSERT_TRUE(catalog_->record_digest({disk("a"), holder, generation, digest('1')}));
    }
    EXPECT_NE(location_at("a", "beta").generation, location_at("a", "gamma").generation);
}

TEST_P(CatalogContract, DigestOfAnOlderGenerationIsRefused) {
    publish("beta", images({image("a")}));
    const auto generation = location("a").generation;
    publish("beta", images({image("a", "r-2")}));
    const auto refused = catalog_->record_digest({disk("a"), "beta", generation, digest('1')});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::conflict);
    EXPECT_EQ(location("a").digest, "");
}

TEST_P(CatalogContract, DigestNeedsItsLocationAndItsForm) {
    publish("beta", images({image("a")}));
    const auto generation = location("a").generation;
    EXPECT_EQ(catalog_->record_digest({disk("b"), "beta", 1, digest('1')}).error().code,
              Errc::not_found);
    EXPECT_EQ(catalog_->record_digest({disk("a"), "gamma", 1, digest('1')}).error().code,
              Errc::not_found);
    EXPECT_EQ(catalog_->record_digest({disk("a"), "beta", generation, "garbage"}).error().code,
              Errc::invalid);
    EXPECT_EQ(catalog_->record_digest({disk("a"), "beta", generation, ""}).error().code,
              Errc::invalid);
}

TEST_P(CatalogContract, MarkChangedBeginsANewGeneration) {
    publish("beta", images({image("a", "w-1")}));
    const auto generation = location("a").generation;
    ASSERT_TRUE(catalog_->record_digest({disk("a"), "beta", generation, digest('1')}));
    ASSERT_TRUE(catalog_->mark_changed(disk("a"), "beta"));
    const Location changed = location("a");
    EXPECT_GT(changed.generation, generation);
    EXPECT_EQ(changed.digest, "");
    EXPECT_EQ(publish("beta", images({image("a", "w-1")})), PublishSummary());
    EXPECT_EQ(location("a").generation, changed.generation);
}

TEST_P(CatalogContract, MarkChangedNeedsItsLocation) {
    publish("beta", images({image("a")}));
    EXPECT_EQ(catalog_->mark_changed(disk("b"), "beta").error().code, Errc::not_found);
    EXPECT_EQ(catalog_->mark_changed(disk("a"), "gamma").error().code, Errc::not_found);
    EXPECT_EQ(catalog_->mark_changed(disk("a"), "nobody").error().code, Errc::not_found);
}

// Pages.

TEST_P(CatalogContract, ListIsInByteOrder) {
    publish("beta", images({image("b"), image("a/b"), image("a-b"), image("Z"), image("é")}));
    EXPECT_EQ(listed(""), (Names{"Z", "a-b", "a/b", "b", "é"}));
}

TEST_P(CatalogContract, ListTakesAPrefix) {
    publish("beta", images({image("web01/vda"), image("web01/vdb"), image("web02/vda"),
                            image("web0"), image("wez")}));
    EXPECT_EQ(listed("web01/"), (Names{"web01/vda", "web01/vdb"}));
    EXPECT_EQ(listed("web0"), (Names{"web0", "web01/vda", "web01/vdb", "web02/vda"}));
    EXPECT_EQ(listed("x"), Names());
    EXPECT_EQ(listed(std::string(2000, 'a')), Names());
}

TEST_P(CatalogContract, PagesFollowEachOther) {
    std::vector<Image> all;
    Names expected;
    for (int i = 0; i < 25; ++i) {
        all.push_back(image(fmt::format("p/{:02}", i)));
        expected.push_back(fmt::format("p/{:02}", i));
    }
    all.push_back(image("o"));
    all.push_back(image("q"));
    publish("beta", images(all));
    Names seen;
    for (Names page = listed("p/", "", 10); !page.empty(); page = listed("p/", seen.back(), 10)) {
        EXPECT_LE(page.size(), 10u);
        seen.insert(seen.end(), page.begin(), page.end());
    }
    EXPECT_EQ(seen, expected);
    EXPECT_EQ(listed("p/", "a", 100), expected);
    EXPECT_EQ(listed("p/", "z", 100), Names());
}

TEST_P(CatalogContract, PagesHaveBounds) {
    for (const std::size_t limit : {std::size_t{0}, std::size_t{10'001}}) {
        EXPECT_EQ(catalog_->list("", "", limit).error().code, Errc::invalid);
        EXPECT_EQ(catalog_->search("", "", limit).error().code, Errc::invalid);
    }
    EXPECT_TRUE(catalog_->list("", "", 10'000));
}

TEST_P(CatalogContract, SearchFindsTextAnywhereInAnyCase) {
    publish("beta", images({image("Web01/vda"), image("db/WEB"), image("mail")}));
    EXPECT_EQ(names(catalog_->search("wEb", "", 10).value()), (Names{"Web01/vda", "db/WEB"}));
    EXPECT_EQ(names(catalog_->search("wEb", "Web01/vda", 10).value()), (Names{"db/WEB"}));
    EXPECT_EQ(names(catalog_->search("", "", 2).value()), (Names{"Web01/vda", "db/WEB"}));
}

TEST_P(CatalogContract, SearchTakesEveryCharacterLiterally) {
    publish("beta",
            images({image("a%b"), image("a_b"), image("axb"), image("a\\b"), image("été")}));
    EXPECT_EQ(names(catalog_->search("%", "", 10).value()), (Names{"a%b"}));
    EXPECT_EQ(names(catalog_->search("_", "", 10).value()), (Names{"a_b"}));
    EXPECT_EQ(names(catalog_->search("\\", "", 10).value()), (Names{"a\\b"}));
    EXPECT_EQ(names(catalog_->search("té", "", 10).value()), (Names{"été"}));
    EXPECT_EQ(names(catalog_->search("' OR 1=1 --", "", 10).value()), Names());
    EXPECT_EQ(names(catalog_->search(std::string_view("a\0", 2), "", 10).value()), Names());
    EXPECT_EQ(names(catalog_->search("\xff", "", 10).value()), Names());
}

// Servers.

TEST_P(CatalogContract, ServerIsFoundWithAllItsFields) {
    Server put = server("alpha", "nbds://[::1]:10810", "i-1");
    put.uris.push_back(NbdUri::parse("nbd+unix:///?socket=/run/a%20b").value());
    put.site = "hall 1";
    put.priority = -5;
    ASSERT_TRUE(catalog_->put_server(put));
    put.last_heartbeat = now_;
    put.heartbeat_sequence = 1;
    EXPECT_EQ(catalog_->find_server("alpha").value(), put);
    EXPECT_EQ(catalog_->servers().value().front(), put);
    EXPECT_EQ(catalog_->find_server("nobody").value(), std::nullopt);
}

TEST_P(CatalogContract, ServersAreOrderedByName) {
    ASSERT_TRUE(catalog_->put_server(server("alpha")));
    Names all;
    const auto servers = catalog_->servers().value();
    for (const Server& each : servers)
        all.push_back(each.name);
    EXPECT_EQ(all, (Names{"alpha", "beta", "gamma"}));
}

TEST_P(CatalogContract, UpdatedServerKeepsItsLocations) {
    publish("beta", images({image("a")}));
    Server update = server("beta", "nbd://other:1");
    update.site = "hall 2";
    ASSERT_TRUE(catalog_->put_server(update));
    EXPECT_EQ(location("a").server, "beta");
    EXPECT_EQ(catalog_->find_server("beta").value().value(), update);
}

TEST_P(CatalogContract, BadServersAreRefused) {
    EXPECT_EQ(catalog_->put_server(server("../x")).error().code, Errc::invalid);
    EXPECT_EQ(catalog_->put_server(server("x", "nbd://h/export")).error().code, Errc::invalid);
    Server odd = server("x");
    odd.site = "a\nb";
    EXPECT_EQ(catalog_->put_server(odd).error().code, Errc::invalid);
    odd = server("x");
    odd.uris.front().host = "-oProxyCommand=x";
    EXPECT_EQ(catalog_->put_server(odd).error().code, Errc::invalid);
    EXPECT_EQ(catalog_->find_server("x").value(), std::nullopt);
}

TEST_P(CatalogContract, NameOfARunningServerIsTaken) {
    ASSERT_TRUE(catalog_->put_server(server("alpha", "nbd://one:1", "i-1")));
    now_ += 14;
    const auto refused = catalog_->put_server(server("alpha", "nbd://two:1", "i-2"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::conflict);
    EXPECT_EQ(catalog_->find_server("alpha").value()->instance, "i-1");
}

TEST_P(CatalogContract, NameOfASilentServerIsFree) {
    ASSERT_TRUE(catalog_->put_server(server("alpha", "nbd://one:1", "i-1")));
    now_ += 15;
    ASSERT_TRUE(catalog_->put_server(server("alpha", "nbd://two:1", "i-2")));
    EXPECT_EQ(catalog_->find_server("alpha").value()->instance, "i-2");
}

TEST_P(CatalogContract, RestartedServerTakesItsNameBack) {
    ASSERT_TRUE(catalog_->put_server(server("alpha", "nbd://one:1", "i-1")));
    EXPECT_TRUE(catalog_->put_server(server("alpha", "nbd://one:1", "i-2")));
    EXPECT_EQ(catalog_->heartbeat("alpha", "i-1").error().code, Errc::conflict);
    EXPECT_TRUE(catalog_->heartbeat("alpha", "i-2"));
}

TEST_P(CatalogContract, OperatorsChangeLeavesTheProcessRegistered) {
    ASSERT_TRUE(catalog_->put_server(server("alpha", "nbd://one:1", "i-1")));
    Server update = server("alpha", "nbd://one:1");
    update.priority = 7;
    ASSERT_TRUE(catalog_->put_server(update));
    EXPECT_EQ(catalog_->find_server("alpha").value()->priority, 7);
    EXPECT_TRUE(catalog_->heartbeat("alpha", "i-1"));
}

TEST_P(CatalogContract, HeartbeatIsCounted) {
    ASSERT_TRUE(catalog_->put_server(server("alpha", "nbd://one:1", "i-1")));
    const auto before = catalog_->find_server("alpha").value().value();
    const auto changes = sequence();
    now_ += 5;
    ASSERT_TRUE(catalog_->heartbeat("alpha", "i-1"));
    const auto after = catalog_->find_server("alpha").value().value();
    EXPECT_EQ(after.last_heartbeat, now_);
    EXPECT_GT(after.heartbeat_sequence, before.heartbeat_sequence);
    EXPECT_EQ(sequence(), changes);
    EXPECT_EQ(catalog_->heartbeat("nobody", "i").error().code, Errc::not_found);
}

TEST_P(CatalogContract, LastSeenFollowsTheHeartbeat) {
    ASSERT_TRUE(catalog_->put_server(server("alpha", "nbd://one:1", "i-1")));
    publish("alpha", images({image("a")}));
    now_ += 60;
    ASSERT_TRUE(catalog_->heartbeat("alpha", "i-1"));
    EXPECT_EQ(location("a").last_seen, now_);
}

TEST_P(CatalogContract, ForeignImageWasSeenWhenPublished) {
    ASSERT_TRUE(catalog_->put_server(foreign_server("vault")));
    publish("vault", all_images({image("a", ""), image("b", "")}));
    now_ += 60;
    publish("vault", images({image("a", "")}));
    EXPECT_EQ(location("a").last_seen, now_);
    EXPECT_EQ(location("b").last_seen, now_ - 60);
    now_ += 60;
    publish("vault", all_images({image("a", ""), image("b", "")}));
    EXPECT_EQ(location("b").last_seen, now_);
}

TEST_P(CatalogContract, RemovedServerTakesItsLocations) {
    publish("beta", images({image("a"), image("b")}));
    publish("gamma", images({image("b")}));
    ASSERT_TRUE(catalog_->remove_server("beta"));
    EXPECT_EQ(listed(""), Names{"b"});
    EXPECT_EQ(catalog_->find_server("beta").value(), std::nullopt);
    EXPECT_EQ(catalog_->remove_server("beta").error().code, Errc::not_found);
}

// Sequence, totals.

TEST_P(CatalogContract, SequenceGrowsWithEveryChange) {
    auto last = sequence();
    const auto expect_grown = [&](const char* what) {
        EXPECT_GT(sequence(), last) << what;
        last = sequence();
    };
    publish("beta", images({image("a")}));
    expect_grown("publication");
    const auto generation = location("a").generation;
    ASSERT_TRUE(catalog_->record_digest({disk("a"), "beta", generation, digest('1')}));
    expect_grown("digest");
    ASSERT_TRUE(catalog_->mark_changed(disk("a"), "beta"));
    expect_grown("mark");
    ASSERT_TRUE(catalog_->put_server(server("delta")));
    expect_grown("new server");
    ASSERT_TRUE(catalog_->put_server(server("delta", "nbd://other:1")));
    expect_grown("other URI");
    ASSERT_TRUE(catalog_->remove_server("delta"));
    expect_grown("removal");
    ASSERT_TRUE(catalog_->put_server(server("beta")));
    EXPECT_EQ(sequence(), last) << "the same server again";
}

TEST_P(CatalogContract, TotalsCountDisksAndLocations) {
    publish("beta", images({image("a"), image("b")}));
    publish("gamma", images({image("b"), image("c")}));
    EXPECT_EQ(catalog_->totals().value().disks, 3u);
    EXPECT_EQ(catalog_->totals().value().locations, 4u);
    publish("beta", all_images({image("b", "r-2")}));
    EXPECT_EQ(catalog_->totals().value().disks, 2u);
    EXPECT_EQ(catalog_->totals().value().locations, 3u);
    ASSERT_TRUE(catalog_->remove_server("gamma"));
    EXPECT_EQ(catalog_->totals().value().disks, 1u);
    EXPECT_EQ(catalog_->totals().value().locations, 1u);
    EXPECT_TRUE(catalog_->check_integrity());
}

TEST_P(CatalogContract, SkipsNothingOfItsOwn) {
    publish("beta", images({image("a")}));
    EXPECT_EQ(listed(""), Names{"a"});
    EXPECT_EQ(catalog_->skipped_rows(), 0u);
    EXPECT_NE(catalog_->description(), "");
}

// Restore points.

TEST_P(CatalogContract, ABareNameMeansTheNewestPoint) {
    publish("beta", images({image("d/a@20261119T0200"), image("d/a@2026-11-20T02:00"),
                            image("d/a@not-a-time"), image("d/a@2027-01-01/vda"),
                            image("d/a2@2028-01-01")}));
    EXPECT_EQ(meant_disk(*catalog_, disk("d/a")).value(), disk("d/a@2026-11-20T02:00"));
    EXPECT_EQ(meant_disk(*catalog_, disk("d/a@2026-11-19")).value(), disk("d/a@20261119T0200"));
    publish("gamma", images({image("d/a")}));
    EXPECT_EQ(meant_disk(*catalog_, disk("d/a")).value(), disk("d/a"));
}

TEST_P(CatalogContract, ANameThatMeansNothingNamesTheNearestPoints) {
    publish("beta", images({image("d/a@2026-11-20T02:00"), image("d/a@2026-11-22T02:00")}));
    const auto none = meant_disk(*catalog_, disk("d/a@2026-11-21"));
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Errc::not_found);
    EXPECT_EQ(none.error().message,
              "no server has disk d/a@2026-11-21; its points nearest to that are "
              "d/a@2026-11-20T02:00 and d/a@2026-11-22T02:00");
    EXPECT_EQ(meant_disk(*catalog_, disk("d/b")).error().code, Errc::not_found);
}

TEST_P(CatalogContract, PointsAreReadPageByPage) {
    std::vector<Image> many;
    for (int i = 0; i < 2500; ++i)
        many.push_back(image(fmt::format("d/a@{}-01-01", 2000 + i)));
    publish("beta", images(many));
    const auto points = points_of(*catalog_, "d/a").value();
    ASSERT_EQ(points.size(), 2500u);
    EXPECT_TRUE(std::ranges::is_sorted(points));
    EXPECT_EQ(points.back().name, disk("d/a@4499-01-01"));
}

// Threads.

TEST_P(CatalogContract, LooksUpWhileOthersPublish) {
    publish("beta", images({image("stays")}));
    std::vector<Image> many;
    for (int i = 0; i < 200; ++i)
        many.push_back(image(fmt::format("m{:03}", i)));
    std::thread publisher([&] {
        for (int round = 0; round < 5; ++round) {
            EXPECT_TRUE(catalog_->publish("gamma", all_images(many)));
            EXPECT_TRUE(catalog_->publish("gamma", all_images({})));
        }
    });
    std::vector<std::thread> readers;
    for (int i = 0; i < 6; ++i)
        readers.emplace_back([&] {
            for (int round = 0; round < 50; ++round) {
                EXPECT_TRUE(catalog_->find(disk("stays")).value());
                const auto seen = catalog_->list("m", "", 1000).value().size();
                EXPECT_TRUE(seen == 0 || seen == 200) << seen;
            }
        });
    publisher.join();
    for (std::thread& reader : readers)
        reader.join();
}

}  // namespace signpost::test
