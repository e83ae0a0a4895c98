// SPDX-License-Identifier: BSD-3-Clause
//
// One thread, one loop: look whether the catalog has changed, take the first job whose turn it is,
// work on it until it ends or has to wait, tell the catalog. The catalog may be away at any time:
// then what is under way goes on, and what is to be said is said later.

#include "nbd-server/disk/copier.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "nbd-server/disk/copy_work.h"
#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/part_file.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kMostAttempts = 4;  // at content that comes out wrong
constexpr int kHintedLooks = 8;        // at most so many, while there would be one without hints
constexpr std::chrono::seconds kFullLook{30};
constexpr std::chrono::seconds kRemember{30};

// A job of ours, and what we know of it beyond the catalog.
struct OwnJob {
    Job job;
    bool pulls = false;  // we are the target; else the source of a move
    Clock::time_point due{};
    Clock::duration delay{};
    unsigned attempt = 0;
    std::optional<Job> last_word = {};  // finished, but the catalog does not know it yet
};

// An image that was just made, as its row has to be: a publication that was prepared before may
// still withdraw it once, and then its digest is gone.
struct Landed {
    DiskName disk;
    Location row;
    Clock::time_point until;
};

// What a job's row can hold of MESSAGE.
std::string fitting(const std::string& message) {
    std::string text = is_utf8(message) ? message : escaped(message, kMaxJobMessage);
    text.resize(std::min(text.size(), kMaxJobMessage));
    while (!is_utf8(text)) {
        text.pop_back();
    }
    return text;
}

class LiveCopier final : public Copier {
   public:
    LiveCopier(CopierParts parts, CopierTimes times)
        : parts_(std::move(parts)),
          times_(times),
          hints_(parts_.catalog.when_changed([this] { hint(); })),
          thread_([this] { run(); }) {}

    ~LiveCopier() override {
        hints_.reset();
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        thread_.join();
    }

   private:
    void run() {
        while (!stopping()) {
            look();
            keep_landed();
            if (OwnJob* job = next_due()) {
                work(*job);
            } else {
                const auto pause = interval();
                std::unique_lock lock(mutex_);
                wake_.wait_for(lock, pause, [this] { return stopping_ || hinted_; });
                wake_.wait_until(lock, not_before_, [this] { return stopping_; });
            }
        }
    }

    std::chrono::milliseconds interval() const {
        return times_.look.count() > 0 ? times_.look : parts_.catalog.look_interval();
    }

    bool stopping() {
        const std::lock_guard lock(mutex_);
        return stopping_;
    }

    // ---- which jobs there are

    void hint() {
        const std::lock_guard lock(mutex_);
        hinted_ = true;
        wake_.notify_all();
    }

    bool take_hint() {
        const std::lock_guard lock(mutex_);
        return std::exchange(hinted_, false);
    }

    void look() {
        const auto now = Clock::now();
        if (!take_hint() && now < look_at_) {
            return;
        }
        look_at_ = now + interval();
        not_before_ = now + interval() / kHintedLooks;
        const auto sequence = parts_.catalog.change_sequence();
        if (!sequence || (seen_ == *sequence && now < full_look_at_)) {
            return;
        }
        auto jobs = parts_.catalog.jobs("");
        if (!jobs) {
            return;
        }
        seen_ = *sequence;
        full_look_at_ = now + kFullLook;
        take(*jobs);
        remove_leftovers(*jobs);
    }

    bool is_ours(const Job& job) const {
        return !is_final(job.state) && (job.target == parts_.server ||
                                        (job.kind == JobKind::move && job.source == parts_.server));
    }

    void take(std::vector<Job>& jobs) {
        std::list<OwnJob> now;
        for (Job& job : jobs) {
            if (!is_ours(job)) {
                continue;
            }
            const auto known =
                std::ranges::find(jobs_, job.id, [](const OwnJob& own) { return own.job.id; });
            if (known != jobs_.end()) {
                now.splice(now.end(), jobs_, known);
                now.back().job = std::move(job);
                if (!now.back().pulls) {
                    now.back().due = {};  // its copy may stand now
                }
            } else {
                OwnJob own{.job = std::move(job)};
                own.pulls = own.job.target == parts_.server;
                now.push_back(std::move(own));
            }
        }
        jobs_ = std::move(now);
    }

    // Files of jobs that ended without us.
    void remove_leftovers(const std::vector<Job>& jobs) {
        if (parts_.repositories.empty()) {
            return;
        }
        const Repository& repository = parts_.repositories.repositories().front();
        for (const std::string& id : staged_ids(repository)) {
            const auto job = std::ranges::find(jobs, id, &Job::id);
            if (job != jobs.end() && (is_final(job->state) || job->target != parts_.server)) {
                PartFile::remove(repository, id);
            }
        }
    }

    OwnJob* next_due() {
        const auto now = Clock::now();
        const auto found =
            std::ranges::find_if(jobs_, [now](const OwnJob& own) { return own.due <= now; });
        return found == jobs_.end() ? nullptr : &*found;
    }

    // ---- work

    void work(OwnJob& own) {
        if (own.last_word) {
            end(own, *own.last_word);
            return;
        }
        const Job& job = own.job;
        cancelled_ = false;
        began_ = Clock::now();
        next_report_ = {};
        const TellProgress tell = [this, &own](const CopyProgress& progress) {
            return report_progress(own, progress);
        };
        auto result = own.pulls ? pull_copy(parts_, job, own.attempt, tell)
                                : give_up_image(parts_, job, tell);
        if (stopping()) {
            return;
        }
        if (cancelled_) {
            forget_cancelled(own);
        } else if (!result) {
            stopped_short(own, result.error());
        } else {
            reached(own, *result);
        }
    }

