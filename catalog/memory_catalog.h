// SPDX-License-Identifier: BSD-3-Clause
//
// MemoryCatalog keeps the catalog in this process's memory: for tests, with the meaning of the
// stores that last.
//
// Lifetime and threads: as Catalog.

#pragma once

#include <map>
#include <mutex>

#include "catalog/store_rules.h"

namespace signpost {

class MemoryCatalog : public Catalog {
   public:
    explicit MemoryCatalog(StoreClock clock = system_store_clock()) : clock_(std::move(clock)) {}

    Result<std::optional<DiskRecord>> find(const DiskName& name) override;
    Result<std::vector<DiskRecord>> list(std::string_view prefix, std::string_view after,
                                         std::size_t limit) override;
    Result<std::vector<DiskRecord>> search(std::string_view text, std::string_view after,
                                           std::size_t limit) override;
    Result<PublishSummary> publish(std::string_view server, const Publication& change) override;
    Result<void> mark_changed(const DiskName& disk, std::string_view server) override;
    Result<void> record_digest(const DigestRecord& record) override;
    Result<void> set_location_state(const DiskName& disk, std::string_view server,
                                    std::uint64_t generation, LocationState state) override;
    Result<void> put_server(const Server& server) override;
    Result<void> set_draining(std::string_view server, bool draining) override;
    Result<void> remove_server(std::string_view name) override;
    Result<std::vector<Server>> servers() override;
    Result<std::optional<Server>> find_server(std::string_view name) override;
    Result<std::int64_t> now() override;
    Result<void> heartbeat(std::string_view name, std::string_view instance,
                           std::uint32_t sessions = 0) override;
    Result<std::vector<SiteCost>> site_costs() override;
    Result<void> put_site_cost(const SiteCost& cost) override;
    Result<void> put_job(const Job& job) override;
    Result<std::vector<Job>> jobs(std::string_view target) override;
    Result<void> report_job(const Job& job) override;
    Result<WriterLease> take_writer(const DiskName& disk, std::string_view server,
                                    std::string_view writer) override;
    Result<void> release_writer(const WriterLease& lease) override;
    Result<std::optional<WriterLease>> writer(const DiskName& disk) override;
    Result<std::optional<WriterLease>> last_writer(const DiskName& disk) override;
    Result<std::optional<std::string>> boot_profile(const DiskName& disk) override;
    Result<void> put_boot_profile(const DiskName& disk, std::string_view profile) override;
    Result<void> restore(const Restoration& records) override;
    Result<std::uint64_t> newest_generation() override;
    Result<void> begin_import() override;
    Result<void> end_import() override;
    Result<std::uint64_t> change_sequence() override;
    Result<Totals> totals() override;
    std::uint64_t skipped_rows() const override { return 0; }
    std::string description() const override { return "memory"; }

   private:
    struct StoredServer {
        Server server;
        std::int64_t last_complete = 0;
    };
    struct StoredProfile {
        std::string profile;
        std::int64_t learned = 0;
    };
    using Holdings = std::map<std::string, Location, std::less<>>;  // by server
    using Disks = std::map<DiskName, Holdings>;

    DiskRecord record(const DiskName& name, const Holdings& holdings) const;
    Location* held(const DiskName& disk, std::string_view server);
    void publish_image(const Image& image, std::string_view server, std::uint64_t generation,
                       PublishSummary& summary);
    bool withdraw(const DiskName& disk, std::string_view server);
    std::vector<DiskName> disks_of(std::string_view server) const;
    void restore_disk(const DiskRecord& disk, std::string_view only_of);
    void withdraw_other(const Restoration& records, const std::vector<const DiskRecord*>& kept);
    void forget_jobs();
    bool is_empty() const;
    template <class Wanted>
    std::vector<DiskRecord> page(Disks::const_iterator from, std::size_t limit,
                                 Wanted wanted) const;
    Disks::const_iterator first_after(std::string_view after) const;

    const StoreClock clock_;
    std::mutex mutex_;  // guards what follows; held for one call, never across another
    std::map<std::string, StoredServer, std::less<>> servers_;
    Disks disks_;
    std::map<std::pair<std::string, std::string>, int> site_costs_;
    std::map<std::string, Job, std::less<>> jobs_;
    std::map<DiskName, WriterLease> writers_;
    std::map<DiskName, StoredProfile> boot_profiles_;
    std::uint64_t sequence_ = 0;
    std::uint64_t generation_ = 0;
    bool importing_ = false;
};

}  // namespace signpost
