// SPDX-License-Identifier: BSD-3-Clause
//
// How the verbs put jobs, watch them, and say how they ended.
//
// Threads: main's.

#pragma once

#include <string>
#include <vector>

#include "cli/federation_view.h"
#include "cli/verbs.h"

namespace signpost {

// Puts the JOBS and watches them until they have ended; or says what they would do (--dry-run), or
// their ids (DETACH). As JSON they are a list, or (not AS_LIST) the only one by itself.
VerbResult carry_out(const Context& context, const FederationView& view, std::vector<Job> jobs,
                     bool as_list, bool detach);

// Puts the JOBS and watches them until they have ended.
Outcome<std::vector<Job>> put_and_watch(const Context& context, const FederationView& view,
                                        std::vector<Job> jobs);

// Says how they ended: a line each, and an error for each that was not done.
ExitCode report_jobs(const Context& context, const std::vector<Job>& jobs, bool as_list);

// "copy web01/vda from beta to gamma, 40 GiB"
std::string job_text(const Options& options, const Job& job);

}  // namespace signpost
