// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_small_tables.h"

#include "catalog/sqlite_publish.h"
#include "catalog/sqlite_queries.h"

namespace signpost {

namespace {

std::optional<Job> read_job(Connection& connection, const std::string& id) {
    Statement row = connection.use(sql::kJob);
    return row.bind(id).step() ? job_in(row) : std::nullopt;
}

// Rows that break the rules are no jobs: they make room.
bool has_rival(Connection& connection, const Job& job) {
    {
        Statement row = connection.use(sql::kRivalJobs);
        row.bind(job.disk.str()).bind(job.target);
        while (row.step())
            if (job_in(row))
                return true;
    }
    connection.use(sql::kDeleteRivalJobs).bind(job.disk.str()).bind(job.target).run();
    return false;
}

void store_job(Connection& connection, const Job& job) {
    connection.use(sql::kPutJob)
        .bind(job.id)
        .bind(static_cast<std::int64_t>(job.kind))
        .bind(job.disk.str())
        .bind(job.target)
        .bind(job.source)
        .bind(static_cast<std::int64_t>(job.rate))
        .bind(static_cast<std::int64_t>(job.state))
        .bind(static_cast<std::int64_t>(job.size))
        .bind(static_cast<std::int64_t>(job.done))
        .bind(job.message)
        .bind(job.created)
        .bind(job.updated)
        .run();
}

}  // namespace

std::int64_t ask_number(Connection& connection, std::string_view sql) {
    Statement row = connection.use(sql);
    return row.step() ? row.integer(0).value_or(0) : 0;
}

Result<void> put_job(Connection& connection, const Job& job, std::int64_t now) {
    connection.use(sql::kForgetJobs).bind(forget_jobs_before(now)).run();
    const auto held = read_job(connection, job.id);
    const auto stored = job_to_put(job, held, has_rival(connection, job), now);
    if (!stored)
        return std::unexpected(stored.error());
    if (!held) {
        const auto count = static_cast<std::uint64_t>(ask_number(connection, sql::kCountJobs));
        if (auto room = room_for_job(count); !room)
            return room;
    }
    if (*stored) {
        store_job(connection, **stored);
        add_to_state(connection, {});
    }
    return {};
}

Result<std::vector<Job>> read_jobs(Connection& connection, std::string_view target,
                                   std::int64_t now, SkipCount& skipped) {
    std::vector<Job> jobs;
    Statement row = connection.use(sql::kJobs);
    row.bind(target).bind(forget_jobs_before(now));
    while (row.step()) {
        if (auto job = job_in(row))
            jobs.push_back(std::move(*job));
        else
            ++skipped;
    }
    return jobs;
}

Result<void> report_job(Connection& connection, const Job& job, std::int64_t now) {
    const auto stored = job_to_report(job, read_job(connection, job.id), now);
    if (!stored)
        return std::unexpected(stored.error());
    if (!*stored)
        return {};
    store_job(connection, **stored);
    if (is_final((*stored)->state))
        add_to_state(connection, {});
    return {};
}

void store_writer(Connection& connection, const WriterLease& lease) {
    connection.use(sql::kPutWriter)
        .bind(lease.disk.str())
        .bind(lease.server)
        .bind(lease.writer)
        .bind(static_cast<std::int64_t>(lease.fence))
        .bind(lease.expires)
        .run();
}

Result<WriterLease> take_writer(Connection& connection, const DiskName& disk,
                                std::string_view server, std::string_view writer,
                                std::int64_t now) {
    auto lease = lease_to_take(disk, server, writer, read_writer(connection, disk), now);
    if (lease)
        store_writer(connection, *lease);
    return lease;
}

Result<void> release_writer(Connection& connection, const WriterLease& lease) {
    const auto held = read_writer(connection, lease.disk);
    if (held && held->fence == lease.fence)
        store_writer(connection, lease_of_nobody(*held));
    return {};
}

std::optional<WriterLease> read_writer(Connection& connection, const DiskName& disk) {
    Statement row = connection.use(sql::kWriter);
    return row.bind(disk.str()).step() ? writer_in(row) : std::nullopt;
}

Result<std::vector<SiteCost>> read_site_costs(Connection& connection, SkipCount& skipped) {
    std::vector<SiteCost> costs;
    Statement row = connection.use(sql::kSiteCosts);
    while (row.step()) {
        if (auto cost = site_cost_in(row))
            costs.push_back(std::move(*cost));
        else
            ++skipped;
    }
    return costs;
}

Result<void> put_site_cost(Connection& connection, const SiteCost& cost) {
    if (cost.cost < 0) {
        connection.use(sql::kDeleteSiteCost).bind(cost.from).bind(cost.to).run();
    } else {
        const auto count = static_cast<std::uint64_t>(ask_number(connection, sql::kCountSiteCosts));
        if (auto room = room_for_site_cost(count); !room)
            return room;
        connection.use(sql::kPutSiteCost)
            .bind(cost.from)
            .bind(cost.to)
            .bind(std::int64_t{cost.cost})
            .run();
    }
    if (connection.changed_rows() > 0)
        add_to_state(connection, {});
    return {};
}

std::optional<std::string> read_boot_profile(Connection& connection, const DiskName& disk,
                                             SkipCount& skipped) {
    Statement row = connection.use(sql::kBootProfile);
    if (!row.bind(disk.str()).step())
        return std::nullopt;
    auto profile = boot_profile_in(row);
    skipped += profile ? 0 : 1;
    return profile;
}

void put_boot_profile(Connection& connection, const DiskName& disk, std::string_view profile,
                      std::int64_t now) {
    connection.use(sql::kPutBootProfile).bind(disk.str()).bind(profile).bind(now).run();
    connection.use(sql::kTrimBootProfiles).bind(std::int64_t{kMaxBootProfiles}).run();
}

}  // namespace signpost
