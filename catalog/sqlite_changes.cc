// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_changes.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <string_view>

namespace signpost {

namespace {

// A change is many writes, and a busy catalog has many changes.
constexpr std::chrono::milliseconds kRest{10};

// Whether one of EVENTS is of the file NAME, or says that some were lost.
bool speak_of(std::string_view events, std::string_view name) {
    while (events.size() >= sizeof(inotify_event)) {
        inotify_event head;
        events.copy(reinterpret_cast<char*>(&head), sizeof head);
        const auto shown = events.substr(sizeof head, head.len);
        if ((head.mask & IN_Q_OVERFLOW) != 0 || shown.substr(0, shown.find('\0')) == name)
            return true;
        events.remove_prefix(std::min(events.size(), sizeof head + head.len));
    }
    return false;
}

}  // namespace

// The directory is watched, because the log comes and goes.
SqliteChanges::SqliteChanges(const std::string& path, std::shared_ptr<const ChangeHints> hints)
    : hints_(std::move(hints)),
      inotify_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      stop_(eventfd(0, EFD_CLOEXEC)) {
    const std::filesystem::path file(path);
    if (inotify_ < 0 || stop_ < 0 ||
        inotify_add_watch(inotify_, file.parent_path().c_str(), IN_MODIFY | IN_ONLYDIR) < 0)
        return;
    thread_ = std::thread([this, name = file.filename().string() + "-wal"] { run(name); });
}

SqliteChanges::~SqliteChanges() {
    if (thread_.joinable()) {
        eventfd_write(stop_, 1);
        thread_.join();
    }
    if (stop_ >= 0)
        close(stop_);
    if (inotify_ >= 0)
        close(inotify_);
}

void SqliteChanges::run(const std::string& log_name) {
    std::array<pollfd, 2> wait{{{stop_, POLLIN, 0}, {inotify_, POLLIN, 0}}};
    std::array<char, 4096> events;
    for (;;) {
        if (poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR)
            return;
        bool changed = false;
        for (ssize_t got; (got = read(inotify_, events.data(), events.size())) > 0;)
            changed = speak_of({events.data(), static_cast<std::size_t>(got)}, log_name) || changed;
        if (changed)
            hints_->tell();
        if (poll(wait.data(), 1, kRest.count()) > 0)
            return;
    }
}

}  // namespace signpost
