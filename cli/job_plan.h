// SPDX-License-Identifier: BSD-3-Clause
//
// What `copy`, `move` and `repair` ask for: a Job, or one line that says why it would be refused.
// The target server has the last word; what is wrong already is said before anything is put.
//
// Pure, but for the random id. Threads: any.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "catalog/records.h"
#include "terminal/outcome.h"

namespace signpost {

struct JobWish {
    JobKind kind = JobKind::copy;
    std::string target;
    std::string source;      // empty: any (copy), the only other holder (move)
    std::uint64_t rate = 0;  // bytes per second; 0: unlimited
};

// SERVERS: all that are registered.
Outcome<Job> plan_job(const DiskRecord& disk, const std::vector<Server>& servers,
                      const JobWish& wish);

// Whether a copy of it could be proven: with a digest any, else a Signpost server's read-only one.
bool can_be_source(const Location& location, const Server* server);

// 32 random hexadecimal digits.
Outcome<std::string> new_job_id();

}  // namespace signpost
