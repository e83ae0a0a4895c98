// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_catalog.h"

#include <fmt/format.h>

#include <random>
#include <thread>
#include <utility>

#include "catalog/postgres_publish.h"
#include "catalog/postgres_queries.h"
#include "catalog/postgres_restore.h"
#include "catalog/postgres_rows.h"
#include "catalog/postgres_servers.h"
#include "catalog/postgres_small_tables.h"
#include "catalog/row_check.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTries = 4;
constexpr std::chrono::milliseconds kMigrationWait{600'000};
constexpr std::chrono::milliseconds kIntegrityWait{600'000};
// A page of the largest size takes a second on a slow network.
constexpr std::chrono::microseconds kWaitPerDisk{100};
// A disk has a few locations; what there is beyond comes with another journey.
constexpr std::size_t kRowsPerDisk = 16;
constexpr std::size_t kRowsAnyway = 1000;

// From this many disks on, counting takes long enough to be done a minute apart.
constexpr std::int64_t kManyDisks = 200'000;
constexpr std::int64_t kCountLifetime = 60;

PostgresParameters with(std::string_view text) {
    return PostgresParameters().add(text);
}

PostgresParameters with(std::int64_t number) {
    return PostgresParameters().add(number);
}

// Two that are refused because of each other should not try again at the same moment.
void rest_before_try(int tries) {
    thread_local std::minstd_rand chance{std::random_device{}()};
    std::uniform_int_distribution<int> milliseconds(0, 5 * tries);
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds(chance)));
}

// What cannot be a server's name is none in the table, and may not even be text to PostgreSQL.
bool is_server_name(std::string_view name) {
    return check_server_name(name).has_value();
}

std::unexpected<Error> bad_after(std::string_view after) {
    return fail(Errc::invalid, fmt::format("a page after \"{}\" was asked for, which is not UTF-8 "
                                           "text",
                                           escaped(after)));
}

bool is_storable(std::string_view text) {
    return is_utf8(text) && text.find('\0') == std::string_view::npos;
}

struct State {
    std::int64_t sequence = 0;
    std::int64_t disks = 0;
    std::int64_t locations = 0;
    std::int64_t counted_at = 0;
    std::int64_t age = 0;

    bool is_counted() const {
        return counted_at == sequence || (disks >= kManyDisks && age >= 0 && age < kCountLifetime);
    }
};

State read_state(PostgresConnection& connection) {
    const auto row = connection.run(pg::kState);
    const auto field = [&](int column) { return row.integer(0, column).value_or(-1); };
    const State state{field(0), field(1), field(2), field(3), field(4)};
    if (!connection.failed() && (state.sequence < 0 || state.disks < 0 || state.locations < 0))
        connection.note_damage("its change sequence or its counts are lost");
    return state;
}

// Kept for whoever asks next, where this role may.
void keep_count(PostgresConnection& connection, const Catalog::Totals& totals,
                std::int64_t sequence) {
    if (connection.failed() || connection.is_standby())
        return;
    connection.run(pg::kKeepCount, PostgresParameters()
                                       .add(static_cast<std::int64_t>(totals.disks))
                                       .add(static_cast<std::int64_t>(totals.locations))
                                       .add(sequence));
    if (connection.failed() && connection.failure()->kind == PostgresFailure::Kind::refused)
        connection.clear_failure();
}

}  // namespace

PostgresCatalog::PostgresCatalog(PostgresTarget target, OpenMode mode, StoreClock clock,
                                 PostgresWaits waits)
    : mode_(mode), clock_(std::move(clock)), waits_(waits), pool_(std::move(target), waits.dial) {}

Result<std::unique_ptr<Catalog>> PostgresCatalog::open(std::string_view uri, OpenMode mode,
                                                       StoreClock clock, PostgresWaits waits) {
    auto target = parse_postgres_uri(uri);
    if (!target)
        return std::unexpected(std::move(target.error()));
    std::unique_ptr<PostgresCatalog> catalog(
        new PostgresCatalog(std::move(*target), mode, std::move(clock), waits));
    if (auto checked = catalog->check_at_open(); !checked)
        return std::unexpected(std::move(checked.error()));
    return catalog;
}

