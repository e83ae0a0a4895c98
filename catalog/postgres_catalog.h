// SPDX-License-Identifier: BSD-3-Clause
//
// PostgresCatalog keeps the catalog in a PostgreSQL database, for all servers of a federation
// (SCHEMA.md has the tables). It may be unreachable at any time: each call ends within its bound,
// and while the server is known to be away it fails at once.
//
// Bounds: kLookupWait for a look-up, a little more for a long page, kSearchWait for a search and
// for counting; kChangeWait for a change, and for each piece of a large publication.
//
// A call that lost its connection, or was refused for no fault of its own (a deadlock, a primary
// that has become a standby) is made again on a fresh connection, within its bound. That is safe,
// also when the server may have committed before the connection was lost: a look-up changes
// nothing; a registration, a heartbeat, a digest and a publication give the same when they are made
// twice; a mark_changed made twice only gives a generation that nobody has seen; a server that is
// gone at the second attempt was removed by the first.
//
// Lifetime and threads: as Catalog. It must not be carried across a fork: open it after.

#pragma once

#include <mutex>

#include "catalog/postgres_listener.h"
#include "catalog/postgres_pool.h"
#include "catalog/postgres_schema.h"
#include "catalog/store_rules.h"

namespace signpost {

inline constexpr std::chrono::milliseconds kSearchWait{30'000};

// The bounds of calls; tests on a busy machine have more patience.
struct PostgresWaits {
    std::chrono::milliseconds look_up = kLookupWait;
    std::chrono::milliseconds change = kChangeWait;
    std::chrono::milliseconds search = kSearchWait;
    // For the first connection, until a look-up is told that there is no server.
    std::chrono::milliseconds dial{450};
    bool patient = false;  // waits for a server to the bound, also where there was none just now
};

// A command's. A server that refuses connections is told of at once all the same.
inline constexpr PostgresWaits kPersonsWaits{.look_up = std::chrono::seconds(5),
                                             .change = std::chrono::seconds(30),
                                             .dial = std::chrono::seconds(5)};

class PostgresCatalog : public Catalog {
   public:
    // URI: as libpq takes it. CLOCK: empty for the database's. Errors: as open_catalog; unavailable
    // while there is no server.
    static Result<std::unique_ptr<Catalog>> open(std::string_view uri, OpenMode mode,
                                                 StoreClock clock = {},
                                                 PostgresWaits waits = {});

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
    std::shared_ptr<void> when_changed(std::function<void()> told) override;
    // Of a large catalog up to a minute old.
    Result<Totals> totals() override;
    Result<void> check_integrity() override;
    Result<std::vector<std::string>> grant_rights() override;
    int schema_version() const override { return static_cast<int>(postgres_migrations().size()); }
    std::uint64_t skipped_rows() const override { return skipped_; }
    std::string description() const override { return pool_.target().description; }

   private:
    using Need = PostgresPool::Need;

    PostgresCatalog(PostgresTarget target, OpenMode mode, StoreClock clock, PostgresWaits waits);

    Result<void> check_at_open();
    Result<void> make_tables();
    Result<void> check_fresh(PostgresConnection& connection);

    // Calls FN with a connection, and gives what it gives unless the connection failed. READ and
    // CHANGE look at a fresh connection's tables first; CHANGE is one transaction.
    template <class Fn>
    auto call(Need need, std::chrono::milliseconds wait, Fn fn)
        -> decltype(fn(std::declval<PostgresConnection&>()));
    template <class Fn>
    auto read(std::chrono::milliseconds wait, Fn fn)
        -> decltype(fn(std::declval<PostgresConnection&>()));
    template <class Fn>
    auto change(Fn fn) -> decltype(fn(std::declval<PostgresConnection&>()));
    Result<void> may_change() const;
    Result<void> check_whole(PostgresConnection& connection) const;
    bool stopped_by_import(PostgresConnection& connection) const;
    template <class Fn>
    Result<void> count_change(Fn counted);
    // As the last statement of a change.
    void bump(PostgresConnection& connection) const;

    Result<std::vector<DiskRecord>> page(const PostgresStatement& statement,
                                         const std::string& pattern, std::string_view after,
                                         std::size_t limit, std::chrono::milliseconds wait);
    std::optional<Server> load_server(PostgresConnection& connection, std::string_view name);
    std::optional<std::int64_t> forged_now() const;
    std::int64_t time(PostgresConnection& connection) const;

    const OpenMode mode_;
    const StoreClock clock_;
    const PostgresWaits waits_;
    std::atomic<bool> has_notify_ = false;
    SkipCount skipped_{0};
    PostgresPool pool_;
    const std::shared_ptr<ChangeHints> hints_ = std::make_shared<ChangeHints>();
    std::mutex listening_;
    std::unique_ptr<PostgresListener> listener_;  // guarded by listening_; made when first wanted
};

}  // namespace signpost
