// SPDX-License-Identifier: BSD-3-Clause

#include "cli/job_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <ctime>
#include <map>

#include "terminal/progress.h"
#include "terminal/text.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

// Seldom, but so that little is added to the time that it takes.
constexpr std::chrono::milliseconds kFirstLook{10};
constexpr std::chrono::milliseconds kLook{100};
constexpr int kLooks = 16;  // while it takes twice as long
constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::seconds kQuiet{2};  // what takes less needs no progress

// SIGINT becomes something to look for, so that there is time for a last word.
class InterruptWatch {
   public:
    InterruptWatch() {
        sigemptyset(&set_);
        sigaddset(&set_, SIGINT);
        sigprocmask(SIG_BLOCK, &set_, &before_);
    }
    InterruptWatch(const InterruptWatch&) = delete;
    InterruptWatch& operator=(const InterruptWatch&) = delete;
    ~InterruptWatch() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

    // Waits; true: it came.
    bool wait(std::chrono::milliseconds limit) const {
        const timespec time{limit.count() / 1000, limit.count() % 1000 * 1'000'000};
        return sigtimedwait(&set_, nullptr, &time) == SIGINT;
    }

   private:
    sigset_t set_{};
    sigset_t before_{};
};

std::string how_to_look(const std::vector<Job>& jobs) {
    return jobs.size() == 1
               ? fmt::format(
                     "the job goes on; look with: signpost jobs {0}, end it with: signpost "
                     "jobs cancel {0}",
                     jobs.front().id)
               : "the jobs go on; look with: signpost jobs";
}

class Watching {
   public:
    Watching(const Context& context, const FederationView& view, std::vector<Job> jobs)
        : context_(context), view_(view), jobs_(std::move(jobs)) {}

    Outcome<std::vector<Job>> run() {
        const InterruptWatch interrupt;
        auto answered = Clock::now();
        for (;;) {
            if (auto looked = look()) {
                answered = Clock::now();
            } else if (Clock::now() - answered > kPatience) {
                Failure failed = catalog_failure(looked.error());
                failed.message += "; " + how_to_look(jobs_);
                return std::unexpected(std::move(failed));
            }
            if (std::ranges::all_of(jobs_, [](const Job& job) { return is_final(job.state); })) {
                context_.console.progress("");
                return std::move(jobs_);
            }
            const auto passed = Clock::now() - began_;
            if (interrupt.wait(std::clamp(
                    std::chrono::duration_cast<std::chrono::milliseconds>(passed / kLooks),
                    kFirstLook, kLook))) {
                context_.console.progress("");
                return failure(ExitCode::interrupted, how_to_look(jobs_));
            }
        }
    }

   private:
    // When the bytes of a job were first seen, for its rate.
    struct Seen {
        Clock::time_point since;
        std::uint64_t done = 0;
        std::string said;
    };

    Result<void> look() {
        const auto all = view_.catalog().jobs(jobs_.size() == 1 ? jobs_.front().target : "");
        if (!all) {
            return std::unexpected(all.error());
        }
        for (Job& job : jobs_) {
            const auto now = std::ranges::find(*all, job.id, &Job::id);
            if (now == all->end()) {
                job.state = JobState::failed;
                job.message = "it is not in the catalog any more";
            } else {
                job = *now;
            }
            tell(job);
        }
        return {};
    }

    void tell(const Job& job) {
        if (is_final(job.state)) {
            return;
        }
        const auto now = Clock::now();
        auto [seen, fresh] = seen_.try_emplace(job.id, Seen{now, job.done, ""});
        if (job.done < seen->second.done) {
            seen->second = {now, job.done, seen->second.said};
        }
        if (job.state == JobState::waiting && job.message != seen->second.said) {
            seen->second.said = job.message;
            if (!job.message.empty()) {
                context_.console.note(fmt::format("signpost: {}: waiting: {}",
                                                  escaped(job.disk.str()),
                                                  escaped(job.message, 600)));
            }
        }
        if (context_.console.shows_progress() && job.state == JobState::running &&
            now - began_ >= kQuiet) {
            show(job, seen->second, now);
        }
    }

    void show(const Job& job, const Seen& seen, Clock::time_point now) {
        const std::string what = fmt::format("{} to {}: {}", escaped(job.disk.str(), 60),
                                             job.target, escaped(job.message, 60));
        const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - seen.since);
        context_.console.progress(
            progress_line(what, job.done, job.size, passed, job.done - seen.done));
    }

    const Context& context_;
    const FederationView& view_;
    std::vector<Job> jobs_;
    const Clock::time_point began_ = Clock::now();
    std::map<std::string, Seen> seen_;
};

}  // namespace

Outcome<void> put_job(const FederationView& view, const Job& job) {
    const auto put = view.catalog().put_job(job);
    if (put) {
        return {};
    }
    if (put.error().code == Errc::conflict) {
        return failure(ExitCode::conflict, put.error().message);
    }
    return std::unexpected(catalog_failure(put.error()));
}

Outcome<Job> find_job(const FederationView& view, std::string_view id) {
    const auto all = view.catalog().jobs("");
    if (!all) {
        return std::unexpected(catalog_failure(all.error()));
    }
    std::vector<const Job*> found;
    for (const Job& job : *all) {
        if (job.id.starts_with(id)) {
            found.push_back(&job);
        }
    }
    if (found.size() == 1) {
        return *found.front();
    }
    return failure(ExitCode::no_such_disk,
                   found.empty()
                       ? fmt::format("there is no job {}; see: signpost jobs", escaped(id, 40))
                       : fmt::format("{} jobs begin with {}; give more of its digits", found.size(),
                                     escaped(id, 40)));
}

Outcome<std::vector<Job>> watch_jobs(const Context& context, const FederationView& view,
                                     std::vector<Job> jobs) {
    return Watching(context, view, std::move(jobs)).run();
}

}  // namespace signpost
