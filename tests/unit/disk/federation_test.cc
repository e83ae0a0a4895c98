// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/federation.h"

#include <atomic>
#include <thread>

#include "nbd-server/disk/image_fingerprint.h"
#include "tests/unit/disk/federation_fixture.h"

namespace signpost::test {

namespace {

class FederationOpen : public FederationTest {};
class FederationWrites : public FederationTest {};

TEST_F(FederationOpen, ServesItsOwnImage) {
    write_image("web01/vda.raw", 4096);
    const auto federation = start();
    const auto disk = federation->open("web01/vda", false);
    ASSERT_TRUE(disk) << disk.error().message;
    EXPECT_EQ((*disk)->traits().size, 4096u);
    EXPECT_EQ((*disk)->traits().description, "4 KiB raw, here");
    EXPECT_TRUE(plans_.empty());
}

TEST_F(FederationOpen, PrefersItsOwnImageToOthers) {
    write_image("a.raw", 4096);
    join(server_named("beta"), {image_named("a", 8192)});
    const auto disk = start()->open("a", false);
    ASSERT_TRUE(disk);
    EXPECT_EQ((*disk)->traits().size, 4096u);
}

TEST_F(FederationOpen, RelaysWhatAnotherServerHas) {
    join(server_named("beta"), {image_named("db/vda", 8192)});
    const auto disk = start()->open("db/vda", false);
    ASSERT_TRUE(disk) << disk.error().message;
    EXPECT_EQ((*disk)->traits().size, 8192u);
    EXPECT_EQ((*disk)->traits().description, "8 KiB raw on beta, relayed");
    ASSERT_EQ(plans_.size(), 1u);
    ASSERT_EQ(plans_[0].upstreams.size(), 1u);
    EXPECT_EQ(plans_[0].upstreams[0].uris.at(0).str(), "nbd://beta.example.com/local:db/vda");
    EXPECT_FALSE(plans_[0].upstreams[0].trusted_address);
}

TEST_F(FederationOpen, AsksAForeignServerForItsOwnExportName) {
    Server vault = server_named("vault");
    vault.kind = ServerKind::foreign;
    vault.instance.clear();
    Image image = image_named("old/vda", 8192);
    image.export_name = "vda of old";
    image.fingerprint.clear();
    join(vault, {image});
    ASSERT_TRUE(start()->open("old/vda", false));
    EXPECT_EQ(plans_.at(0).upstreams.at(0).uris.at(0).export_name, "vda of old");
}

TEST_F(FederationOpen, ABareNameIsTheNewestPointOfAnyServer) {
    write_image("web01/vda-2026-11-20.raw", 4096);
    join(server_named("beta"), {image_named("web01/vda@2026-11-21T02:00", 8192)});
    const auto federation = start();
    const auto newest = federation->open("web01/vda", false);
    ASSERT_TRUE(newest) << newest.error().message;
    EXPECT_EQ((*newest)->traits().description,
              "newest point web01/vda@2026-11-21T02:00; 8 KiB raw on beta, relayed");
    const auto of_day = federation->open("web01/vda@2026-11-2", false);
    EXPECT_FALSE(of_day);
    const auto own = federation->open("local:web01/vda", false);
    ASSERT_TRUE(own) << own.error().message;
    EXPECT_TRUE((*own)->traits().description.starts_with("newest point web01/vda@2026-11-20; "));
    EXPECT_TRUE(log_.has("web01/vda': its newest point, web01/vda@2026-11-21T02:00"));
}

TEST_F(FederationOpen, ADiskOfThatNameIsMeantBeforeAnyPoint) {
    write_image("web01/vda-2026-11-20.raw", 4096);
    join(server_named("beta"), {image_named("web01/vda", 8192)});
    const auto disk = start()->open("web01/vda", false);
    ASSERT_TRUE(disk);
    EXPECT_EQ((*disk)->traits().description, "8 KiB raw on beta, relayed");
}

TEST_F(FederationOpen, AnUnreachableDiskIsNotReplacedByItsPoint) {
    Server beta = server_named("beta");
    beta.uris.clear();
    join(beta, {image_named("a/vda", 8192)});
    join(server_named("gamma"), {image_named("a/vda@2026-11-20", 4096)});
    EXPECT_FALSE(start()->open("a/vda", false));
}

TEST_F(FederationOpen, APointThatIsNotThereNamesTheNearest) {
    join(server_named("beta"), {image_named("a/vda@2026-11-20T02:00", 8192)});
    const auto disk = start()->open("a/vda@2026-11-21", false);
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().code, Errc::not_found);
    EXPECT_NE(disk.error().message.find("newest point is a/vda@2026-11-20T02:00"),
              std::string::npos)
        << disk.error().message;
}

TEST_F(FederationOpen, APointIsNotOpenedForWhoMayNotSeeIt) {
    join(server_named("beta"), {image_named("a/vda@2026-11-20", 8192)});
    Asker asker;
    asker.may_open = [](const DiskName& point) { return point.str() != "a/vda@2026-11-20"; };
    const auto disk = start()->open("a/vda", false, asker);
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().code, Errc::not_found);
}