Result<void> PostgresCatalog::check_at_open() {
    const auto version =
        call(Need::look_up, waits_.look_up, [&](PostgresConnection& connection) -> Result<int> {
            auto found = check_postgres_schema(connection);
            connection.schema_checked = found && *found == schema_version();
            has_notify_ = connection.run(pg::kHasNotify).integer(0, 0).value_or(0) > 0;
            return found;
        });
    if (!version)
        return std::unexpected(version.error());
    if (*version == schema_version())
        return read(waits_.look_up,
                    [&](PostgresConnection& connection) { return check_whole(connection); });
    if (*version == 0 && mode_ != OpenMode::create && mode_ != OpenMode::import)
        return fail(Errc::not_found,
                    fmt::format("catalog {} is not there: the database has no tables of Signpost",
                                description()));
    if (mode_ == OpenMode::read_only)
        return fail(Errc::denied,
                    fmt::format("catalog {} has the tables of an older release; let the owner of "
                                "its tables run, with this release: signpost catalog init",
                                description()));
    return make_tables();
}

Result<void> PostgresCatalog::check_whole(PostgresConnection& connection) const {
    if (connection.run(pg::kImporting).integer(0, 0).value_or(0) == 0 || mode_ == OpenMode::import)
        return {};
    return half_imported(description());
}

Result<void> PostgresCatalog::make_tables() {
    if (auto allowed = may_change(); !allowed)
        return allowed;
    return call(Need::change, kMigrationWait, [&](PostgresConnection& connection) {
        auto made = make_postgres_schema(connection);
        // Whether it went well is told where an operator asks for it: by `signpost catalog init`.
        if (made)
            static_cast<void>(grant_postgres_roles(connection));
        return made;
    });
}

// A connection may lead to another server than the one before, or a newer release may have been
// here meanwhile.
Result<void> PostgresCatalog::check_fresh(PostgresConnection& connection) {
    if (connection.schema_checked)
        return {};
    const auto version = check_postgres_schema(connection);
    if (!version)
        return std::unexpected(version.error());
    connection.schema_checked = true;
    if (*version != schema_version())
        return fail(Errc::unavailable,
                    fmt::format("catalog {} has no tables any more, or those of an older release; "
                                "make them with: signpost catalog init",
                                description()));
    return {};
}

Result<void> PostgresCatalog::may_change() const {
    if (mode_ != OpenMode::read_only)
        return {};
    return fail(Errc::denied, fmt::format("catalog {} is read-only: it was opened for reading only",
                                          description()));
}

template <class Fn>
auto PostgresCatalog::call(Need need, std::chrono::milliseconds wait, Fn fn)
    -> decltype(fn(std::declval<PostgresConnection&>())) {
    const auto begun = Clock::now();
    const auto deadline = begun + wait;
    // Another host may answer while this one is frozen: half the time is kept for it.
    const bool shares =
        need == Need::look_up && wait == waits_.look_up && pool_.target().hosts.size() > 1;
    for (int tries = 1;; ++tries) {
        auto lease = pool_.lease(need, deadline, tries > 1 || waits_.patient);
        if (!lease)
            return std::unexpected(std::move(lease.error()));
        PostgresConnection& connection = **lease;
        connection.set_call(shares && tries == 1 ? begun + wait / 2 : deadline, wait);
        auto result = fn(connection);
        connection.roll_back();
        // What FN made of a failed statement (no row, so no such server) would mislead.
        if (!connection.failed())
            return result;
        const bool again = connection.is_worth_another_try() ||
                           (shares && connection.failure()->kind == PostgresFailure::Kind::hung);
        if (tries == kTries || !again || Clock::now() >= deadline)
            return std::unexpected(connection.status().error());
        rest_before_try(tries);
    }
}

