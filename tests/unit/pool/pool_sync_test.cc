// SPDX-License-Identifier: BSD-3-Clause
//
// Whole passes: a catalog in memory, a directory on disk, and libvirt's test hypervisor.

#include "libvirt-pool/pool_sync.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "catalog/memory_catalog.h"
#include "libvirt-pool/machine_references.h"
#include "libvirt-pool/pool_file.h"
#include "tests/unit/disk/programs.h"

namespace signpost::test {

using Step = PoolPlan::Step;
using Matter = PoolPlan::Matter;

class PoolSyncTest : public testing::Test {
   protected:
    PoolSyncTest() : directory_(*PoolDirectory::open(tree_.path("pool"), true)) {
        Server beta;
        beta.name = "beta";
        EXPECT_TRUE(catalog_.put_server(beta));
        EXPECT_TRUE(host_.define_pool("p", directory_.path()));
    }

    void publish(const std::vector<std::pair<std::string, std::uint64_t>>& disks) {
        Publication change{.complete = true};
        for (const auto& [name, size] : disks) {
            change.images.push_back({.name = *DiskName::parse(name),
                                     .export_name = name,
                                     .size = size,
                                     .fingerprint = "f"});
        }
        ASSERT_TRUE(catalog_.publish("beta", change));
    }

    SyncReport sync(bool dry_run = false) {
        const auto report =
            sync_pool({"p", dry_run, false, nullptr}, settings_, catalog_, host_, directory_);
        EXPECT_TRUE(report) << (report ? "" : report.error().message);
        return report.value_or(SyncReport{});
    }

    std::vector<std::string> files() const {
        std::vector<std::string> names;
        const auto volumes = directory_.list();
        for (const PresentVolume& volume : *volumes) {
            names.push_back(volume.file);
        }
        return names;
    }

    void write_into(const std::string& file) {
        const UniqueFd fd(::openat(directory_.descriptor(), file.c_str(), O_RDWR | O_CLOEXEC));
        ASSERT_EQ(::pwrite(fd.get(), "x", 1, 1 << 20), 1);
    }

    TempDirectory tree_;
    MemoryCatalog catalog_;
    LibvirtHost host_ = *LibvirtHost::connect("test:///default");
    PoolDirectory directory_;
    PoolSettings settings_{*NbdUri::parse("nbd+unix:///?socket=/run/s.sock"), "", {}};
};

TEST_F(PoolSyncTest, MakesAVolumeForEachDisk) {
    publish({{"web01/vda", 1 << 20}, {"web01/vdb", 1000}});
    const SyncReport report = sync();
    EXPECT_EQ(report.plan.actions.size(), 2U);
    EXPECT_TRUE(report.failed.empty());
    EXPECT_TRUE(report.refreshed);
    EXPECT_EQ(files(), (std::vector<std::string>{"web01%2Fvda.qcow2", "web01%2Fvdb.qcow2"}));
    const auto facts = inspect_volume(directory_.descriptor(), "web01%2Fvdb.qcow2");
    EXPECT_EQ(facts->terms, (VolumeTerms{1024, "nbd+unix:///web01/vdb?socket=/run/s.sock"}));
}

TEST_F(PoolSyncTest, ASecondPassHasNothingToDo) {
    publish({{"a", 512}, {"b", 512}});
    sync();
    const SyncReport again = sync();
    EXPECT_TRUE(again.plan.actions.empty());
    EXPECT_EQ(again.plan.unchanged, 2U);
    EXPECT_FALSE(again.refreshed);
}

TEST_F(PoolSyncTest, FollowsTheCatalog) {
    publish({{"a", 512}, {"b", 512}});
    sync();
    publish({{"b", 1024}, {"c", 512}});
    sync();
    EXPECT_EQ(files(), (std::vector<std::string>{"b.qcow2", "c.qcow2"}));
    EXPECT_EQ(inspect_volume(directory_.descriptor(), "b.qcow2")->terms.size, 1024U);
}

TEST_F(PoolSyncTest, ADryRunChangesNothing) {
    publish({{"a", 512}});
    EXPECT_EQ(sync(true).plan.actions.size(), 1U);
    EXPECT_TRUE(files().empty());
}

TEST_F(PoolSyncTest, WithoutLibvirtOnlyWhatIsMissingIsMade) {
    publish({{"a", 512}, {"b", 512}, {"c", 512}});
    sync();
    ASSERT_EQ(::unlinkat(directory_.descriptor(), "c.qcow2", 0), 0);
    publish({{"a", 1024}, {"c", 512}, {"d", 512}});
    const auto report =
        sync_pool_offline({"p", false, true, nullptr}, settings_, catalog_, directory_);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->offline);
    EXPECT_FALSE(report->refreshed);
    EXPECT_EQ(report->plan.actions.size(), 2U);
    EXPECT_EQ(report->plan.remarks,
              (std::vector<PoolPlan::Remark>{{Matter::held_back, "a.qcow2"},
                                             {Matter::held_back, "b.qcow2"}}));
    EXPECT_EQ(files(), (std::vector<std::string>{"a.qcow2", "b.qcow2", "c.qcow2", "d.qcow2"}));
    EXPECT_EQ(inspect_volume(directory_.descriptor(), "a.qcow2")->terms.size, 512U);
}

