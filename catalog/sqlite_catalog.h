// SPDX-License-Identifier: BSD-3-Clause
//
// SqliteCatalog keeps the catalog in one SQLite file on this machine, which several processes use
// at once (write-ahead log; SCHEMA.md has the tables). Look-ups have connections of their own, so
// that a large publication does not delay them.
//
// Lifetime and threads: as Catalog. It must not be carried across a fork: open it after.

#pragma once

#include "catalog/sqlite_pool.h"
#include "catalog/sqlite_publish.h"
#include "catalog/sqlite_rows.h"
#include "catalog/sqlite_schema.h"
#include "catalog/store_rules.h"

namespace signpost {

class SqliteCatalog : public Catalog {
   public:
    // PATH is absolute. Errors: as open_catalog.
    static Result<std::unique_ptr<Catalog>> open(const std::string& path, OpenMode mode,
                                                 StoreClock clock = system_store_clock());

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
    std::chrono::milliseconds look_interval() const override;
    Result<Totals> totals() override;
    Result<void> check_integrity() override;
    int schema_version() const override { return static_cast<int>(catalog_migrations().size()); }
    std::uint64_t skipped_rows() const override { return skipped_; }
    std::string description() const override { return "sqlite:" + path_; }

   private:
    SqliteCatalog(std::string path, OpenMode mode, StoreClock clock);

    Result<void> check_at_open(std::int64_t size);
    Result<void> check_whole(Connection& connection) const;

    // Calls FN with a connection, and gives what it gives unless the connection failed. READ stops
    // after WORK; CHANGE is one transaction.
    template <class Fn>
    auto read(std::chrono::milliseconds work, Fn fn) -> decltype(fn(std::declval<Connection&>()));
    template <class Fn>
    auto change(Fn fn) -> decltype(fn(std::declval<Connection&>()));
    Result<ConnectionPool::Lease> write_lease();

    Result<PublishPlan> plan_apart(std::string_view server, const Publication& change,
                                   const std::vector<const Image*>& ordered);
    std::optional<Server> load_server(Connection& connection, std::string_view name);

    const std::string path_;
    const OpenMode mode_;
    const StoreClock clock_;
    SkipCount skipped_{0};
    ConnectionPool readers_;
    ConnectionPool writer_;
    Connection::Time next_change_{};  // not before then; who has the writer has this
};

}  // namespace signpost