template <class Fn>
auto PostgresCatalog::read(std::chrono::milliseconds wait, Fn fn)
    -> decltype(fn(std::declval<PostgresConnection&>())) {
    using Answer = decltype(fn(std::declval<PostgresConnection&>()));
    return call(Need::look_up, wait, [&](PostgresConnection& connection) -> Answer {
        if (auto checked = check_fresh(connection); !checked)
            return std::unexpected(std::move(checked.error()));
        return fn(connection);
    });
}

template <class Fn>
auto PostgresCatalog::change(Fn fn) -> decltype(fn(std::declval<PostgresConnection&>())) {
    using Answer = decltype(fn(std::declval<PostgresConnection&>()));
    if (auto allowed = may_change(); !allowed)
        return std::unexpected(std::move(allowed.error()));
    return call(Need::change, waits_.change, [&](PostgresConnection& connection) -> Answer {
        if (auto checked = check_fresh(connection); !checked)
            return std::unexpected(std::move(checked.error()));
        connection.queue(pg::kBegin);
        Answer result = fn(connection);
        if (result)
            connection.run(pg::kCommit);
        if (stopped_by_import(connection))
            return std::unexpected(half_imported(description()));
        return result;
    });
}

void PostgresCatalog::bump(PostgresConnection& connection) const {
    if (mode_ == OpenMode::import)
        connection.queue(pg::kBumpInImport);
    else
        connection.queue(has_notify_ ? pg::kBumpAndNotify : pg::kBump);
}

// Whether BUMP has refused because of one: then there is no other failure.
bool PostgresCatalog::stopped_by_import(PostgresConnection& connection) const {
    constexpr std::string_view kDivisionByZero = "22012";
    if (!connection.failed() || connection.failure()->state != kDivisionByZero)
        return false;
    const PostgresFailure failure = *connection.failure();
    connection.roll_back();
    connection.clear_failure();
    if (connection.run(pg::kImporting).integer(0, 0).value_or(0) != 0)
        return true;
    connection.note_again(failure);
    return false;
}

std::int64_t PostgresCatalog::time(PostgresConnection& connection) const {
    const auto rows = connection.run(pg::kNow, PostgresParameters().add(forged_now()));
    return rows.integer(0, 0).value_or(0);
}

std::optional<std::int64_t> PostgresCatalog::forged_now() const {
    return clock_ ? std::optional(clock_()) : std::nullopt;
}

Result<std::optional<DiskRecord>> PostgresCatalog::find(const DiskName& name) {
    using Found = std::optional<DiskRecord>;
    return read(waits_.look_up, [&](PostgresConnection& connection) -> Result<Found> {
        auto disks = read_disks(connection.run(pg::kFindDisk, with(name.str())), skipped_);
        return disks.empty() ? Found() : Found(std::move(disks.front()));
    });
}

Result<std::vector<DiskRecord>> PostgresCatalog::page(const PostgresStatement& statement,
                                                      const std::string& pattern,
                                                      std::string_view after, std::size_t limit,
                                                      std::chrono::milliseconds wait) {
    if (!is_storable(after))
        return bad_after(after);
    using Page = std::vector<DiskRecord>;
    return read(wait, [&](PostgresConnection& connection) -> Result<Page> {
        const std::size_t rows = limit * kRowsPerDisk + kRowsAnyway;
        PageReader reader(limit, skipped_);
        std::string from(after);
        for (bool more = true; more && !connection.failed(); from = reader.last_name()) {
            const auto answer =
                connection.run(statement, with(from)
                                              .add(pattern)
                                              .add(static_cast<std::int64_t>(reader.wanted()))
                                              .add(static_cast<std::int64_t>(rows)));
            more = reader.add(answer, rows);
        }
        return reader.take_disks();
    });
}