TEST_F(FederationOpen, AFileIsFoundByItsPathToo) {
    write_image("web01/vda-2026-11-20.raw", 4096);
    const auto disk = start()->open("web01/vda-2026-11-20", false);
    ASSERT_TRUE(disk) << disk.error().message;
    EXPECT_EQ(served_.back(), "web01/vda@2026-11-20");
}

TEST_F(FederationWrites, ANewestPointIsReadOnly) {
    write_image("web01/vda-2026-11-20.raw", 4096);
    const auto federation = start(true);
    EXPECT_TRUE((*federation->open("web01/vda", true))->traits().read_only);
    EXPECT_FALSE((*federation->open("web01/vda@2026-11-20", true))->traits().read_only);
}

TEST_F(FederationOpen, NeverRelaysALocalName) {
    join(server_named("beta"), {image_named("a", 8192)});
    const auto disk = start()->open("local:a", false);
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().code, Errc::not_found);
    EXPECT_TRUE(plans_.empty());
}

TEST_F(FederationOpen, ShowsPeersTheFingerprint) {
    write_image("a.raw", 4096);
    const auto federation = start();
    const auto disk = federation->open("local:a", false);
    ASSERT_TRUE(disk);
    EXPECT_TRUE(fingerprint_in((*disk)->traits().description).has_value());
}

TEST_F(FederationOpen, SharesOneDiskBetweenClientsAndPeers) {
    write_image("a.raw", 4096);
    const auto federation = start();
    const auto client = federation->open("a", false);
    const auto peer = federation->open("local:a", false);
    ASSERT_TRUE(client && peer);
    EXPECT_EQ(served_.size(), 1u);
}

TEST_F(FederationOpen, GivesManyThreadsAtOnceTheSameDisk) {
    join(server_named("beta"), {image_named("a", 8192)});
    write_image("b.raw", 4096);
    const auto federation = start();
    const auto keep = federation->open("a", false);
    std::atomic<int> wrong = 0;
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 8; ++i) {
            threads.emplace_back([&] {
                const auto disk = federation->open("a", false);
                const auto listing = federation->exports(10);
                wrong += !disk || *disk != *keep || !listing || listing->entries.size() != 2;
            });
        }
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(plans_.size(), 1u);
}

TEST_F(FederationOpen, OpensAnewAfterTheLastSession) {
    write_image("a.raw", 4096);
    const auto federation = start();
    ASSERT_TRUE(federation->open("a", false));
    ASSERT_TRUE(federation->open("a", false));
    EXPECT_EQ(served_.size(), 2u);
}

TEST_F(FederationOpen, DoesNotShareAReplacedImage) {
    write_image("a.raw", 4096);
    const auto federation = start();
    const auto before = federation->open("a", false);
    std::filesystem::remove(repository() + "/a.raw");
    write_image("a.raw", 8192);
    const auto after = federation->open("a", false);
    ASSERT_TRUE(before && after);
    EXPECT_EQ((*after)->traits().size, 8192u);
}

