// SPDX-License-Identifier: BSD-3-Clause

#include "cli/job_report.h"

#include <fmt/format.h>

#include "cli/job_watch.h"
#include "cli/json_output.h"

namespace signpost {

namespace {

void print_jobs(const Context& context, const std::vector<Job>& jobs, bool as_list,
                std::string (*text)(const Context&, const Job&)) {
    if (!context.json()) {
        for (const Job& job : jobs) {
            context.console.out(text(context, job));
        }
        return;
    }
    if (!as_list && context.options.json == JsonMode::whole) {
        context.console.out(job_json(jobs.front(), context.options.dry_run) + "\n");
        return;
    }
    JsonList list(context.options.json == JsonMode::lines);
    for (const Job& job : jobs) {
        context.console.out(list.item(job_json(job, context.options.dry_run)));
    }
    context.console.out(list.end());
}

std::string would_text(const Context& context, const Job& job) {
    return fmt::format("would {}\n", job_text(context.options, job));
}

std::string put_text(const Context&, const Job& job) {
    return fmt::format("{}\n", job.id);
}

std::string ended_text(const Context& context, const Job& job) {
    const std::string name = shown_name(context.console, job.disk.str());
    if (job.state == JobState::done) {
        return fmt::format("{}  {} to {}  {}\n", name,
                           job.kind == JobKind::move ? "moved" : "copied", job.target,
                           shown_size(context.options, job.size));
    }
    return fmt::format("{}  {}  {}  {}\n", name,
                       context.console.toned(Tone::bad, to_string(job.state)), job.target,
                       escaped(job.message, 600));
}

}  // namespace

std::string job_text(const Options& options, const Job& job) {
    const std::string from = job.source.empty() ? "" : fmt::format(" from {}", job.source);
    return fmt::format("{} {}{} to {}, {}", to_string(job.kind), escaped(job.disk.str()), from,
                       job.target, shown_size(options, job.size));
}

Outcome<std::vector<Job>> put_and_watch(const Context& context, const FederationView& view,
                                        std::vector<Job> jobs) {
    for (const Job& job : jobs) {
        if (const auto put = put_job(view, job); !put) {
            return std::unexpected(put.error());
        }
    }
    return watch_jobs(context, view, std::move(jobs));
}

ExitCode report_jobs(const Context& context, const std::vector<Job>& jobs, bool as_list) {
    print_jobs(context, jobs, as_list, ended_text);
    ExitCode code = ExitCode::ok;
    for (const Job& job : jobs) {
        if (job.state == JobState::done) {
            continue;
        }
        code = ExitCode::failed;
        if (context.json()) {
            context.console.note(fmt::format("signpost: {}: {}", escaped(job.disk.str()),
                                             escaped(job.message, 600)));
        }
    }
    return code;
}

VerbResult carry_out(const Context& context, const FederationView& view, std::vector<Job> jobs,
                     bool as_list, bool detach) {
    if (context.options.dry_run) {
        print_jobs(context, jobs, as_list, would_text);
        return ExitCode::ok;
    }
    if (detach) {
        for (const Job& job : jobs) {
            if (const auto put = put_job(view, job); !put) {
                return std::unexpected(put.error());
            }
        }
        print_jobs(context, jobs, as_list, put_text);
        return ExitCode::ok;
    }
    const auto ended = put_and_watch(context, view, std::move(jobs));
    if (!ended) {
        return std::unexpected(ended.error());
    }
    return report_jobs(context, *ended, as_list);
}

}  // namespace signpost