Result<std::vector<DiskRecord>> PostgresCatalog::list(std::string_view prefix,
                                                      std::string_view after, std::size_t limit) {
    if (auto checked = check_limit(limit); !checked)
        return std::unexpected(std::move(checked.error()));
    if (!may_occur_in_names(prefix))
        return std::vector<DiskRecord>();
    const auto wait = waits_.look_up + std::chrono::ceil<std::chrono::milliseconds>(
                                        kWaitPerDisk * static_cast<std::int64_t>(limit));
    return page(pg::kListPage, fmt::format("{}%", like_literal(prefix)), after, limit, wait);
}

Result<std::vector<DiskRecord>> PostgresCatalog::search(std::string_view text,
                                                        std::string_view after, std::size_t limit) {
    if (auto checked = check_limit(limit); !checked)
        return std::unexpected(std::move(checked.error()));
    if (!may_occur_in_names(text))
        return std::vector<DiskRecord>();
    const std::string pattern = fmt::format("%{}%", like_literal(text));
    return page(pg::kSearchPage, pattern, after, limit, waits_.search);
}

Result<PublishSummary> PostgresCatalog::publish(std::string_view server,
                                                const Publication& publication) {
    const auto ordered = ordered_images(publication);
    if (!ordered)
        return std::unexpected(ordered.error());
    if (!is_server_name(server))
        return no_server(server);
    // Of an attempt that may have been committed when its connection was lost.
    PublishSummary earlier;
    return change([&](PostgresConnection& connection) -> Result<PublishSummary> {
        const PostgresHolder holder{find_server_id(connection, pg::kLockServer, server),
                                    forged_now()};
        if (holder.server_id == 0)
            return no_server(server);
        const PostgresPlan plan =
            plan_publication(connection, holder, publication, *ordered, waits_.change);
        apply_plan(connection, holder, plan, publication.complete, waits_.change);
        if (plan.summary == PublishSummary())
            return earlier;
        earlier = plan.summary;
        bump(connection);
        return plan.summary;
    });
}

Result<void> PostgresCatalog::mark_changed(const DiskName& disk, std::string_view server) {
    if (!is_server_name(server))
        return no_location(disk, server);
    return change([&](PostgresConnection& connection) -> Result<void> {
        const auto marked = connection.run(pg::kMarkChanged, with(disk.str()).add(server));
        if (marked.changed_rows() == 0)
            return no_location(disk, server);
        bump(connection);
        return {};
    });
}

Result<void> PostgresCatalog::record_digest(const DigestRecord& record) {
    const auto digest = digest_bytes(record.digest);
    if (!digest)
        return bad_digest(record);
    if (!is_server_name(record.server))
        return no_location(record.disk, record.server);
    const std::string hex = record.digest.substr(record.digest.size() - 2 * kDigestBytes);
    return change([&](PostgresConnection& connection) -> Result<void> {
        connection.queue(pg::kLockDisk, with(record.disk.str()));
        const std::int64_t id = find_server_id(connection, pg::kServerId, record.server);
        const auto held = held_location(connection, id, record.disk);
        if (!held)
            return no_location(record.disk, record.server);
        if (auto checked = check_new_digest(record, *held); !checked)
            return checked;
        connection.queue(pg::kSetDigest,
                         with(record.disk.str()).add(id).add(hex).add(forged_now()));
        if (held->digest == record.digest && held->state != LocationState::damaged)
            return {};
        connection.queue(
            pg::kCommonGeneration,
            with(record.disk.str()).add(hex).add(static_cast<std::int64_t>(held->size)));
        bump(connection);
        return {};
    });
}

