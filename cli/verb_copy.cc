// SPDX-License-Identifier: BSD-3-Clause
//
// `copy` and `move`: a job is put into the catalog, the target server sees it and does the work,
// and the command watches.

#include <fmt/format.h>

#include <algorithm>

#include "cli/job_plan.h"
#include "cli/job_report.h"
#include "cli/job_watch.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

// What the operator may not expect of this copy.
void say_what_to_expect(const Context& context, FederationView& view, const DiskRecord& disk,
                        const Job& job) {
    const bool raw = std::ranges::all_of(disk.locations, [](const Location& location) {
        return location.format == ImageFormat::raw;
    });
    if (!raw) {
        context.console.note(
            fmt::format("signpost: {} is copied as what a guest sees of it, into a raw image",
                        escaped(disk.name.str())));
    }
    const Server* target = view.server(job.target);
    const auto now = view.now();
    if (now && *now - target->last_heartbeat > kServerLease.count()) {
        context.console.note(
            fmt::format("signpost: {} has not been heard of for {}; the job waits for it",
                        job.target, age(target->last_heartbeat, *now)));
    }
}

Outcome<Job> plan(const Context& context, FederationView& view, const CopyVerb& verb) {
    // Of a move nothing is guessed: the source loses what is moved.
    const auto disk = verb.wish.kind == JobKind::copy ? meant_disk(view, context.console, verb.disk)
                                                      : view.disk(verb.disk);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    const auto servers = view.servers();
    if (!servers) {
        return std::unexpected(servers.error());
    }
    auto job = plan_job(*disk, **servers, verb.wish);
    if (job) {
        say_what_to_expect(context, view, *disk, *job);
    }
    return job;
}

}  // namespace

VerbResult run(const Context& context, const CopyVerb& verb) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto job = plan(context, *view, verb);
    if (!job) {
        return std::unexpected(job.error());
    }
    return carry_out(context, *view, {*job}, false, verb.detach);
}

}  // namespace signpost
