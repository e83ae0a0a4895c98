// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/tree_watch.h"

#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

constexpr std::uint32_t kMask = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM |
                                IN_MOVED_TO | IN_DELETE_SELF | IN_ONLYDIR;

}  // namespace

bool lies_beneath(const std::string& inner, const std::string& outer) {
    return outer.empty() || inner == outer ||
           (inner.size() > outer.size() && inner.starts_with(outer) && inner[outer.size()] == '/');
}

TreeWatch::TreeWatch(Log& log) : log_(log), inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    if (!inotify_) {
        complain(errno);
    }
}

void TreeWatch::add(const RepositoryPath& directory, int directory_fd) {
    if (!inotify_) {
        return;
    }
    const std::string path = fmt::format("/proc/self/fd/{}", directory_fd);
    const int watch = ::inotify_add_watch(inotify_.get(), path.c_str(), kMask);
    if (watch < 0) {
        complain(errno);
        return;
    }
    auto& places = places_[watch];
    if (std::ranges::find(places, directory) == places.end()) {
        places.push_back(directory);
    }
}

void TreeWatch::complain(int error) {
    if (complained_) {
        return;
    }
    complained_ = true;
    const bool limit = error == ENOSPC || error == EMFILE;
    log_.error(
        fmt::format("cannot watch every directory of the repositories ({}){}; changes there "
                    "are seen by the rescan",
                    error_text(error),
                    limit ? ": raise fs.inotify.max_user_watches or "
                            "fs.inotify.max_user_instances"
                          : ""));
}

std::vector<TreeWatch::Event> TreeWatch::take() {
    std::vector<Event> events;
    alignas(inotify_event) std::array<char, 64 * 1024> buffer;
    // Bounded, so that a storm of events cannot keep the caller from its other duties.
    for (int rounds = 0; rounds < 64; ++rounds) {
        const ssize_t length = ::read(inotify_.get(), buffer.data(), buffer.size());
        if (length <= 0) {
            break;
        }
        for (std::size_t at = 0; at < static_cast<std::size_t>(length);) {
            inotify_event event{};
            std::memcpy(&event, buffer.data() + at, sizeof event);
            const char* name = buffer.data() + at + sizeof event;
            take_one(event.wd, event.mask, event.len > 0 ? std::string(name) : std::string(),
                     events);
            at += sizeof event + event.len;
        }
    }
    return events;
}

void TreeWatch::take_one(int watch, std::uint32_t mask, const std::string& name,
                         std::vector<Event>& events) {
    if ((mask & (IN_Q_OVERFLOW | IN_UNMOUNT)) != 0) {
        events.push_back({.change = Change::lost, .where = {}});
        return;
    }
    const auto found = places_.find(watch);
    if (found == places_.end()) {
        return;
    }
    if ((mask & IN_IGNORED) != 0) {
        places_.erase(found);
        return;
    }
    if (name.empty() || is_ignored_component(name)) {
        return;
    }
    const auto places = found->second;  // a copy: forgetting changes the map
    for (const RepositoryPath& place : places) {
        RepositoryPath where{.repository = place.repository,
                             .path = place.path.empty() ? name : place.path + '/' + name};
        Change change = Change::file;
        if ((mask & IN_ISDIR) != 0) {
            const bool went = (mask & (IN_DELETE | IN_MOVED_FROM)) != 0;
            change = went ? Change::directory_went : Change::directory_came;
        }
        if (change == Change::directory_went) {
            forget_beneath(where);
        }
        events.push_back({.change = change, .where = std::move(where)});
    }
}

// Needed when a directory was moved away: its watches would go on under the old name.
void TreeWatch::forget_beneath(const RepositoryPath& directory) {
    for (auto at = places_.begin(); at != places_.end();) {
        std::erase_if(at->second, [&](const RepositoryPath& place) {
            return place.repository == directory.repository &&
                   lies_beneath(place.path, directory.path);
        });
        if (at->second.empty()) {
            ::inotify_rm_watch(inotify_.get(), at->first);
            at = places_.erase(at);
        } else {
            ++at;
        }
    }
}

}  // namespace signpost