Result<void> PostgresCatalog::set_location_state(const DiskName& disk, std::string_view server,
                                                 std::uint64_t generation, LocationState state) {
    if (!is_server_name(server))
        return no_location(disk, server);
    return change([&](PostgresConnection& connection) -> Result<void> {
        connection.queue(pg::kLockDisk, with(disk.str()));
        const std::int64_t id = find_server_id(connection, pg::kServerId, server);
        const auto held = held_location(connection, id, disk);
        if (!held)
            return no_location(disk, server);
        if (held->generation != generation)
            return changed_meanwhile(disk, server);
        if (held->state == state)
            return {};
        connection.queue(pg::kSetLocationState,
                         with(disk.str()).add(id).add(static_cast<std::int64_t>(state)));
        bump(connection);
        return {};
    });
}

std::optional<Server> PostgresCatalog::load_server(PostgresConnection& connection,
                                                   std::string_view name) {
    auto servers = read_servers(connection.run(pg::kFindServer, with(name)), skipped_);
    return servers.empty() ? std::nullopt : std::optional(std::move(servers.front()));
}

Result<void> PostgresCatalog::put_server(const Server& server) {
    if (auto checked = check_server(server); !checked)
        return checked;
    return change([&](PostgresConnection& connection) -> Result<void> {
        const auto [id, is_new] = lock_or_insert(connection, server.name);
        const auto held = is_new ? std::nullopt : load_server(connection, server.name);
        const auto stored = registration(server, held, time(connection));
        if (!stored)
            return std::unexpected(stored.error());
        put_server_row(connection, id, *stored);
        if (server.instance.empty())
            connection.queue(pg::kAddHeartbeat, with(id));
        else
            connection.queue(pg::kFirstHeartbeat, with(id).add(stored->last_heartbeat));
        if (held && same_registration(*held, *stored))
            return {};
        put_uris(connection, id, stored->uris);
        bump(connection);
        return {};
    });
}

Result<void> PostgresCatalog::set_draining(std::string_view server, bool draining) {
    if (!is_server_name(server))
        return no_server(server);
    return change([&](PostgresConnection& connection) -> Result<void> {
        const std::int64_t id = find_server_id(connection, pg::kLockServer, server);
        if (id == 0)
            return no_server(server);
        const auto set = connection.run(pg::kSetDraining, with(id).add(std::int64_t{draining}));
        if (set.changed_rows() > 0)
            bump(connection);
        return {};
    });
}

Result<void> PostgresCatalog::remove_server(std::string_view name) {
    if (!is_server_name(name))
        return no_server(name);
    bool removed_before = false;
    return change([&](PostgresConnection& connection) -> Result<void> {
        const PostgresHolder holder{find_server_id(connection, pg::kLockServer, name),
                                    forged_now()};
        if (holder.server_id == 0)
            return removed_before ? Result<void>() : no_server(name);
        withdraw_all(connection, holder, waits_.change);
        connection.queue(pg::kDeleteJobsOf, with(name));
        connection.queue(pg::kDeleteServer, with(holder.server_id));
        bump(connection);
        removed_before = true;
        return {};
    });
}

Result<std::vector<Server>> PostgresCatalog::servers() {
    return read(waits_.look_up, [&](PostgresConnection& connection) -> Result<std::vector<Server>> {
        return read_servers(connection.run(pg::kServers), skipped_);
    });
}

Result<std::optional<Server>> PostgresCatalog::find_server(std::string_view name) {
    if (!is_server_name(name))
        return std::nullopt;
    using Found = std::optional<Server>;
    return read(waits_.look_up, [&](PostgresConnection& connection) -> Result<Found> {
        return load_server(connection, name);
    });
}

Result<std::int64_t> PostgresCatalog::now() {
    return read(waits_.look_up, [&](PostgresConnection& connection) -> Result<std::int64_t> {
        return time(connection);
    });
}

