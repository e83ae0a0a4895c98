// SPDX-License-Identifier: BSD-3-Clause
//
// The catalog's small tables, jobs, writers' leases, site costs and boot profiles, as every store
// has them: which column holds what, what a row becomes, and what a call makes of it.
//
// Pure functions. Threads: any.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/store_rows.h"

namespace signpost {

struct JobColumn {
    enum : int {
        id,
        kind,
        disk,
        target,
        source,
        rate,
        state,
        size,
        done,
        message,
        created,
        updated,
    };
};

struct WriterColumn {
    enum : int {
        disk,
        server,
        writer,
        fence,
        expires,
    };
};

struct SiteCostColumn {
    enum : int {
        from,
        to,
        cost,
    };
};

struct BootProfileColumn {
    enum : int {
        profile,
    };
};

// Nothing when the row breaks a rule.
std::optional<Job> job_in(const StoreRow& row);
std::optional<WriterLease> writer_in(const StoreRow& row);  // of nobody: an empty server
std::optional<SiteCost> site_cost_in(const StoreRow& row);
std::optional<std::string> boot_profile_in(const StoreRow& row);

// invalid when a caller's breaks one.
Result<void> check_job(const Job& job);
Result<void> check_writer(std::string_view server, std::string_view writer);
Result<void> check_lease(const WriterLease& lease);
Result<void> check_boot_profile(const DiskName& disk, std::string_view profile);
Result<SiteCost> checked_site_cost(const SiteCost& cost);  // FROM before TO

// Finished ones that were updated before then are forgotten.
std::int64_t forget_jobs_before(std::int64_t now);

// The job to store; nothing when there is nothing to change. HELD has its id; RIVAL: another for
// that disk and target is not finished.
Result<std::optional<Job>> job_to_put(const Job& job, const std::optional<Job>& held, bool rival,
                                      std::int64_t now);
Result<std::optional<Job>> job_to_report(const Job& job, const std::optional<Job>& held,
                                         std::int64_t now);
Result<void> room_for_job(std::uint64_t jobs);
Result<void> room_for_site_cost(std::uint64_t costs);

// The lease to store over HELD.
Result<WriterLease> lease_to_take(const DiskName& disk, std::string_view server,
                                  std::string_view writer, const std::optional<WriterLease>& held,
                                  std::int64_t now);
// LEASE as it is kept when nobody has it.
WriterLease lease_of_nobody(const WriterLease& lease);
bool is_held(const WriterLease& lease, std::int64_t now);

}  // namespace signpost
