// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_small_tables.h"

#include "catalog/postgres_queries.h"
#include "catalog/postgres_rows.h"

namespace signpost {

namespace {

template <class Record>
std::vector<Record> read_all(const PostgresAnswer& answer,
                             std::optional<Record> (*record_in)(const StoreRow&),
                             SkipCount& skipped) {
    std::vector<Record> all;
    for (int row = 0; row < answer.rows(); ++row) {
        if (auto record = record_in(PostgresRow(answer, row)))
            all.push_back(std::move(*record));
        else
            ++skipped;
    }
    return all;
}

template <class Record>
std::optional<Record> read_first(const PostgresAnswer& answer,
                                 std::optional<Record> (*record_in)(const StoreRow&)) {
    return answer.rows() == 0 ? std::nullopt : record_in(PostgresRow(answer, 0));
}

std::optional<Job> lock_job(PostgresConnection& connection, const std::string& id) {
    return read_first(connection.run(pg::kJob, PostgresParameters().add(id)), job_in);
}

// Rows that break the rules are no jobs: they make room.
bool has_rival(PostgresConnection& connection, const Job& job) {
    const auto place = PostgresParameters().add(job.disk.str()).add(job.target);
    const auto answer = connection.run(pg::kRivalJobs, place);
    SkipCount skipped{0};
    if (!read_all(answer, job_in, skipped).empty())
        return true;
    if (skipped > 0)
        connection.queue(pg::kDeleteRivalJobs, place);
    return false;
}

void store_job(PostgresConnection& connection, const Job& job) {
    connection.queue(pg::kPutJob, PostgresParameters()
                                      .add(job.id)
                                      .add(static_cast<std::int64_t>(job.kind))
                                      .add(job.disk.str())
                                      .add(job.target)
                                      .add(job.source)
                                      .add(static_cast<std::int64_t>(job.rate))
                                      .add(static_cast<std::int64_t>(job.state))
                                      .add(static_cast<std::int64_t>(job.size))
                                      .add(static_cast<std::int64_t>(job.done))
                                      .add(job.message)
                                      .add(job.created)
                                      .add(job.updated));
}

void store_writer(PostgresConnection& connection, const WriterLease& lease) {
    connection.queue(pg::kPutWriter, PostgresParameters()
                                         .add(lease.disk.str())
                                         .add(lease.server)
                                         .add(lease.writer)
                                         .add(static_cast<std::int64_t>(lease.fence))
                                         .add(lease.expires));
}

std::uint64_t count(PostgresConnection& connection, const PostgresStatement& statement) {
    return static_cast<std::uint64_t>(connection.run(statement).integer(0, 0).value_or(0));
}

}  // namespace

Result<bool> put_job(PostgresConnection& connection, const Job& job, std::int64_t now) {
    connection.queue(pg::kForgetJobs, PostgresParameters().add(forget_jobs_before(now)));
    const auto held = lock_job(connection, job.id);
    const auto stored = job_to_put(job, held, has_rival(connection, job), now);
    if (!stored)
        return std::unexpected(stored.error());
    if (!held)
        if (auto room = room_for_job(count(connection, pg::kCountJobs)); !room)
            return std::unexpected(std::move(room.error()));
    if (*stored)
        store_job(connection, **stored);
    return stored->has_value();
}

std::vector<Job> read_jobs(PostgresConnection& connection, std::string_view target,
                           std::optional<std::int64_t> now, SkipCount& skipped) {
    const std::int64_t memory = -forget_jobs_before(0);
    return read_all(
        connection.run(pg::kJobs, PostgresParameters().add(target).add(now).add(memory)), job_in,
        skipped);
}

Result<bool> report_job(PostgresConnection& connection, const Job& job, std::int64_t now) {
    const auto stored = job_to_report(job, lock_job(connection, job.id), now);
    if (!stored)
        return std::unexpected(stored.error());
    if (*stored)
        store_job(connection, **stored);
    return *stored && is_final((*stored)->state);
}

void restore_writer(PostgresConnection& connection, const WriterLease& lease) {
    connection.queue(pg::kAddWriter, PostgresParameters().add(lease.disk.str()));
    store_writer(connection, lease);
}

Result<WriterLease> take_writer(PostgresConnection& connection, const DiskName& disk,
                                std::string_view server, std::string_view writer,
                                std::int64_t now) {
    const auto of_disk = PostgresParameters().add(disk.str());
    connection.queue(pg::kAddWriter, of_disk);
    const auto held = read_first(connection.run(pg::kLockWriter, of_disk), writer_in);
    auto lease = lease_to_take(disk, server, writer, held, now);
    if (lease)
        store_writer(connection, *lease);
    return lease;
}

void release_writer(PostgresConnection& connection, const WriterLease& lease) {
    const auto held = read_first(
        connection.run(pg::kLockWriter, PostgresParameters().add(lease.disk.str())), writer_in);
    if (held && held->fence == lease.fence)
        store_writer(connection, lease_of_nobody(*held));
}

std::optional<WriterLease> read_writer(PostgresConnection& connection, const DiskName& disk) {
    return read_first(connection.run(pg::kWriter, PostgresParameters().add(disk.str())), writer_in);
}

std::vector<SiteCost> read_site_costs(PostgresConnection& connection, SkipCount& skipped) {
    return read_all(connection.run(pg::kSiteCosts), site_cost_in, skipped);
}

Result<bool> put_site_cost(PostgresConnection& connection, const SiteCost& cost) {
    if (cost.cost < 0) {
        const auto removed =
            connection.run(pg::kDeleteSiteCost, PostgresParameters().add(cost.from).add(cost.to));
        return removed.changed_rows() > 0;
    }
    if (auto room = room_for_site_cost(count(connection, pg::kCountSiteCosts)); !room)
        return std::unexpected(std::move(room.error()));
    const auto put = connection.run(
        pg::kPutSiteCost,
        PostgresParameters().add(cost.from).add(cost.to).add(std::int64_t{cost.cost}));
    return put.changed_rows() > 0;
}

std::optional<std::string> read_boot_profile(PostgresConnection& connection, const DiskName& disk,
                                             SkipCount& skipped) {
    const auto found = read_all(
        connection.run(pg::kBootProfile, PostgresParameters().add(disk.str())), boot_profile_in,
        skipped);
    return found.empty() ? std::nullopt : std::optional(found.front());
}

void put_boot_profile(PostgresConnection& connection, const DiskName& disk,
                      std::string_view profile, std::int64_t now) {
    connection.queue(pg::kPutBootProfile,
                     PostgresParameters().add(disk.str()).add(profile).add(now));
    connection.queue(pg::kTrimBootProfiles,
                     PostgresParameters().add(static_cast<std::int64_t>(kMaxBootProfiles)));
}

}  // namespace signpost
