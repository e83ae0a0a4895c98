// SPDX-License-Identifier: BSD-3-Clause
//
// The part of every store's contract that is about more than who holds what: states, draining, site
// costs, jobs, writers' leases, records put back.
#include "tests/unit/catalog/catalog_contract.h"

namespace signpost::test {
namespace {

using Names = std::vector<std::string>;

Image copying(std::string_view name) {
    Image made = image(name);
    made.state = LocationState::copying;
    return made;
}

Location stored(std::string_view holder, std::uint64_t generation, char digit = '1') {
    return {.server = std::string(holder),
            .export_name = "other name",
            .size = 7000,
            .format = ImageFormat::qcow2,
            .read_only = false,
            .generation = generation,
            .digest = digest(digit),
            .state = LocationState::stale,
            .priority = 3,
            .last_seen = 1234,
            .fingerprint = "w-9",
            .minimum_block = 512,
            .verified = 99};
}

}  // namespace

// States.

TEST_P(CatalogContract, CopyInProgressBecomesReadyWithItsGeneration) {
    publish("beta", images({copying("a")}));
    const Location begun = location("a");
    EXPECT_EQ(begun.state, LocationState::copying);
    EXPECT_EQ(publish("beta", images({copying("a")})), PublishSummary());
    EXPECT_EQ(publish("beta", images({image("a")})), (PublishSummary{0, 1, 0}));
    EXPECT_EQ(location("a").state, LocationState::ready);
    EXPECT_EQ(location("a").generation, begun.generation);
    EXPECT_EQ(publish("beta", all_images({copying("a")})), (PublishSummary{0, 1, 0}));
    EXPECT_EQ(location("a").state, LocationState::copying);
}

TEST_P(CatalogContract, ServerMayNotPublishOtherStates) {
    Image odd = image("a");
    odd.state = LocationState::damaged;
    EXPECT_EQ(catalog_->publish("beta", images({odd})).error().code, Errc::invalid);
}

TEST_P(CatalogContract, DamageStaysUntilTheContentIsRightAgain) {
    publish("beta", images({image("a")}));
    const auto generation = location("a").generation;
    ASSERT_TRUE(catalog_->record_digest({disk("a"), "beta", generation, digest('1')}));
    const auto before = sequence();
    ASSERT_TRUE(
        catalog_->set_location_state(disk("a"), "beta", generation, LocationState::damaged));
    EXPECT_GT(sequence(), before);
    EXPECT_EQ(publish("beta", all_images({image("a")})), PublishSummary());
    EXPECT_EQ(location("a").state, LocationState::damaged);
    EXPECT_EQ(location("a").digest, digest('1'));
    EXPECT_EQ(catalog_->record_digest({disk("a"), "beta", generation, digest('2')}).error().code,
              Errc::conflict);
    ASSERT_TRUE(catalog_->record_digest({disk("a"), "beta", generation, digest('1')}));
    EXPECT_EQ(location("a").state, LocationState::ready);
}

TEST_P(CatalogContract, NewContentIsNotDamaged) {
    publish("beta", images({image("a")}));
    const auto generation = location("a").generation;
    ASSERT_TRUE(
        catalog_->set_location_state(disk("a"), "beta", generation, LocationState::damaged));
    publish("beta", images({image("a", "r-2")}));
    EXPECT_EQ(location("a").state, LocationState::ready);
}

TEST_P(CatalogContract, StateOfAnOlderGenerationIsRefused) {
    publish("beta", images({image("a")}));
    const auto state = LocationState::damaged;
    EXPECT_EQ(catalog_->set_location_state(disk("a"), "beta", 1'000'000, state).error().code,
              Errc::conflict);
    EXPECT_EQ(catalog_->set_location_state(disk("a"), "gamma", 1, state).error().code,
              Errc::not_found);
    EXPECT_EQ(location("a").state, LocationState::ready);
}

TEST_P(CatalogContract, DigestIsVerifiedWhenItIsRecorded) {
    publish("beta", images({image("a")}));
    const DigestRecord record{disk("a"), "beta", location("a").generation, digest('1')};
    EXPECT_EQ(location("a").verified, 0);
    ASSERT_TRUE(catalog_->record_digest(record));
    EXPECT_EQ(location("a").verified, now_);
    const auto before = sequence();
    now_ += 100;
    ASSERT_TRUE(catalog_->record_digest(record));
    EXPECT_EQ(location("a").verified, now_);
    EXPECT_EQ(sequence(), before);
    ASSERT_TRUE(catalog_->mark_changed(disk("a"), "beta"));
    EXPECT_EQ(location("a").verified, 0);
}

// Servers.

TEST_P(CatalogContract, DrainingOutlivesARegistration) {
    const auto before = sequence();
    ASSERT_TRUE(catalog_->set_draining("beta", true));
    EXPECT_GT(sequence(), before);
    ASSERT_TRUE(catalog_->put_server(server("beta", "nbd://127.0.0.1:10810", "i-1")));
    EXPECT_TRUE(catalog_->find_server("beta").value()->draining);
    ASSERT_TRUE(catalog_->set_draining("beta", false));
    EXPECT_FALSE(catalog_->find_server("beta").value()->draining);
    EXPECT_EQ(catalog_->set_draining("nobody", true).error().code, Errc::not_found);
}

TEST_P(CatalogContract, ServerHasItsClass) {
    Server put = server("beta");
    EXPECT_EQ(catalog_->find_server("beta").value()->priority_class, PriorityClass::site_normal);
    put.priority_class = PriorityClass::global_low;
    const auto before = sequence();
    ASSERT_TRUE(catalog_->put_server(put));
    EXPECT_EQ(catalog_->find_server("beta").value()->priority_class, PriorityClass::global_low);
    EXPECT_GT(sequence(), before);
}

// Site costs.

TEST_P(CatalogContract, BootProfileIsThatWhichWasPutLast) {
    publish("beta", images({image("a")}));
    EXPECT_EQ(catalog_->boot_profile(disk("a")).value(), std::nullopt);
    const auto before = catalog_->change_sequence().value();
    ASSERT_TRUE(catalog_->put_boot_profile(disk("a"), "first"));
    ASSERT_TRUE(catalog_->put_boot_profile(disk("a"), "1 4096 0+2 'quoted'"));
    EXPECT_EQ(catalog_->boot_profile(disk("a")).value(), "1 4096 0+2 'quoted'");
    EXPECT_EQ(catalog_->boot_profile(disk("b")).value(), std::nullopt);
    EXPECT_EQ(catalog_->change_sequence().value(), before);
}

TEST_P(CatalogContract, OddBootProfilesAreRefused) {
    for (const std::string& odd : {std::string(), std::string(kMaxBootProfile + 1, 'x'),
                                   std::string("a\nb"), std::string("\xc3\xa4")})
        EXPECT_EQ(catalog_->put_boot_profile(disk("a"), odd).error().code, Errc::invalid);
    ASSERT_TRUE(catalog_->put_boot_profile(disk("a"), std::string(kMaxBootProfile, 'x')));
    EXPECT_EQ(catalog_->boot_profile(disk("a")).value()->size(), kMaxBootProfile);
}

TEST_P(CatalogContract, SiteCostHoldsInBothDirections) {
    const auto before = sequence();
    ASSERT_TRUE(catalog_->put_site_cost({"rome", "oslo", 30}));
    EXPECT_GT(sequence(), before);
    ASSERT_TRUE(catalog_->put_site_cost({"oslo", "rome", 40}));
    ASSERT_TRUE(catalog_->put_site_cost({"bern", "rome", 0}));
    EXPECT_EQ(catalog_->site_costs().value(),
              (std::vector<SiteCost>{{"bern", "rome", 0}, {"oslo", "rome", 40}}));
    ASSERT_TRUE(catalog_->put_site_cost({"rome", "oslo", -1}));
    EXPECT_EQ(catalog_->site_costs().value().size(), 1u);
}

TEST_P(CatalogContract, OddSiteCostsAreRefused) {
    EXPECT_EQ(catalog_->put_site_cost({"rome", "rome", 1}).error().code, Errc::invalid);
    EXPECT_EQ(catalog_->put_site_cost({"", "rome", 1}).error().code, Errc::invalid);
    EXPECT_EQ(catalog_->put_site_cost({"a\n", "rome", 1}).error().code, Errc::invalid);
    EXPECT_EQ(catalog_->put_site_cost({"oslo", "rome", kMaxSiteCost + 1}).error().code,
              Errc::invalid);
}

// Jobs.

TEST_P(CatalogContract, JobIsKeptWithAllItsFields) {
    Job put = job('1', "web01/vda", "beta");
    put.kind = JobKind::move;
    put.source = "gamma";
    put.rate = 123456;
    const auto before = sequence();
    ASSERT_TRUE(catalog_->put_job(put));
    EXPECT_GT(sequence(), before);
    put.created = put.updated = now_;
    EXPECT_EQ(catalog_->jobs("").value(), std::vector<Job>{put});
    EXPECT_EQ(catalog_->jobs("beta").value(), std::vector<Job>{put});
    EXPECT_TRUE(catalog_->jobs("gamma").value().empty());
    EXPECT_TRUE(catalog_->jobs("not a server").value().empty());
}

TEST_P(CatalogContract, OneUnfinishedJobForADiskAndTarget) {
    ASSERT_TRUE(catalog_->put_job(job('1')));
    EXPECT_TRUE(catalog_->put_job(job('1'))) << "the same again";
    EXPECT_EQ(catalog_->put_job(job('2')).error().code, Errc::conflict);
    EXPECT_TRUE(catalog_->put_job(job('3', "a", "gamma")));
    Job ended = job('1');
    ended.state = JobState::failed;
    ASSERT_TRUE(catalog_->report_job(ended));
    EXPECT_TRUE(catalog_->put_job(job('2')));
    EXPECT_EQ(catalog_->jobs("beta").value().size(), 2u);
}

TEST_P(CatalogContract, ProgressIsNoChangeAndTheEndIsOne) {
    ASSERT_TRUE(catalog_->put_job(job('1')));
    const auto before = sequence();
    Job report = job('1');
    report.state = JobState::running;
    report.size = 1000;
    report.done = 10;
    report.message = std::string(499, 'm') + "é";
    now_ += 7;
    ASSERT_TRUE(catalog_->report_job(report));
    EXPECT_EQ(sequence(), before);
    const Job seen = catalog_->jobs("beta").value().front();
    EXPECT_EQ(seen.done, 10u);
    EXPECT_EQ(seen.message, std::string(499, 'm'));
    EXPECT_EQ(seen.created, now_ - 7);
    EXPECT_EQ(seen.updated, now_);
    report.state = JobState::done;
    ASSERT_TRUE(catalog_->report_job(report));
    EXPECT_GT(sequence(), before);
}

TEST_P(CatalogContract, FirstEndOfAJobStands) {
    ASSERT_TRUE(catalog_->put_job(job('1')));
    Job cancelled = job('1');
    cancelled.state = JobState::cancelled;
    ASSERT_TRUE(catalog_->put_job(cancelled));
    Job report = job('1');
    report.state = JobState::done;
    EXPECT_EQ(catalog_->report_job(report).error().code, Errc::conflict);
    report.state = JobState::running;
    EXPECT_EQ(catalog_->report_job(report).error().code, Errc::conflict);
    EXPECT_EQ(catalog_->jobs("").value().front().state, JobState::cancelled);
    EXPECT_EQ(catalog_->report_job(job('9')).error().code, Errc::not_found);
    cancelled.id = std::string(32, '9');
    EXPECT_EQ(catalog_->put_job(cancelled).error().code, Errc::not_found);
}

TEST_P(CatalogContract, FinishedJobIsForgottenAfterAWeek) {
    ASSERT_TRUE(catalog_->put_job(job('1')));
    ASSERT_TRUE(catalog_->put_job(job('2', "b")));
    Job ended = job('1');
    ended.state = JobState::done;
    ASSERT_TRUE(catalog_->report_job(ended));
    now_ += std::chrono::seconds(kJobMemory).count();
    EXPECT_EQ(catalog_->jobs("").value().size(), 2u);
    now_ += 1;
    ASSERT_EQ(catalog_->jobs("").value().size(), 1u);
    EXPECT_EQ(catalog_->jobs("").value().front().id, job('2').id);
}

TEST_P(CatalogContract, OddJobsAreRefused) {
    Job odd = job('x');
    EXPECT_EQ(catalog_->put_job(odd).error().code, Errc::invalid);
    odd = job('1', "a", "../beta");
    EXPECT_EQ(catalog_->put_job(odd).error().code, Errc::invalid);
    odd = job('1');
    odd.source = "beta";
    EXPECT_EQ(catalog_->put_job(odd).error().code, Errc::invalid);
    odd = job('1');
    odd.rate = std::uint64_t{1} << 63;
    EXPECT_EQ(catalog_->put_job(odd).error().code, Errc::invalid);
}

TEST_P(CatalogContract, RemovedServerTakesItsJobs) {
    ASSERT_TRUE(catalog_->put_job(job('1')));
    ASSERT_TRUE(catalog_->put_job(job('2', "a", "gamma")));
    ASSERT_TRUE(catalog_->remove_server("beta"));
    ASSERT_EQ(catalog_->jobs("").value().size(), 1u);
    EXPECT_EQ(catalog_->jobs("").value().front().target, "gamma");
}

// Writers.

TEST_P(CatalogContract, OneWriterAtATime) {
    EXPECT_EQ(catalog_->writer(disk("a")).value(), std::nullopt);
    const auto before = sequence();
    const WriterLease lease = catalog_->take_writer(disk("a"), "beta", "CN=host1").value();
    EXPECT_EQ(lease.expires, now_ + kWriterLease.count());
    EXPECT_EQ(catalog_->writer(disk("a")).value(), lease);
    EXPECT_EQ(catalog_->take_writer(disk("a"), "beta", "CN=host2").error().code, Errc::conflict);
    EXPECT_EQ(catalog_->take_writer(disk("a"), "gamma", "CN=host1").error().code, Errc::conflict);
    EXPECT_TRUE(catalog_->take_writer(disk("b"), "gamma", "CN=host2"));
    EXPECT_EQ(sequence(), before);
}

TEST_P(CatalogContract, WriterRenewsWithItsFence) {
    const auto first = catalog_->take_writer(disk("a"), "beta", "w").value();
    now_ += 10;
    const auto again = catalog_->take_writer(disk("a"), "beta", "w").value();
    EXPECT_EQ(again.fence, first.fence);
    EXPECT_EQ(again.expires, first.expires + 10);
}

TEST_P(CatalogContract, LapsedOrReleasedLeaseIsForTheNextWithALargerFence) {
    const auto first = catalog_->take_writer(disk("a"), "beta", "w").value();
    now_ += kWriterLease.count();
    EXPECT_EQ(catalog_->writer(disk("a")).value(), std::nullopt);
    const auto second = catalog_->take_writer(disk("a"), "gamma", "w").value();
    EXPECT_GT(second.fence, first.fence);
    EXPECT_TRUE(catalog_->release_writer(first)) << "another's by now: nothing happens";
    EXPECT_EQ(catalog_->writer(disk("a")).value(), second);
    ASSERT_TRUE(catalog_->release_writer(second));
    EXPECT_EQ(catalog_->writer(disk("a")).value(), std::nullopt);
    EXPECT_GT(catalog_->take_writer(disk("a"), "beta", "w").value().fence, second.fence);
}

TEST_P(CatalogContract, LastWriterIsKnownWhenItsLeaseHasEnded) {
    EXPECT_EQ(catalog_->last_writer(disk("a")).value(), std::nullopt);
    const auto lease = catalog_->take_writer(disk("a"), "beta", "w").value();
    EXPECT_EQ(catalog_->last_writer(disk("a")).value(), lease);
    now_ += 2 * kWriterLease.count();
    EXPECT_EQ(catalog_->last_writer(disk("a")).value(), lease);
    ASSERT_TRUE(catalog_->release_writer(lease));
    WriterLease given_back = lease;
    given_back.expires = 0;
    EXPECT_EQ(catalog_->last_writer(disk("a")).value(), given_back);
    EXPECT_EQ(catalog_->take_writer(disk("a"), "beta", "w").value().fence, lease.fence);
}

TEST_P(CatalogContract, HeartbeatTellsHowManyClientsThereAre) {
    ASSERT_TRUE(catalog_->put_server(server("delta", "nbd://d:1", "i-7")));
    const auto before = sequence();
    ASSERT_TRUE(catalog_->heartbeat("delta", "i-7", 3));
    EXPECT_EQ(catalog_->find_server("delta").value()->sessions, 3u);
    ASSERT_TRUE(catalog_->put_server(server("delta", "nbd://d:1", "i-7")));
    EXPECT_EQ(catalog_->find_server("delta").value()->sessions, 3u);
    ASSERT_TRUE(catalog_->heartbeat("delta", "i-7"));
    EXPECT_EQ(catalog_->find_server("delta").value()->sessions, 0u);
    EXPECT_EQ(sequence(), before);
}

TEST_P(CatalogContract, NowIsTheClockOfLeasesAndHeartbeats) {
    EXPECT_EQ(catalog_->now().value(), now_);
    now_ += 7200;
    EXPECT_EQ(catalog_->now().value(), now_);
}

TEST_P(CatalogContract, OddWritersAreRefused) {
    EXPECT_EQ(catalog_->take_writer(disk("a"), "../x", "w").error().code, Errc::invalid);
    EXPECT_EQ(catalog_->take_writer(disk("a"), "beta", "").error().code, Errc::invalid);
    EXPECT_EQ(catalog_->take_writer(disk("a"), "beta", "a\nb").error().code, Errc::invalid);
}

// Records put back.

TEST_P(CatalogContract, RestoredRecordsAreAsTheyWere) {
    Server put = server("delta", "nbd://d:1", "i-7");
    put.site = "oslo";
    put.priority_class = PriorityClass::site_low;
    put.draining = true;
    put.last_heartbeat = 1000;
    put.heartbeat_sequence = 55;
    const DiskRecord record{disk("x"), {stored("beta", 800), stored("delta", 900, '2')}};
    const auto before = sequence();
    ASSERT_TRUE(catalog_->restore({.servers = {put}, .disks = {record}}));
    EXPECT_GT(sequence(), before);
    EXPECT_EQ(catalog_->find_server("delta").value(), put);
    EXPECT_EQ(catalog_->find(disk("x")).value(), record);
    EXPECT_EQ(catalog_->totals().value().locations, 2u);
    EXPECT_TRUE(catalog_->check_integrity());
}

TEST_P(CatalogContract, NoRestoredGenerationIsGivenAgain) {
    ASSERT_TRUE(catalog_->restore({.disks = {{disk("x"), {stored("beta", 70'000)}}}}));
    EXPECT_EQ(catalog_->newest_generation().value(), 70'000u);
    ASSERT_TRUE(catalog_->restore({.generation_floor = 70'005}));
    ASSERT_TRUE(catalog_->restore({.generation_floor = 5}));
    EXPECT_EQ(catalog_->newest_generation().value(), 70'005u);
    publish("gamma", images({image("a")}));
    EXPECT_EQ(location("a").generation, 70'006u);
}

TEST_P(CatalogContract, RestoredLeaseIsTheLastOne) {
    ASSERT_TRUE(catalog_->take_writer(disk("a"), "gamma", "w"));
    const WriterLease lease{disk("a"), "beta", "v", 41, 0};
    ASSERT_TRUE(catalog_->restore({.writers = {lease}}));
    EXPECT_EQ(catalog_->last_writer(disk("a")).value(), lease);
    EXPECT_EQ(catalog_->take_writer(disk("a"), "gamma", "w").value().fence, 42u);
    for (const WriterLease& odd :
         {WriterLease{disk("a"), "../x", "v", 41, 0}, WriterLease{disk("a"), "beta", "", 41, 0},
          WriterLease{disk("a"), "beta", "v", 0, 0},
          WriterLease{disk("a"), "beta", "v", ~std::uint64_t{0}, 0},
          WriterLease{disk("a"), "beta", "v", 41, -1}})
        EXPECT_EQ(catalog_->restore({.writers = {odd}}).error().code, Errc::invalid);
}

TEST_P(CatalogContract, RestoredDiskReplacesWhatThereIs) {
    publish("beta", images({image("a"), image("b")}));
    publish("gamma", images({image("a")}));
    const DiskRecord record{disk("a"), {stored("gamma", 800)}};
    ASSERT_TRUE(catalog_->restore({.disks = {record}, .vanished = {disk("b"), disk("c")}}));
    EXPECT_EQ(catalog_->find(disk("a")).value(), record);
    EXPECT_EQ(listed(""), Names{"a"});
    EXPECT_EQ(catalog_->totals().value().disks, 1u);
}

TEST_P(CatalogContract, RestoringOneServersLeavesTheOthers) {
    publish("beta", images({image("a"), image("b"), image("c")}));
    publish("gamma", images({image("a"), image("b")}));
    const Location others = location_at("a", "gamma");
    const DiskRecord record{disk("a"), {stored("beta", 800), stored("gamma", 900)}};
    ASSERT_TRUE(catalog_->restore({.disks = {record}, .vanished = {disk("b")}, .only_of = "beta"}));
    EXPECT_EQ(location_at("a", "beta"), stored("beta", 800));
    EXPECT_EQ(location_at("a", "gamma"), others);
    EXPECT_EQ(location("b").server, "gamma");
    ASSERT_TRUE(catalog_->restore({.complete = true, .only_of = "beta"}));
    EXPECT_EQ(listed(""), (Names{"a", "b"}));
    EXPECT_EQ(catalog_->restore({.only_of = "nobody"}).error().code, Errc::not_found);
    EXPECT_TRUE(catalog_->check_integrity());
}

TEST_P(CatalogContract, CompleteRestorationIsAllThereIs) {
    publish("beta", images({image("a"), image("b")}));
    publish("gamma", images({image("a")}));
    const DiskRecord record{disk("a"), {stored("beta", 800), stored("gamma", 900)}};
    ASSERT_TRUE(
        catalog_->restore({.servers = {server("beta")}, .disks = {record}, .complete = true}));
    EXPECT_EQ(location("a"), stored("beta", 800));
    EXPECT_EQ(catalog_->servers().value().size(), 1u);
    EXPECT_EQ(listed(""), Names{"a"});
    EXPECT_EQ(catalog_->totals().value().locations, 1u);
    EXPECT_TRUE(catalog_->check_integrity());
}

TEST_P(CatalogContract, LocationOfAnUnknownServerIsLeftOut) {
    const DiskRecord known{disk("a"), {stored("beta", 800), stored("nobody", 801)}};
    const DiskRecord unknown{disk("b"), {stored("nobody", 802)}};
    ASSERT_TRUE(catalog_->restore({.disks = {known, unknown}}));
    EXPECT_EQ(location("a"), stored("beta", 800));
    EXPECT_EQ(listed(""), Names{"a"});
    EXPECT_TRUE(catalog_->check_integrity());
}

TEST_P(CatalogContract, OddRestorationsChangeNothing) {
    publish("beta", images({image("a")}));
    const auto before = location("a");
    const auto refuse = [&](const Restoration& records) {
        const auto refused = catalog_->restore(records);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::invalid);
        EXPECT_EQ(location("a"), before);
    };
    const DiskRecord good{disk("a"), {stored("beta", 800)}};
    refuse({.disks = {good, good}});
    refuse({.disks = {{disk("a"), {stored("beta", 800), stored("beta", 801)}}}});
    refuse({.servers = {server("beta"), server("beta")}, .disks = {good}});
    refuse({.servers = {server("../x")}, .disks = {good}});
    refuse({.disks = {{disk("a"), {stored("beta", 0)}}}});
    refuse({.disks = {{disk("a"), {stored("beta", std::uint64_t{1} << 62)}}}});
    refuse({.disks = {good}, .generation_floor = ~std::uint64_t{0}});
}

// Imports.

TEST_P(CatalogContract, ImportNeedsAnEmptyCatalog) {
    EXPECT_EQ(catalog_->begin_import().error().code, Errc::conflict);
    EXPECT_EQ(catalog_->servers().value().size(), 2u);
}

TEST_P(CatalogContract, WaitingForAChangeEndsWithIt) {
    const auto soon = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    EXPECT_EQ(catalog_->wait_for_change(sequence() - 1, soon).value(), sequence());
    EXPECT_EQ(catalog_->wait_for_change(sequence(), {}).value(), sequence());
}

}  // namespace signpost::test