TEST_F(PoolSyncTest, ADryRunWithoutLibvirtChangesNothing) {
    publish({{"a", 512}});
    EXPECT_TRUE(sync_pool_offline({"p", true, false, nullptr}, settings_, catalog_, directory_));
    EXPECT_TRUE(files().empty());
}

TEST_F(PoolSyncTest, WhatAMachineHasWrittenStays) {
    publish({{"a", 1 << 20}, {"b", 1 << 20}});
    sync();
    write_into("a.qcow2");
    publish({{"b", 1 << 20}});
    const SyncReport report = sync();
    EXPECT_TRUE(report.plan.actions.empty());
    EXPECT_EQ(report.plan.remarks, (std::vector<PoolPlan::Remark>{{Matter::orphan, "a.qcow2"}}));
    EXPECT_EQ(files().size(), 2U);
}

TEST_F(PoolSyncTest, TheVolumeOfAMachineThatIsOffStays) {
    publish({{"a", 1 << 20}});
    sync();
    ASSERT_TRUE(host_.define_machine(
        "<domain type='test'><name>off</name><memory>1024</memory><os><type>hvm</type></os>"
        "<devices><disk type='file'><source file='" +
        directory_.path() + "/a.qcow2'/><target dev='vda'/></disk></devices></domain>"));
    publish({});
    const SyncReport report = sync();
    EXPECT_TRUE(report.plan.actions.empty());
    EXPECT_EQ(report.plan.remarks, (std::vector<PoolPlan::Remark>{{Matter::held_back, "a.qcow2"}}));
}

TEST_F(PoolSyncTest, TheVolumeBehindAnImageElsewhereStays) {
    publish({{"a", 1 << 20}});
    sync();
    const PoolDirectory elsewhere = *PoolDirectory::open(tree_.path("elsewhere"), true);
    ASSERT_TRUE(write_volume(elsewhere.descriptor(), "top.qcow2", {1 << 20, "../pool/a.qcow2"}));
    const MachineFacts machine{.name = "m",
                               .xml = "<domain><devices><disk><source file='" + elsewhere.path() +
                                      "/top.qcow2'/></disk></devices></domain>",
                               .next_xml = "<domain/>"};
    const auto files = referenced_files({machine}, "p", directory_, {});
    ASSERT_TRUE(files);
    EXPECT_EQ(*files, (FileOwners{{"a.qcow2", "m"}}));
}

TEST_F(PoolSyncTest, ImagesThatAreBasedOnEachOtherEndSomewhere) {
    ASSERT_TRUE(write_volume(directory_.descriptor(), "x.qcow2", {512, "y.qcow2"}));
    ASSERT_TRUE(write_volume(directory_.descriptor(), "y.qcow2", {512, "x.qcow2"}));
    const MachineFacts machine{.name = "m",
                               .xml = "<domain><devices><disk><source file='" + directory_.path() +
                                      "/x.qcow2'/></disk></devices></domain>",
                               .next_xml = "<domain/>"};
    EXPECT_EQ(referenced_files({machine}, "p", directory_, {})->size(), 2U);
}