TEST_F(FederationOpen, SharesARelayUntilTheReferralChanges) {
    join(server_named("beta"), {image_named("a", 8192)});
    const auto federation = start();
    const auto first = federation->open("a", false);
    const auto second = federation->open("a", false);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(*first, *second);
    Image changed = image_named("a", 8192);
    changed.fingerprint = "r-other";
    join(server_named("beta"), {changed});
    const auto third = federation->open("a", false);
    ASSERT_TRUE(third);
    EXPECT_NE(*first, *third);
}

TEST_F(FederationOpen, SaysThatNobodyHasTheDisk) {
    const auto disk = start()->open("nowhere", false);
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().code, Errc::not_found);
    EXPECT_NE(disk.error().message.find("nowhere"), std::string::npos);
}

TEST_F(FederationOpen, RefusesWhatIsNoDiskName) {
    for (const char* name : {"", "/a", "a/../b", "local:", "local:local:a", "b\x01"}) {
        const auto disk = start()->open(name, false);
        ASSERT_FALSE(disk) << name;
        EXPECT_EQ(disk.error().code, Errc::invalid) << name;
    }
}

TEST_F(FederationOpen, RelaysADiskWhoseOwnFilesAreInConflictAndSaysSo) {
    write_image("a.raw", 4096);
    write_image("a.img", 4096);
    join(server_named("beta"), {image_named("a", 8192)});
    const auto federation = start();
    const auto disk = federation->open("a", false);
    ASSERT_TRUE(disk);
    EXPECT_EQ((*disk)->traits().size, 8192u);
    EXPECT_TRUE(log_.has("a.img"));
    EXPECT_TRUE(log_.has("relayed instead"));
}

TEST_F(FederationOpen, ReportsAConflictThatNobodyCanHelpWith) {
    write_image("a.raw", 4096);
    write_image("a.img", 4096);
    const auto disk = start()->open("a", false);
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().code, Errc::conflict);
}

TEST_F(FederationOpen, OrdersByItsOwnSiteThoughNotRegistered) {
    join(server_named("beta", "rome"), {image_named("a", 8192)});
    join(server_named("gamma", "oslo"), {image_named("a", 8192)});
    ASSERT_TRUE(start(false, "oslo")->open("a", false));
    EXPECT_EQ(plans_.at(0).upstreams.at(0).location.server, "gamma");
    EXPECT_EQ(plans_.at(0).upstreams.size(), 2u);
    EXPECT_EQ(plans_.at(0).traits.description, "8 KiB raw on gamma and 1 more, relayed");
}

TEST_F(FederationOpen, HasADrainedServerAsASpare) {
    join(server_named("beta"), {image_named("a", 8192)});
    join(server_named("gamma"), {image_named("a", 8192)});
    ASSERT_TRUE(catalog_->set_draining("beta", true));
    ASSERT_TRUE(start()->open("a", false));
    const auto& upstreams = plans_.at(0).upstreams;
    ASSERT_EQ(upstreams.size(), 2u);
    EXPECT_EQ(upstreams[0].location.server, "gamma");
    EXPECT_FALSE(upstreams[0].spare);
    EXPECT_TRUE(upstreams[1].spare);
    EXPECT_EQ(plans_.at(0).traits.description, "8 KiB raw on gamma, relayed");
}

TEST_F(FederationOpen, AsksTheCatalogAgain) {
    join(server_named("beta"), {image_named("a", 8192)});
    const auto federation = start();
    ASSERT_TRUE(federation->open("a", false));
    join(server_named("beta"), {});
    join(server_named("gamma"), {image_named("a", 8192)});
    const auto again = plans_.at(0).ask_again();
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_EQ(again->size(), 1u);
    EXPECT_EQ(again->at(0).location.server, "gamma");
}

TEST_F(FederationWrites, GrantsNothingUnlessConfigured) {
    write_image("a.raw", 4096);
    join(server_named("beta"), {image_named("b", 8192, false)});
    const auto federation = start(false);
    const auto own = federation->open("a", true);
    const auto relayed = federation->open("b", true);
    ASSERT_TRUE(own && relayed);
    EXPECT_TRUE((*own)->traits().read_only);
    EXPECT_TRUE((*relayed)->traits().read_only);
}