// One statement, which needs no transaction around it.
Result<void> PostgresCatalog::heartbeat(std::string_view name, std::string_view instance,
                              std::uint32_t sessions) {
    if (auto allowed = may_change(); !allowed)
        return allowed;
    if (!is_server_name(name))
        return no_server(name);
    return call(Need::change, waits_.change, [&](PostgresConnection& connection) -> Result<void> {
        if (auto checked = check_fresh(connection); !checked)
            return checked;
        if (is_storable(instance) &&
            connection
                    .run(pg::kHeartbeat, PostgresParameters()
                                             .add(forged_now())
                                             .add(name)
                                             .add(instance)
                                             .add(std::int64_t{sessions}))
                    .changed_rows() != 0)
            return {};
        return find_server_id(connection, pg::kServerId, name) == 0 ? no_server(name)
                                                                    : other_instance(name);
    });
}

Result<std::vector<SiteCost>> PostgresCatalog::site_costs() {
    using Costs = std::vector<SiteCost>;
    return read(waits_.look_up, [&](PostgresConnection& connection) -> Result<Costs> {
        return read_site_costs(connection, skipped_);
    });
}

// CHANGE gives whether it is one that is counted.
template <class Fn>
Result<void> PostgresCatalog::count_change(Fn counted) {
    return change([&](PostgresConnection& connection) -> Result<void> {
        const Result<bool> changed = counted(connection);
        if (!changed)
            return std::unexpected(changed.error());
        if (*changed)
            bump(connection);
        return {};
    });
}

Result<void> PostgresCatalog::put_site_cost(const SiteCost& cost) {
    const auto checked = checked_site_cost(cost);
    if (!checked)
        return std::unexpected(checked.error());
    return count_change([&](PostgresConnection& connection) {
        return signpost::put_site_cost(connection, *checked);
    });
}

Result<void> PostgresCatalog::put_job(const Job& job) {
    if (auto checked = check_job(job); !checked)
        return checked;
    return count_change([&](PostgresConnection& connection) {
        return signpost::put_job(connection, job, time(connection));
    });
}

Result<std::vector<Job>> PostgresCatalog::jobs(std::string_view target) {
    using Jobs = std::vector<Job>;
    if (!target.empty() && !is_server_name(target))
        return Jobs();
    return read(waits_.look_up, [&](PostgresConnection& connection) -> Result<Jobs> {
        return read_jobs(connection, target, forged_now(), skipped_);
    });
}

Result<void> PostgresCatalog::report_job(const Job& job) {
    if (auto checked = check_job(job); !checked)
        return checked;
    return count_change([&](PostgresConnection& connection) {
        return signpost::report_job(connection, job, time(connection));
    });
}

Result<WriterLease> PostgresCatalog::take_writer(const DiskName& disk, std::string_view server,
                                                 std::string_view writer) {
    if (auto checked = check_writer(server, writer); !checked)
        return std::unexpected(checked.error());
    return change([&](PostgresConnection& connection) {
        return signpost::take_writer(connection, disk, server, writer, time(connection));
    });
}

Result<void> PostgresCatalog::release_writer(const WriterLease& lease) {
    return change([&](PostgresConnection& connection) -> Result<void> {
        signpost::release_writer(connection, lease);
        return {};
    });
}

Result<std::optional<WriterLease>> PostgresCatalog::last_writer(const DiskName& disk) {
    using Found = std::optional<WriterLease>;
    return read(waits_.look_up, [&](PostgresConnection& connection) -> Result<Found> {
        return read_writer(connection, disk);
    });
}

Result<std::optional<WriterLease>> PostgresCatalog::writer(const DiskName& disk) {
    using Found = std::optional<WriterLease>;
    return read(waits_.look_up, [&](PostgresConnection& connection) -> Result<Found> {
        auto lease = read_writer(connection, disk);
        return lease && is_held(*lease, time(connection)) ? lease : Found();
    });
}

Result<std::optional<std::string>> PostgresCatalog::boot_profile(const DiskName& disk) {
    using Found = std::optional<std::string>;
    return read(waits_.look_up, [&](PostgresConnection& connection) -> Result<Found> {
        return read_boot_profile(connection, disk, skipped_);
    });
}

