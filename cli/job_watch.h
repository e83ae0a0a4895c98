// SPDX-License-Identifier: BSD-3-Clause
//
// Putting jobs and looking how they get on. The servers do the work; whoever watches may go away at
// any time, and is told how to look again.
//
// Lifetime: the call's. Threads: main's; Ctrl-C is taken while it watches.

#pragma once

#include <vector>

#include "cli/federation_view.h"
#include "cli/verbs.h"

namespace signpost {

// Puts the job; conflict when there is one for that disk and server.
Outcome<void> put_job(const FederationView& view, const Job& job);

// The job as it is now; no_such_disk (3): there is none of that id, or there are several that begin
// like it.
Outcome<Job> find_job(const FederationView& view, std::string_view id);

// Watches until all have ended, and gives them as they ended, in their order. interrupted: by the
// user; catalog_unreachable: for kPatience. Both messages say how to look again.
Outcome<std::vector<Job>> watch_jobs(const Context& context, const FederationView& view,
                                     std::vector<Job> jobs);

}  // namespace signpost