TEST_F(FederationWrites, GrantsWhatIsAskedForAndConfigured) {
    write_image("a.raw", 4096);
    join(server_named("beta"), {image_named("b", 8192, false)});
    const auto federation = start(true);
    const auto own = federation->open("a", true);
    const auto relayed = federation->open("b", true);
    ASSERT_TRUE(own && relayed);
    EXPECT_FALSE((*own)->traits().read_only);
    EXPECT_FALSE((*relayed)->traits().read_only);
}

TEST_F(FederationWrites, KeepsAReaderOfAWritableImageFromWriting) {
    write_image("a.raw", 4096);
    const auto federation = start(true);
    const auto writer = federation->open("a", true);
    const auto reader = federation->open("a", false);
    ASSERT_TRUE(writer && reader);
    EXPECT_TRUE((*reader)->traits().read_only);
    EXPECT_EQ(served_.size(), 1u);
    std::byte block[512]{};
    Request request;
    request.op = Op::write;
    request.length = sizeof block;
    request.buffer = block;
    EXPECT_EQ(submit_and_wait(**reader, request), EPERM);
    EXPECT_EQ(submit_and_wait(**writer, request), 0);
}

TEST_F(FederationWrites, GoToOneLocationOnly) {
    join(server_named("beta"), {image_named("a", 8192, false)});
    join(server_named("gamma"), {image_named("a", 8192, false)});
    const auto federation = start(true);
    ASSERT_TRUE(federation->open("a", true));
    ASSERT_EQ(plans_.at(0).upstreams.size(), 1u);
    const auto again = plans_.at(0).ask_again();
    ASSERT_TRUE(again);
    ASSERT_EQ(again->size(), 1u);
    EXPECT_EQ(again->at(0).location.server, plans_.at(0).upstreams.at(0).location.server);
}

TEST_F(FederationWrites, AreNotGrantedForAReadOnlyLocation) {
    join(server_named("beta"), {image_named("a", 8192, true)});
    const auto federation = start(true);
    const auto disk = federation->open("a", true);
    ASSERT_TRUE(disk);
    EXPECT_TRUE((*disk)->traits().read_only);
    EXPECT_FALSE(plans_.at(0).before_first_write);
}

TEST_F(FederationWrites, NeverMixAWritableLocationWithAnother) {
    join(server_named("beta"), {image_named("a", 8192, false)});
    const auto record = catalog_->find(disk_name("a"));
    ASSERT_TRUE(record && *record);
    const std::string digest = "sha256-32k:" + std::string(64, 'a');
    ASSERT_TRUE(catalog_->record_digest(
        {disk_name("a"), "beta", (*record)->locations.at(0).generation, digest}));
    ASSERT_TRUE(start()->open("a", false));
    EXPECT_TRUE(plans_.at(0).upstreams.at(0).location.digest.empty());
}

TEST_F(FederationWrites, TellTheCatalogFirst) {
    write_image("a.raw", 4096);
    join(server_named("alpha"), {image_named("a", 4096, false)});
    const auto before = (*catalog_->find(disk_name("a")))->locations.at(0);
    const std::string digest = "sha256-32k:" + std::string(64, 'b');
    ASSERT_TRUE(catalog_->record_digest({disk_name("a"), "alpha", before.generation, digest}));
    const auto federation = start(true);
    ASSERT_TRUE(federation->open("a", true));
    ASSERT_TRUE(before_first_write_());
    const auto after = (*catalog_->find(disk_name("a")))->locations.at(0);
    EXPECT_TRUE(after.digest.empty());
    EXPECT_GT(after.generation, before.generation);
}

TEST_F(FederationWrites, NeedNotTellACatalogThatKnowsNoDigest) {
    write_image("a.raw", 4096);
    join(server_named("alpha"), {image_named("a", 4096, false)});
    const auto before = (*catalog_->find(disk_name("a")))->locations.at(0);
    const auto federation = start(true);
    ASSERT_TRUE(federation->open("a", true));
    ASSERT_TRUE(before_first_write_());
    EXPECT_EQ((*catalog_->find(disk_name("a")))->locations.at(0), before);
}

}  // namespace

}  // namespace signpost::test