Result<void> PostgresCatalog::put_boot_profile(const DiskName& disk, std::string_view profile) {
    if (auto checked = check_boot_profile(disk, profile); !checked)
        return checked;
    return change([&](PostgresConnection& connection) -> Result<void> {
        signpost::put_boot_profile(connection, disk, profile, time(connection));
        return {};
    });
}

Result<void> PostgresCatalog::restore(const Restoration& records) {
    const auto ordered = check_restoration(records);
    if (!ordered)
        return std::unexpected(ordered.error());
    if (!records.only_of.empty() && !is_server_name(records.only_of))
        return no_server(records.only_of);
    return change([&](PostgresConnection& connection) -> Result<void> {
        auto restored = restore_records(connection, records, *ordered, waits_.change);
        if (restored)
            bump(connection);
        return restored;
    });
}

Result<std::uint64_t> PostgresCatalog::newest_generation() {
    return read(waits_.look_up, [](PostgresConnection& connection) -> Result<std::uint64_t> {
        return static_cast<std::uint64_t>(
            connection.run(pg::kGeneration).integer(0, 0).value_or(0));
    });
}

Result<void> PostgresCatalog::begin_import() {
    return change([&](PostgresConnection& connection) -> Result<void> {
        connection.queue(pg::kLockState);
        const bool importing = connection.run(pg::kImporting).integer(0, 0).value_or(0) != 0;
        if (!importing && connection.run(pg::kIsEmpty).integer(0, 0).value_or(0) == 0)
            return not_empty(description());
        clear_tables(connection, waits_.change);
        connection.queue(pg::kSetImporting, with(std::int64_t{1}));
        bump(connection);
        return {};
    });
}

Result<void> PostgresCatalog::end_import() {
    return change([&](PostgresConnection& connection) -> Result<void> {
        connection.queue(pg::kSetImporting, with(std::int64_t{0}));
        // Else pages of millions of disks are planned as if there were few, until the database
        // counts them by itself. A role that may not is only warned.
        connection.queue(pg::kAnalyze);
        return {};
    });
}

Result<std::uint64_t> PostgresCatalog::change_sequence() {
    return read(waits_.look_up, [](PostgresConnection& connection) -> Result<std::uint64_t> {
        return static_cast<std::uint64_t>(read_state(connection).sequence);
    });
}

std::shared_ptr<void> PostgresCatalog::when_changed(std::function<void()> told) {
    if (!has_notify_)
        return nullptr;
    auto handle = hints_->add(std::move(told));
    const std::lock_guard lock(listening_);
    if (listener_ == nullptr)
        listener_ = std::make_unique<PostgresListener>(pool_.shared_target(), hints_);
    return handle;
}

Result<Catalog::Totals> PostgresCatalog::totals() {
    return read(waits_.search, [&](PostgresConnection& connection) -> Result<Totals> {
        const State state = read_state(connection);
        if (connection.failed() || state.is_counted())
            return Totals{static_cast<std::uint64_t>(state.disks),
                          static_cast<std::uint64_t>(state.locations)};
        const auto counted = connection.run(pg::kCountAll);
        const Totals totals{static_cast<std::uint64_t>(counted.integer(0, 0).value_or(0)),
                            static_cast<std::uint64_t>(counted.integer(0, 1).value_or(0))};
        if (mode_ != OpenMode::read_only)
            keep_count(connection, totals, state.sequence);
        return totals;
    });
}

Result<std::vector<std::string>> PostgresCatalog::grant_rights() {
    using Notes = std::vector<std::string>;
    if (auto allowed = may_change(); !allowed)
        return std::unexpected(std::move(allowed.error()));
    return call(Need::change, waits_.change, [](PostgresConnection& connection) -> Result<Notes> {
        return grant_postgres_roles(connection);
    });
}

Result<void> PostgresCatalog::check_integrity() {
    return read(kIntegrityWait, [](PostgresConnection& connection) -> Result<void> {
        read_state(connection);
        return check_postgres_rows(connection);
    });
}

}  // namespace signpost