TEST_F(PoolSyncTest, AMachineThatCannotBeReadStopsThePass) {
    EXPECT_EQ(referenced_files({{.name = "m", .xml = "<dom"}}, "p", directory_, {}).error().code,
              Errc::invalid);
}

TEST_F(PoolSyncTest, SettingsAreKeptBesideTheDirectory) {
    ASSERT_TRUE(directory_.make_records());
    settings_.selection = {{"web*/vda", "db01/"}, "beta", 3};
    settings_.catalog = "sqlite:/srv/c.db";
    ASSERT_TRUE(write_settings(directory_.records(), settings_));
    const PoolDirectory again = *PoolDirectory::open(directory_.path());
    EXPECT_EQ(*read_settings(again.records()), settings_);
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(PoolSyncTest, SettingsOfAnEarlierVersionAreRead) {
    ASSERT_TRUE(write_state(directory_.descriptor(), "pool.json",
                            R"({"via": "nbd://x", "catalog": "", "server": "b", "match": ["a"]})"));
    const auto settings = read_settings(directory_.descriptor());
    ASSERT_TRUE(settings);
    EXPECT_EQ(settings->selection, (Selection{{"a"}, "b", 0}));
}

TEST_F(PoolSyncTest, SettingsThatSomebodyHasChangedAreRefused) {
    EXPECT_EQ(read_settings(directory_.descriptor()).error().code, Errc::not_found);
    for (const char* text : {"", "[]", "{\"via\": 7}", "null",
                             R"({"via": "http://x", "catalog": "", "server": "", "match": []})",
                             R"({"via": "nbd://x", "catalog": "", "server": "", "match": [1]})",
                             R"({"via": "nbd://x", "catalog": "", "server": "", "match": [],)"
                             R"( "newest": -1})"}) {
        ASSERT_TRUE(write_state(directory_.descriptor(), "pool.json", text));
        const auto refused = read_settings(directory_.descriptor());
        ASSERT_FALSE(refused) << text;
        EXPECT_EQ(refused.error().code, Errc::invalid);
    }
}

TEST_F(PoolSyncTest, OnlyTheNewestRestorePointsOfEachDiskAreShown) {
    settings_.selection.newest = 2;
    publish({{"d/a@2026-11-18", 512},
             {"d/a@2026-11-19T02:00", 512},
             {"d/a@20261120", 512},
             {"b@2025-01-01", 512},
             {"b", 512},
             {"c@home", 512}});
    sync();
    const std::vector<std::string> shown = {"b.qcow2", "b@2025-01-01.qcow2", "c@home.qcow2",
                                            "d%2Fa@2026-11-19T02%3A00.qcow2",
                                            "d%2Fa@20261120.qcow2"};
    EXPECT_EQ(files(), shown);
    settings_.selection.newest = 0;
    sync();
    EXPECT_EQ(files().size(), 6U);
}

TEST_F(PoolSyncTest, ASelectionIsOfNamesPrefixesPatternsAndServers) {
    const auto disk = [](const char* name) {
        Location location;
        location.server = "beta";
        return DiskRecord{*DiskName::parse(name), {location}};
    };
    const Selection selection{{"web*/vda", "db01/", "mail"}, "", 0};
    for (const char* name : {"web01/vda", "db01/vdb", "mail"}) {
        EXPECT_TRUE(selection.matches(disk(name))) << name;
    }
    for (const char* name : {"web01/vdb", "db01", "mail/vda"}) {
        EXPECT_FALSE(selection.matches(disk(name))) << name;
    }
    EXPECT_TRUE((Selection{{}, "beta", 0}.matches(disk("x"))));
    EXPECT_FALSE((Selection{{}, "alpha", 0}.matches(disk("x"))));
}

}  // namespace signpost::test
