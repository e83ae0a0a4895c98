// SPDX-License-Identifier: BSD-3-Clause

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "libvirt-pool/pool_json.h"
#include "libvirt-pool/pool_sync.h"
#include "libvirt-pool/pool_verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

using Step = PoolPlan::Step;
using Matter = PoolPlan::Matter;

constexpr std::size_t kMostNamed = 20;  // files of one kind that are named

// What an operator should know of it; empty: all is well with it.
std::string_view sentence_of(Matter matter, bool offline) {
    switch (matter) {
        case Matter::orphan:
            return "holds what a machine has written, and its disk is gone from the catalog; it "
                   "stays";
        case Matter::held_back:
            return offline
                       ? "has changed or gone; its volume stays until libvirt can be asked whose "
                         "it is"
                       : "has changed or gone, but a machine refers to its volume, which stays "
                         "as it is";
        case Matter::damaged:
            return "is no qcow2 any more; `signpost-pool repair` makes it anew and keeps what is "
                   "there";
        case Matter::unnameable:
            return "cannot be a volume: its name is too long, or its size is not known";
        default:
            return "";
    }
}

void print_remarks(Console& console, const SyncReport& report) {
    std::map<Matter, std::size_t> counts;
    for (const PoolPlan::Remark& remark : report.plan.remarks) {
        const std::string_view sentence = sentence_of(remark.matter, report.offline);
        if (!sentence.empty() && ++counts[remark.matter] <= kMostNamed) {
            console.note(fmt::format("signpost-pool: {} {}", escaped(remark.file), sentence));
        }
    }
    for (const auto& [matter, count] : counts) {
        if (count > kMostNamed) {
            console.note(
                fmt::format("signpost-pool: and {} more of that kind ({}); `signpost-pool "
                            "status` names them all",
                            count - kMostNamed, to_string(matter)));
        }
    }
}

void print(Console& console, const SyncReport& report, bool dry_run) {
    const auto count = [&](Step step) {
        return std::ranges::count(report.plan.actions, step, &PoolPlan::Action::step);
    };
    if (dry_run) {
        for (const PoolPlan::Action& action : report.plan.actions) {
            console.out(fmt::format("would {} {}\n", to_string(action.step), escaped(action.file)));
        }
    }
    for (const SyncReport::Failed& action : report.failed) {
        console.note(fmt::format("signpost-pool: {}", action.message));
    }
    print_remarks(console, report);
    const auto overlays =
        std::ranges::count(report.plan.remarks, Matter::overlay, &PoolPlan::Remark::matter);
    console.out(fmt::format("{}: {} created, {} replaced, {} removed, {} unchanged, {} in use\n",
                            dry_run ? "would be" : "volumes", count(Step::create),
                            count(Step::replace), count(Step::remove), report.plan.unchanged,
                            overlays));
    if (report.offline) {
        console.note(
            "signpost-pool: libvirt was not asked: what is there stays, and the next sync "
            "does the rest");
    }
}

SyncTerms terms_of(const PoolContext& context, bool refresh_always,
                   const std::vector<WantedVolume>* wanted) {
    Console& console = context.console;
    SyncTerms terms{context.options.pool, context.options.dry_run, refresh_always, {}, wanted};
    if (console.shows_progress()) {
        terms.progress = [&console](std::size_t done, std::size_t all) {
            if (done % 500 == 0 || done == all) {
                console.progress(done == all ? "" : fmt::format("{} of {} volumes", done, all));
            }
        };
    }
    return terms;
}

PoolResult tell(const PoolContext& context, const Result<SyncReport>& report) {
    if (!report) {
        return std::unexpected(pool_failure(report.error()));
    }
    if (context.options.json) {
        context.console.out(sync_json(*report, context.options.dry_run));
    } else {
        print(context.console, *report, context.options.dry_run);
    }
    return report->failed.empty() ? ExitCode::ok : ExitCode::problems_found;
}

PoolResult sync_offline(const PoolContext& context) {
    const auto place = open_pool_place(context.options);
    if (!place) {
        return std::unexpected(place.error());
    }
    const auto catalog = open_pool_catalog(place->settings);
    if (!catalog) {
        return std::unexpected(catalog.error());
    }
    return tell(context, sync_pool_offline(terms_of(context, false, nullptr), place->settings,
                                           **catalog, place->directory));
}

}  // namespace

PoolResult sync_and_report(const PoolContext& context, const OpenPool& pool, bool refresh_always,
                           const std::vector<WantedVolume>* wanted) {
    const auto catalog = open_pool_catalog(pool.settings);
    if (!catalog) {
        return std::unexpected(catalog.error());
    }
    return tell(context, sync_pool(terms_of(context, refresh_always, wanted), pool.settings,
                                   **catalog, pool.host, pool.directory));
}

PoolResult run(const PoolContext& context, const SyncVerb& verb) {
    if (verb.offline) {
        return sync_offline(context);
    }
    const auto pool = open_pool(context.options);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    return sync_and_report(context, *pool, false);
}

}  // namespace signpost