    void reached(OwnJob& own, const PulledCopy& copy) {
        if (copy.end == CopyEnd::wrong_digest) {
            if (++own.attempt >= kMostAttempts || copy.last_source) {
                stopped_short(own, {Errc::corrupt, copy.message});
            }
            return;
        }
        Job word = own.job;
        word.size = word.done = copy.size;
        word.message = copy.message;
        if (own.pulls) {
            remember_landed(own.job.disk);
        }
        if (copy.end == CopyEnd::other_side) {
            word.state = JobState::running;
            wait(own, word);
            return;
        }
        word.state = JobState::done;
        log_end(own.job, copy);
        end(own, word);
    }

    void log_end(const Job& job, const PulledCopy& copy) {
        const std::chrono::duration<double> passed = Clock::now() - began_;
        parts_.log.info(fmt::format("{}: {} to {}, {} ({:.1f} s, job {})", disk_text(job.disk),
                                    copy.message, job.target, size_for_people(copy.size),
                                    passed.count(), job.id));
    }

    void stopped_short(OwnJob& own, const Error& error) {
        Job word = own.job;
        word.message = fitting(error.message);
        if (error.code == Errc::unavailable || error.code == Errc::not_found) {
            word.state = own.pulls ? JobState::waiting : own.job.state;
            wait(own, word);
            return;
        }
        word.state = JobState::failed;
        parts_.log.error(fmt::format("{}: job {} failed: {}", disk_text(own.job.disk), own.job.id,
                                     error.message));
        end(own, word);
    }

    // Looks again later; says why, once.
    void wait(OwnJob& own, const Job& word) {
        own.delay = own.delay == own.delay.zero()
                        ? Clock::duration(times_.retry)
                        : std::min<Clock::duration>(2 * own.delay, times_.slowest);
        own.due = Clock::now() + own.delay;
        const bool news = word.message != own.job.message || word.state != own.job.state;
        if (!own.pulls || !news) {
            return;
        }
        if (parts_.catalog.report_job(word)) {
            own.job = word;
        }
    }

    void end(OwnJob& own, const Job& word) {
        const auto told = parts_.catalog.report_job(word);
        if (!told && told.error().code != Errc::conflict && told.error().code != Errc::not_found) {
            own.last_word = word;
            own.due = Clock::now() + times_.retry;
            return;
        }
        remove_files(own);
        std::erase_if(jobs_, [&](const OwnJob& other) { return &other == &own; });
    }

    void forget_cancelled(OwnJob& own) {
        parts_.log.info(
            fmt::format("{}: job {} was cancelled", disk_text(own.job.disk), own.job.id));
        remove_files(own);
        std::erase_if(jobs_, [&](const OwnJob& other) { return &other == &own; });
    }

    void remove_files(const OwnJob& own) {
        if (own.pulls && !parts_.repositories.empty()) {
            PartFile::remove(parts_.repositories.repositories().front(), own.job.id);
        }
    }

    Result<void> report_progress(OwnJob& own, const CopyProgress& progress) {
        if (stopping()) {
            return fail(Errc::unavailable, "the server stops");
        }
        const auto now = Clock::now();
        if (now < next_report_) {
            return {};
        }
        Job word = own.job;
        word.state = JobState::running;
        word.size = progress.size;
        word.done = progress.done;
        word.message = progress.message;
        const auto told = parts_.catalog.report_job(word);
        if (!told &&
            (told.error().code == Errc::conflict || told.error().code == Errc::not_found)) {
            cancelled_ = true;
            return fail(Errc::unavailable, "the job was cancelled");
        }
        if (told) {
            own.job = word;
            own.delay = {};
        }
        // A catalog that hangs must not slow the copy down.
        next_report_ =
            Clock::now() + std::max<Clock::duration>(times_.report, 20 * (Clock::now() - now));
        return {};
    }

    // ---- images that were just made

    void remember_landed(const DiskName& disk) {
        const auto record = record_now(parts_.catalog, disk);
        const Location* own = record && *record ? copy_on(**record, parts_.server) : nullptr;
        std::erase_if(landed_, [&](const Landed& landed) { return landed.disk == disk; });
        if (own != nullptr && !own->digest.empty()) {
            landed_.push_back({disk, *own, Clock::now() + kRemember});
        }
    }

    void keep_landed() {
        const auto now = Clock::now();
        std::erase_if(landed_, [now](const Landed& landed) { return landed.until <= now; });
        for (const Landed& landed : landed_) {
            const auto record = record_now(parts_.catalog, landed.disk);
            const Location* own = record && *record ? copy_on(**record, parts_.server) : nullptr;
            const bool lost = own != nullptr && own->digest.empty() && own->read_only &&
                              own->fingerprint == landed.row.fingerprint &&
                              own->generation != landed.row.generation;
            if (lost) {
                (void)parts_.catalog.record_digest(
                    {landed.disk, parts_.server, own->generation, landed.row.digest});
            }
        }
    }

    const CopierParts parts_;
    const CopierTimes times_;

    std::mutex mutex_;
    std::condition_variable wake_;
    bool stopping_ = false;  // guarded by mutex_
    bool hinted_ = false;    // guarded by mutex_

    // The thread's own.
    std::list<OwnJob> jobs_;
    std::vector<Landed> landed_;
    std::optional<std::uint64_t> seen_;
    Clock::time_point look_at_{};
    Clock::time_point not_before_{};
    Clock::time_point full_look_at_{};
    Clock::time_point began_{};
    Clock::time_point next_report_{};
    bool cancelled_ = false;

    std::shared_ptr<void> hints_;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<Copier> start_copier(CopierParts parts, CopierTimes times) {
    return std::make_unique<LiveCopier>(std::move(parts), times);
}

}  // namespace signpost
