// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "catalog/row_check.h"
#include "catalog/sqlite_queries.h"
#include "catalog/sqlite_restore.h"
#include "catalog/sqlite_schema.h"
#include "catalog/sqlite_small_tables.h"

namespace signpost {

namespace {

constexpr std::size_t kReaders = 4;
constexpr std::int64_t kCheckAtOpenBytes = 64 << 20;
// The check at open reads each page once: kept, they would be memory for nothing.
constexpr int kCheckCacheKib = 256;
// A search reads every name: seconds with ten million.
constexpr std::chrono::milliseconds kSearchWork{30'000};
// Above this many images, what changed is found before the write lock is taken.
constexpr std::size_t kPlanApartImages = 1000;

// SQLite keeps no queue for its write lock: who waits looks now and then, and a process that makes
// one change after the other would take it again before any of them has looked. So each change is
// followed by a rest, a part of the time for which it had the lock, and never longer than others
// need to look several times.
constexpr std::chrono::milliseconds kLongestRest{20};

// Sets the end of the rest when a change ends, however that ends.
class RestAfterChange {
   public:
    explicit RestAfterChange(Connection::Time& end) : end_(end) {}
    RestAfterChange(const RestAfterChange&) = delete;
    RestAfterChange& operator=(const RestAfterChange&) = delete;
    ~RestAfterChange() {
        const auto now = std::chrono::steady_clock::now();
        end_ = now + std::min<std::chrono::nanoseconds>((now - begun_) / 2, kLongestRest);
    }

   private:
    Connection::Time& end_;
    const Connection::Time begun_ = std::chrono::steady_clock::now();
};

std::unexpected<Error> older_release(const std::string& path) {
    return fail(Errc::denied,
                fmt::format("catalog {} has the tables of an older release and can only be read; "
                            "let somebody who may write it run: signpost catalog init",
                            escaped(path)));
}

std::unexpected<Error> read_only_catalog(const std::string& path, std::string_view why) {
    return fail(Errc::denied, fmt::format("catalog {} is read-only: {}", escaped(path), why));
}

}  // namespace

SqliteCatalog::SqliteCatalog(std::string path, OpenMode mode, StoreClock clock)
    : path_(std::move(path)),
      mode_(mode),
      clock_(std::move(clock)),
      readers_({.path = path_,
                .access = mode == OpenMode::read_only ? Connection::Access::read_only
                                                      : Connection::Access::read_write,
                .may_be_immutable = true,
                .capacity = kReaders,
                .wait = kLookupWait}),
      writer_({.path = path_, .capacity = 1, .wait = kChangeWait}) {}

Result<std::unique_ptr<Catalog>> SqliteCatalog::open(const std::string& path, OpenMode mode,
                                                     StoreClock clock) {
    auto stamp = stamp_file(path);
    if (!stamp && stamp.error().code == Errc::not_found &&
        (mode == OpenMode::create || mode == OpenMode::import)) {
        if (auto made = create_catalog_file(path); !made)
            return std::unexpected(std::move(made.error()));
        stamp = stamp_file(path);
    }
    if (!stamp)
        return std::unexpected(std::move(stamp.error()));
    std::unique_ptr<SqliteCatalog> catalog(new SqliteCatalog(path, mode, std::move(clock)));
    if (auto checked = catalog->check_at_open(stamp->size); !checked)
        return std::unexpected(std::move(checked.error()));
    return catalog;
}

Result<void> SqliteCatalog::check_at_open(std::int64_t size) {
    auto reader = readers_.lease();
    if (!reader)
        return std::unexpected(std::move(reader.error()));
    const auto version = check_catalog(**reader);
    if (!version)
        return std::unexpected(version.error());
    if (size <= kCheckAtOpenBytes) {
        (*reader)->set_cache_kib(kCheckCacheKib);
        if (auto checked = check_pages(**reader, false); !checked)
            return checked;
        (*reader)->set_cache_kib(kCacheKib);
    }
    if (*version == static_cast<int>(catalog_migrations().size()))
        return check_whole(**reader);
    if (mode_ == OpenMode::read_only)
        return older_release(path_);
    auto lease = write_lease();
    return lease ? migrate_catalog(**lease) : std::unexpected(std::move(lease.error()));
}

Result<void> SqliteCatalog::check_whole(Connection& connection) const {
    const bool importing = read_state(connection).importing;
    if (auto status = connection.status(); !status)
        return status;
    if (importing && mode_ != OpenMode::import)
        return half_imported(escaped(description()));
    return {};
}

Result<ConnectionPool::Lease> SqliteCatalog::write_lease() {
    if (mode_ == OpenMode::read_only)
        return read_only_catalog(path_, "it was opened for reading only");
    auto lease = writer_.lease();
    if (lease && (*lease)->is_read_only())
        return read_only_catalog(path_,
                                 "give this user write permission on the file and its "
                                 "directory");
    return lease;
}

template <class Fn>
auto SqliteCatalog::read(std::chrono::milliseconds work, Fn fn)
    -> decltype(fn(std::declval<Connection&>())) {
    auto lease = readers_.lease();
    if (!lease)
        return std::unexpected(std::move(lease.error()));
    Connection& connection = **lease;
    connection.set_work_deadline(std::chrono::steady_clock::now() + work);
    auto result = fn(connection);
    if (auto status = connection.status(); !status)
        return std::unexpected(std::move(status.error()));
    return result;
}

template <class Fn>
auto SqliteCatalog::change(Fn fn) -> decltype(fn(std::declval<Connection&>())) {
    auto lease = write_lease();
    if (!lease)
        return std::unexpected(std::move(lease.error()));
    Connection& connection = **lease;
    std::this_thread::sleep_until(next_change_);
    std::optional<RestAfterChange> rest;  // begins when the transaction has ended
    Transaction transaction(connection);
    if (auto begun = transaction.begin_write(); !begun)
        return std::unexpected(std::move(begun.error()));
    rest.emplace(next_change_);
    if (auto whole = check_whole(connection); !whole)
        return std::unexpected(std::move(whole.error()));
    auto result = fn(connection);
    // What FN made of a failed statement (no row, so no such server) would mislead.
    if (auto status = connection.status(); !status)
        return std::unexpected(std::move(status.error()));
    if (result)
        if (auto done = transaction.commit(); !done)
            return std::unexpected(std::move(done.error()));
    return result;
}

Result<std::optional<DiskRecord>> SqliteCatalog::find(const DiskName& name) {
    return read(kLookupWait, [&](Connection& connection) -> Result<std::optional<DiskRecord>> {
        Statement rows = connection.use(sql::kFindDisk);
        rows.bind(name.str());
        auto disks = read_disks(rows, name.str(), 1, skipped_);
        if (disks.empty())
            return std::nullopt;
        return std::move(disks.front());
    });
}

Result<std::vector<DiskRecord>> SqliteCatalog::list(std::string_view prefix, std::string_view after,
                                                    std::size_t limit) {
    using Page = std::vector<DiskRecord>;
    if (auto checked = check_limit(limit); !checked)
        return std::unexpected(std::move(checked.error()));
    if (prefix.size() > DiskName::kMaxBytes)
        return Page();
    return read(kChangeWait, [&](Connection& connection) -> Result<Page> {
        const bool from_prefix = after.empty() || after < prefix;
        Statement rows = connection.use(from_prefix ? sql::kListFrom : sql::kListAfter);
        rows.bind(from_prefix ? prefix : after);
        return read_disks(rows, prefix, limit, skipped_);
    });
}

Result<std::vector<DiskRecord>> SqliteCatalog::search(std::string_view text, std::string_view after,
                                                      std::size_t limit) {
    using Page = std::vector<DiskRecord>;
    if (auto checked = check_limit(limit); !checked)
        return std::unexpected(std::move(checked.error()));
    if (!may_occur_in_names(text))
        return Page();
    return read(kSearchWork, [&](Connection& connection) -> Result<Page> {
        const std::string pattern = fmt::format("%{}%", like_literal(text));
        Statement rows = connection.use(sql::kSearchAfter);
        rows.bind(after).bind(pattern);
        return read_disks(rows, "", limit, skipped_);
    });
}

// What differs, found on a connection for reading: the write lock, which holds up every other
// process, is then taken for the changes alone. Whether the plan still fits is checked under it.
Result<PublishPlan> SqliteCatalog::plan_apart(std::string_view server, const Publication& change,
                                              const std::vector<const Image*>& ordered) {
    auto lease = readers_.lease();
    if (!lease)
        return std::unexpected(std::move(lease.error()));
    Transaction moment(**lease);
    if (auto begun = moment.begin_read(); !begun)
        return std::unexpected(std::move(begun.error()));
    const std::int64_t id = find_server_id(**lease, server);
    PublishPlan plan = plan_publication(**lease, id, change, ordered);
    if (auto status = (*lease)->status(); !status)
        return std::unexpected(std::move(status.error()));
    return plan;
}

Result<PublishSummary> SqliteCatalog::publish(std::string_view server,
                                              const Publication& publication) {
    const auto ordered = ordered_images(publication);
    if (!ordered)
        return std::unexpected(ordered.error());
    std::optional<PublishPlan> plan;
    if (ordered->size() > kPlanApartImages) {
        auto made = plan_apart(server, publication, *ordered);
        if (!made)
            return std::unexpected(std::move(made.error()));
        plan = std::move(*made);
    }
    return change([&](Connection& connection) -> Result<PublishSummary> {
        const PublishTarget target{find_server_id(connection, server), clock_()};
        if (target.server_id == 0)
            return no_server(server);
        if (!plan || plan->change_sequence != read_state(connection).change_sequence)
            plan = plan_publication(connection, target.server_id, publication, *ordered);
        touch_unchanged(connection, target, *plan, publication.complete);
        return plan->changes_nothing() ? PublishSummary() : apply_plan(connection, target, *plan);
    });
}

Result<void> SqliteCatalog::mark_changed(const DiskName& disk, std::string_view server) {
    return change([&](Connection& connection) -> Result<void> {
        const std::int64_t generation = read_state(connection).generation + 1;
        connection.use(sql::kMarkChanged)
            .bind(generation)
            .bind(find_disk_id(connection, disk))
            .bind(find_server_id(connection, server))
            .run();
        if (connection.changed_rows() == 0)
            return no_location(disk, server);
        add_to_state(connection, {.generation = generation});
        return {};
    });
}

Result<void> SqliteCatalog::record_digest(const DigestRecord& record) {
    const auto digest = digest_bytes(record.digest);
    if (!digest)
        return bad_digest(record);
    return change([&](Connection& connection) -> Result<void> {
        const std::int64_t disk = find_disk_id(connection, record.disk);
        const std::int64_t server = find_server_id(connection, record.server);
        const auto held = read_location(connection, disk, server, record.disk);
        if (!held)
            return no_location(record.disk, record.server);
        if (auto checked = check_new_digest(record, *held); !checked)
            return checked;
        const bool damaged = held->state == LocationState::damaged;
        const auto state = damaged ? LocationState::ready : held->state;
        connection.use(sql::kSetDigest)
            .bind_blob(*digest)
            .bind(clock_())
            .bind(static_cast<std::int64_t>(state))
            .bind(disk)
            .bind(server)
            .run();
        if (held->digest == record.digest && !damaged)
            return {};
        connection.use(sql::kCommonGeneration)
            .bind(disk)
            .bind_blob(*digest)
            .bind(static_cast<std::int64_t>(held->size))
            .run();
        add_to_state(connection, {});
        return {};
    });
}

Result<void> SqliteCatalog::set_location_state(const DiskName& name, std::string_view server,
                                               std::uint64_t generation, LocationState state) {
    return change([&](Connection& connection) -> Result<void> {
        const std::int64_t disk = find_disk_id(connection, name);
        const std::int64_t holder = find_server_id(connection, server);
        const auto held = read_location(connection, disk, holder, name);
        if (!held)
            return no_location(name, server);
        if (held->generation != generation)
            return changed_meanwhile(name, server);
        if (held->state == state)
            return {};
        connection.use(sql::kSetLocationState)
            .bind(static_cast<std::int64_t>(state))
            .bind(disk)
            .bind(holder)
            .run();
        add_to_state(connection, {});
        return {};
    });
}

std::optional<Server> SqliteCatalog::load_server(Connection& connection, std::string_view name) {
    Statement rows = connection.use(sql::kFindServer);
    rows.bind(name);
    auto servers = read_servers(rows, skipped_);
    return servers.empty() ? std::nullopt : std::optional(std::move(servers.front()));
}

Result<void> SqliteCatalog::put_server(const Server& server) {
    if (auto checked = check_server(server); !checked)
        return checked;
    return change([&](Connection& connection) -> Result<void> {
        const auto held = load_server(connection, server.name);
        const auto stored = registration(server, held, clock_());
        if (!stored)
            return std::unexpected(stored.error());
        put_server_row(connection, *stored);
        if (held && same_registration(*held, *stored))
            return {};
        put_uris(connection, find_server_id(connection, server.name), stored->uris);
        add_to_state(connection, {});
        return {};
    });
}

Result<void> SqliteCatalog::set_draining(std::string_view server, bool draining) {
    return change([&](Connection& connection) -> Result<void> {
        if (find_server_id(connection, server) == 0)
            return no_server(server);
        connection.use(sql::kSetDraining).bind(std::int64_t{draining}).bind(server).run();
        if (connection.changed_rows() > 0)
            add_to_state(connection, {});
        return {};
    });
}

Result<void> SqliteCatalog::remove_server(std::string_view name) {
    return change([&](Connection& connection) -> Result<void> {
        const PublishTarget target{find_server_id(connection, name), clock_()};
        if (target.server_id == 0)
            return no_server(name);
        apply_plan(connection, target, plan_withdrawal(connection, target.server_id));
        connection.use(sql::kDeleteJobsOf).bind(name).run();
        connection.use(sql::kDeleteServer).bind(target.server_id).run();
        return {};
    });
}

Result<std::vector<Server>> SqliteCatalog::servers() {
    return read(kLookupWait, [&](Connection& connection) -> Result<std::vector<Server>> {
        Statement rows = connection.use(sql::kServers);
        return read_servers(rows, skipped_);
    });
}

Result<std::optional<Server>> SqliteCatalog::find_server(std::string_view name) {
    return read(kLookupWait, [&](Connection& connection) -> Result<std::optional<Server>> {
        return load_server(connection, name);
    });
}

Result<std::int64_t> SqliteCatalog::now() {
    return clock_();
}

Result<void> SqliteCatalog::heartbeat(std::string_view name, std::string_view instance,
                              std::uint32_t sessions) {
    return change([&](Connection& connection) -> Result<void> {
        connection.use(sql::kHeartbeat)
            .bind(clock_())
            .bind(std::int64_t{sessions})
            .bind(name)
            .bind(instance)
            .run();
        if (connection.changed_rows() != 0)
            return {};
        return find_server_id(connection, name) == 0 ? no_server(name) : other_instance(name);
    });
}

Result<std::vector<SiteCost>> SqliteCatalog::site_costs() {
    return read(kLookupWait,
                [&](Connection& connection) { return read_site_costs(connection, skipped_); });
}

Result<void> SqliteCatalog::put_site_cost(const SiteCost& cost) {
    const auto checked = checked_site_cost(cost);
    if (!checked)
        return std::unexpected(checked.error());
    return change(
        [&](Connection& connection) { return signpost::put_site_cost(connection, *checked); });
}

Result<void> SqliteCatalog::put_job(const Job& job) {
    if (auto checked = check_job(job); !checked)
        return checked;
    return change(
        [&](Connection& connection) { return signpost::put_job(connection, job, clock_()); });
}

Result<std::vector<Job>> SqliteCatalog::jobs(std::string_view target) {
    return read(kLookupWait, [&](Connection& connection) {
        return read_jobs(connection, target, clock_(), skipped_);
    });
}

Result<void> SqliteCatalog::report_job(const Job& job) {
    if (auto checked = check_job(job); !checked)
        return checked;
    return change(
        [&](Connection& connection) { return signpost::report_job(connection, job, clock_()); });
}

Result<WriterLease> SqliteCatalog::take_writer(const DiskName& disk, std::string_view server,
                                               std::string_view writer) {
    if (auto checked = check_writer(server, writer); !checked)
        return std::unexpected(checked.error());
    return change([&](Connection& connection) {
        return signpost::take_writer(connection, disk, server, writer, clock_());
    });
}

Result<void> SqliteCatalog::release_writer(const WriterLease& lease) {
    return change(
        [&](Connection& connection) { return signpost::release_writer(connection, lease); });
}

Result<std::optional<WriterLease>> SqliteCatalog::last_writer(const DiskName& disk) {
    return read(kLookupWait, [&](Connection& connection) -> Result<std::optional<WriterLease>> {
        return read_writer(connection, disk);
    });
}

Result<std::optional<WriterLease>> SqliteCatalog::writer(const DiskName& disk) {
    using Found = std::optional<WriterLease>;
    return read(kLookupWait, [&](Connection& connection) -> Result<Found> {
        auto lease = read_writer(connection, disk);
        return lease && is_held(*lease, clock_()) ? lease : Found();
    });
}

Result<std::optional<std::string>> SqliteCatalog::boot_profile(const DiskName& disk) {
    return read(kLookupWait, [&](Connection& connection) -> Result<std::optional<std::string>> {
        return read_boot_profile(connection, disk, skipped_);
    });
}

Result<void> SqliteCatalog::put_boot_profile(const DiskName& disk, std::string_view profile) {
    if (auto checked = check_boot_profile(disk, profile); !checked)
        return checked;
    return change([&](Connection& connection) -> Result<void> {
        signpost::put_boot_profile(connection, disk, profile, clock_());
        return {};
    });
}

Result<void> SqliteCatalog::restore(const Restoration& records) {
    const auto ordered = check_restoration(records);
    if (!ordered)
        return std::unexpected(ordered.error());
    return change([&](Connection& connection) -> Result<void> {
        if (!records.only_of.empty() && find_server_id(connection, records.only_of) == 0)
            return no_server(records.only_of);
        restore_records(connection, records, *ordered);
        return {};
    });
}

Result<std::uint64_t> SqliteCatalog::newest_generation() {
    return read(kLookupWait, [](Connection& connection) -> Result<std::uint64_t> {
        return static_cast<std::uint64_t>(read_state(connection).generation);
    });
}

Result<void> SqliteCatalog::begin_import() {
    return change([&](Connection& connection) -> Result<void> {
        if (!read_state(connection).importing && ask_number(connection, sql::kIsEmpty) == 0)
            return not_empty(escaped(description()));
        connection.run(std::string(sql::kClear));
        connection.use(sql::kSetImporting).bind(std::int64_t{1}).run();
        add_to_state(connection, {});
        return {};
    });
}

Result<void> SqliteCatalog::end_import() {
    return change([&](Connection& connection) -> Result<void> {
        connection.use(sql::kSetImporting).bind(std::int64_t{0}).run();
        return {};
    });
}

Result<std::uint64_t> SqliteCatalog::change_sequence() {
    return read(kLookupWait, [](Connection& connection) -> Result<std::uint64_t> {
        return static_cast<std::uint64_t>(read_state(connection).change_sequence);
    });
}

// A page in memory and two locks: some microseconds.
std::chrono::milliseconds SqliteCatalog::look_interval() const {
    return std::chrono::milliseconds(25);
}

Result<Catalog::Totals> SqliteCatalog::totals() {
    return read(kLookupWait, [](Connection& connection) -> Result<Totals> {
        const CatalogState state = read_state(connection);
        return Totals{static_cast<std::uint64_t>(state.disks),
                      static_cast<std::uint64_t>(state.locations)};
    });
}

Result<void> SqliteCatalog::check_integrity() {
    auto lease = readers_.lease();
    return lease ? check_pages(**lease, true) : std::unexpected(std::move(lease.error()));
}

}  // namespace signpost
