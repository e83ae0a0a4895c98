// SPDX-License-Identifier: BSD-3-Clause
//
// One thread, one loop: take what inotify says, wait a moment for more, look at the images that it
// concerns, tell the catalog. A single event never costs a scan of everything; lost events, a limit
// on watches and time itself do.

#include "nbd-server/disk/publisher.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <thread>
#include <utility>

#include "nbd-server/disk/catalog_feed.h"
#include "nbd-server/disk/held_images.h"
#include "nbd-server/disk/image_file.h"
#include "nbd-server/disk/tree_watch.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kDebounce{200};
constexpr std::chrono::seconds kShortestRescan{1};

class LivePublisher final : public Publisher {
   public:
    LivePublisher(PublisherSettings settings, const RepositorySet& repositories, Catalog& catalog,
                  Log& log)
        : settings_(std::move(settings)),
          repositories_(repositories),
          log_(log),
          stop_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
          watch_(log),
          held_(settings_.settle, log),
          feed_(catalog, settings_.server, settings_.heartbeat, settings_.sessions, log),
          thread_([this] { run(); }) {}

    ~LivePublisher() override {
        stopping_ = true;
        ::eventfd_write(stop_event_.get(), 1);
        thread_.join();
    }

    std::vector<Image> images() const override { return held_.images(); }
    std::vector<DiskName> names_beginning(std::string_view prefix) const override {
        return held_.names_beginning(prefix);
    }
    std::uint64_t publications() const override { return feed_.publications(); }
    std::int64_t last_scan() const override { return last_scan_; }

   private:
    void run() {
        if (!settings_.registered) {
            feed_.register_first();
        }
        while (!stopping_) {
            const auto now = Clock::now();
            if (now >= scan_at_) {
                scan();
            } else if (now >= look_at_) {
                look();
            }
            if (stopping_) {
                return;
            }
            feed_.beat(held_);
            feed_.publish(held_);
            if (wait()) {
                take_events();
            }
        }
    }

    // Asked again and again in long work: the heartbeat goes on, and a stop is heard.
    bool keep_going() {
        if (!stopping_) {
            feed_.beat(held_);
        }
        return !stopping_;
    }

    RepositorySet::ScanOptions scan_options() {
        return {.settle = settings_.settle,
                .keep_going = [this] { return keep_going(); },
                .on_directory = [this](const RepositoryPath& directory,
                                       int fd) { watch_.add(directory, fd); }};
    }

    void scan() {
        const auto start = Clock::now();
        dirty_.clear();
        new_directories_.clear();
        look_at_ = Clock::time_point::max();
        auto found = repositories_.scan(scan_options());
        if (found.ended) {
            held_.replace(std::move(found));
            last_scan_ = std::time(nullptr);
        }
        const auto now = Clock::now();
        earliest_scan_ = now + std::max<Clock::duration>(kShortestRescan, 4 * (now - start));
        scan_at_ = std::max<Clock::time_point>(now + settings_.rescan, earliest_scan_);
        look_at_ = std::min(look_at_, held_.next_due());
    }

    // Looks at the images that may have changed, and at those whose time has come.
    void look() {
        for (const RepositoryPath& directory : std::exchange(new_directories_, {})) {
            for (DiskName& name : repositories_.names_beneath(directory, scan_options())) {
                dirty_.insert(std::move(name));
            }
        }
        if (!dirty_.empty()) {
            dirty_.merge(held_.worth_another_try());
        }
        dirty_.merge(held_.due(Clock::now()));
        unsigned count = 0;
        std::set<DiskName> pending = std::exchange(dirty_, {});
        std::set<DiskName> seen = pending;
        while (!pending.empty()) {
            const DiskName name = std::move(pending.extract(pending.begin()).value());
            if (++count % 128 == 0 && !keep_going()) {
                return;
            }
            auto found = repositories_.inspect(name, settings_.settle);
            for (DiskName& layer : found ? found->layers : std::vector<DiskName>()) {
                // A new layer gives another a new name, of which no event tells.
                if (!held_.has(layer) && seen.insert(layer).second) {
                    pending.insert(layer);
                }
            }
            held_.update(name, std::move(found));
        }
        look_at_ = held_.next_due();
    }

    // True when inotify has something to say.
    bool wait() {
        const auto next =
            std::min({scan_at_, look_at_, feed_.next_beat(), feed_.next_publish(held_)});
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
        constexpr std::int64_t kLongest = 60'000;
        pollfd fds[] = {{.fd = stop_event_.get(), .events = POLLIN, .revents = 0},
                        {.fd = watch_.fd(), .events = POLLIN, .revents = 0}};
        const auto timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, kLongest));
        const int ready = ::poll(fds, 2, timeout);
        return ready > 0 && fds[1].revents != 0;
    }

    void take_events() {
        for (const TreeWatch::Event& event : watch_.take()) {
            if (event.change == TreeWatch::Change::lost) {
                rescan_after_loss();
                continue;
            }
            if (event.change == TreeWatch::Change::directory_came) {
                new_directories_.push_back(event.where);
            } else {
                note(event.where);
            }
            look_at_ = std::min(look_at_, Clock::now() + kDebounce);
        }
    }

    void note(const RepositoryPath& where) {
        auto names = held_.concerned(where, repositories_.bases_of(where));
        const auto name = repositories_.name_of(where);
        if (name && *name) {
            names.insert(**name);
        }
        // A chain that breaks gives its files their own names back.
        for (const RepositoryPath& file : held_.files_of(names)) {
            if (auto own = repositories_.name_of(file); own && *own) {
                names.insert(std::move(**own));
            }
        }
        for (const DiskName& each : names) {
            held_.forget_waiting(each);
            dirty_.insert(each);
        }
        if (name && !*name) {
            held_.refuse(fmt::format(
                "image {}: {}",
                display_path(repositories_.repositories()[where.repository], where.path),
                name->error().message));
        }
    }

    void rescan_after_loss() {
        if (!std::exchange(loss_logged_, true)) {
            log_.info(
                "the kernel lost events about changed images, as it may when there are many "
                "(fs.inotify.max_queued_events); everything is scanned again");
        }
        scan_at_ = std::min(scan_at_, earliest_scan_);
    }

    const PublisherSettings settings_;
    const RepositorySet& repositories_;
    Log& log_;
    const UniqueFd stop_event_;
    std::atomic<bool> stopping_{false};
    std::atomic<std::int64_t> last_scan_{0};

    // The thread's own.
    TreeWatch watch_;
    HeldImages held_;  // but for images()
    CatalogFeed feed_;
    std::set<DiskName> dirty_;
    std::vector<RepositoryPath> new_directories_;
    Clock::time_point look_at_ = Clock::time_point::max();
    Clock::time_point scan_at_{};
    Clock::time_point earliest_scan_{};
    bool loss_logged_ = false;

    std::thread thread_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<Publisher> start_publisher(PublisherSettings settings,
                                           const RepositorySet& repositories, Catalog& catalog,
                                           Log& log) {
    return std::make_unique<LivePublisher>(std::move(settings), repositories, catalog, log);
}

}  // namespace signpost
