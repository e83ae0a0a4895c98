// SPDX-License-Identifier: BSD-3-Clause
//
// `jobs`: what the servers are doing for `copy`, `move` and `repair`, and the end of it.

#include <fmt/format.h>

#include <algorithm>

#include "cli/job_report.h"
#include "cli/job_watch.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

const std::vector<Column> kColumns = {{"id"},   {"state"},  {"kind"},       {"disk"},
                                      {"from"}, {"to"},     {"done", true}, {"size", true},
                                      {"age"},  {"message"}};

Tone tone_of(JobState state) {
    switch (state) {
        case JobState::done:
            return Tone::good;
        case JobState::failed:
            return Tone::bad;
        case JobState::cancelled:
            return Tone::faint;
        case JobState::waiting:
        case JobState::running:
            break;
    }
    return Tone::plain;
}

bool print_table(const Context& context, const std::vector<Job>& jobs, std::int64_t now) {
    Table table(kColumns, context.options.table);
    for (const Job& job : jobs) {
        table.add({{job.id.substr(0, context.options.table.tabs ? job.id.npos : 8)},
                   {std::string(to_string(job.state)), tone_of(job.state)},
                   {std::string(to_string(job.kind))},
                   {shown_name(context.console, job.disk.str())},
                   {job.source.empty() ? "-" : job.source},
                   {job.target},
                   {shown_size(context.options, job.done)},
                   {shown_size(context.options, job.size)},
                   {age(job.created, now)},
                   {job.message.empty() ? "-" : escaped(job.message, 600)}});
    }
    return table.write(context.console);
}

}  // namespace

VerbResult run(const Context& context, const JobsVerb& verb) {
    if (const auto checked = check_columns(context.options.table.columns, kColumns); !checked) {
        return std::unexpected(checked.error());
    }
    const auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    std::vector<Job> jobs;
    if (verb.id.empty()) {
        auto all = view->catalog().jobs("");
        if (!all) {
            return std::unexpected(catalog_failure(all.error()));
        }
        jobs = std::move(*all);
    } else {
        auto job = find_job(*view, verb.id);
        if (!job) {
            return std::unexpected(job.error());
        }
        jobs.push_back(std::move(*job));
    }
    if (!context.json()) {
        const auto now = view->now();
        if (!now) {
            return std::unexpected(now.error());
        }
        print_table(context, jobs, *now);
        return ExitCode::ok;
    }
    if (!verb.id.empty() && context.options.json == JsonMode::whole) {
        context.console.out(job_json(jobs.front(), false) + "\n");
        return ExitCode::ok;
    }
    JsonList list(context.options.json == JsonMode::lines);
    for (const Job& job : jobs) {
        context.console.out(list.item(job_json(job, false)));
    }
    context.console.out(list.end());
    return ExitCode::ok;
}

VerbResult run(const Context& context, const JobsCancelVerb& verb) {
    const auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    auto job = find_job(*view, verb.id);
    if (!job) {
        return std::unexpected(job.error());
    }
    const std::string what = job_text(context.options, *job);
    job->state = JobState::cancelled;
    if (!context.options.dry_run) {
        if (const auto put = put_job(*view, *job); !put) {
            return std::unexpected(put.error());
        }
    }
    context.console.out(
        context.json()
            ? job_json(*job, context.options.dry_run) + "\n"
            : fmt::format("{}: {}\n", context.options.dry_run ? "would be cancelled" : "cancelled",
                          what));
    return ExitCode::ok;
}

}  // namespace signpost
