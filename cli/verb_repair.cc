// SPDX-License-Identifier: BSD-3-Clause
//
// `repair`: finds disks with fewer good copies than wished, has the missing ones made, and watches.
// A place that turns out wrong (no room, switched off) is passed over in the next round.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "cli/job_plan.h"
#include "cli/job_report.h"
#include "cli/repair_plan.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

constexpr const char* kUsualFile = "/etc/signpost/signpost.toml";
constexpr unsigned kRounds = 3;
constexpr std::size_t kMaxFile = 1024 * 1024;

Outcome<std::vector<WishedCopies>> wishes_of(const RepairVerb& verb) {
    if (verb.copies) {
        const std::string pattern = verb.pattern.empty()       ? "*"
                                    : is_pattern(verb.pattern) ? verb.pattern
                                                               : verb.pattern + "*";
        return std::vector<WishedCopies>{{pattern, *verb.copies}};
    }
    const std::string path = verb.config.empty() ? kUsualFile : verb.config;
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        return failure(ExitCode::usage,
                       fmt::format("how many copies? say --copies N, or write [[copies]] into {}{}",
                                   escaped(path),
                                   verb.config.empty() ? ""
                                                       : ", which cannot be "
                                                         "read"));
    }
    std::string text(kMaxFile, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    auto wishes = parse_wished_copies(text, path);
    if (!wishes) {
        return failure(ExitCode::usage, wishes.error().message);
    }
    if (wishes->empty()) {
        return failure(ExitCode::usage,
                       fmt::format("{} wishes no copies: write [[copies]] into it, or say --copies "
                                   "N",
                                   escaped(path)));
    }
    return std::move(*wishes);
}

struct Round {
    std::vector<Job> jobs;
    std::vector<std::string> problems;
    std::uint64_t disks = 0;  // for which something is wished
};

class Repair {
   public:
    Repair(const Context& context, FederationView& view, const RepairVerb& verb,
           std::vector<WishedCopies> wishes, std::vector<Server> servers, std::int64_t now)
        : context_(context),
          view_(view),
          verb_(verb),
          servers_(servers),
          plan_(std::move(servers), std::move(wishes), now) {}

    VerbResult run() {
        if (auto noted = view_.each_disk("",
                                         [this](const DiskRecord& disk) {
                                             plan_.note(disk);
                                             return true;
                                         });
            !noted) {
            return std::unexpected(noted.error());
        }
        std::vector<Job> ended;
        for (unsigned round = 0;; ++round) {
            auto needed = look();
            if (!needed) {
                return std::unexpected(needed.error());
            }
            if (verb_.detach || context_.options.dry_run) {
                return problems(*needed,
                                carry_out(context_, view_, needed->jobs, true, verb_.detach));
            }
            if (needed->jobs.empty() || round == kRounds) {
                return end(*needed, ended);
            }
            auto done = put_and_watch(context_, view_, std::move(needed->jobs));
            if (!done) {
                return std::unexpected(done.error());
            }
            for (Job& job : *done) {
                if (job.state != JobState::done) {
                    plan_.exclude(job.disk, job.target);
                }
                ended.push_back(std::move(job));
            }
        }
    }

   private:
    bool concerns(const DiskName& disk) const {
        return verb_.pattern.empty() ||
               (is_pattern(verb_.pattern) ? matches_pattern(verb_.pattern, disk.str())
                                          : disk.str().starts_with(verb_.pattern));
    }

    Outcome<Round> look() {
        Round round;
        Outcome<void> made;
        const auto seen = view_.each_disk(fixed_prefix(verb_.pattern), [&](const DiskRecord& disk) {
            if (concerns(disk.name)) {
                made = look_at(disk, round);
            }
            return made.has_value();
        });
        if (!seen || !made) {
            return std::unexpected(seen ? made.error() : seen.error());
        }
        return round;
    }

    Outcome<void> look_at(const DiskRecord& disk, Round& round) {
        const RepairPlan::Need need = plan_.look_at(disk);
        round.disks += need.wished > 0 ? 1 : 0;
        if (!need.problem.empty()) {
            round.problems.push_back(fmt::format("{}: {}", escaped(disk.name.str()), need.problem));
        }
        for (const std::string& target : need.targets) {
            auto job = plan_job(disk, servers_, {JobKind::copy, target, "", verb_.rate});
            if (!job) {
                round.problems.push_back(job.error().message);
            } else {
                round.jobs.push_back(std::move(*job));
            }
        }
        return {};
    }

    VerbResult problems(const Round& round, VerbResult result) {
        for (const std::string& problem : round.problems) {
            context_.console.note(fmt::format("signpost: {}", problem));
        }
        return result && !round.problems.empty() ? ExitCode::problems_found : result;
    }

    // What failed at one place may have been made good at another.
    VerbResult end(const Round& left, const std::vector<Job>& ended) {
        if (!ended.empty() || context_.json()) {
            (void)report_jobs(context_, ended, true);
        } else if (left.problems.empty()) {
            context_.console.out(
                fmt::format("{}: as many good copies as wished\n", counted(left.disks, "disk")));
        }
        return problems(left, left.jobs.empty() ? ExitCode::ok : ExitCode::failed);
    }

    const Context& context_;
    FederationView& view_;
    const RepairVerb& verb_;
    const std::vector<Server> servers_;
    RepairPlan plan_;
};

}  // namespace

VerbResult run(const Context& context, const RepairVerb& verb) {
    auto wishes = wishes_of(verb);
    if (!wishes) {
        return std::unexpected(wishes.error());
    }
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto servers = view->servers();
    if (!servers) {
        return std::unexpected(servers.error());
    }
    const auto now = view->now();
    if (!now) {
        return std::unexpected(now.error());
    }
    return Repair(context, *view, verb, std::move(*wishes), **servers, *now).run();
}

}  // namespace signpost
