// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/server_log.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "nbd-server/server/json_line.h"

namespace signpost {
namespace {

// Bytes of a line that are kept; what comes of them fits a pipe that has room at all.
constexpr std::size_t kLongest = 2048;

std::string cut(std::string_view line) {
    std::string text(line.substr(0, kLongest));
    if (text.size() < line.size()) {
        text += "...";
    }
    return text;
}

}  // namespace

std::string time_text(std::int64_t time_ms) {
    const time_t seconds = time_ms / 1000;
    tm parts{};
    ::gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                       parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                       time_ms % 1000);
}

std::int64_t clock_ms(int clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

std::string log_line(const LogPart& part, const ServerLog::Options& options, std::int64_t time_ms) {
    if (options.format == LogFormat::json) {
        JsonLine line;
        line.add("time", time_text(time_ms)).add("level", part.level).add("msg", cut(part.text));
        return (options.journal ? fmt::format("<{}>", part.priority) : "") + line.str();
    }
    const std::string said =
        fmt::format("level={} msg={}", part.level, json_quoted(cut(part.text)));
    return options.journal ? fmt::format("<{}>{}", part.priority, said)
                           : fmt::format("{} {}", time_text(time_ms), said);
}

void ServerLog::debug(std::string_view line) {
    if (options_.verbose) {
        write("debug", 7, line);
    }
}

bool ServerLog::to_journal(int fd) {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat status {};
    return stream != nullptr && ::fstat(fd, &status) == 0 &&
           stream == fmt::format("{}:{}", status.st_dev, status.st_ino);
}

// Standard error is somebody else's, who may have stopped to read it. So a line is written only
// when there is room, and else counted: no event loop waits for a reader of logs.
bool ServerLog::try_write(std::string_view text) {
    pollfd room{options_.fd, POLLOUT, 0};
    if (::poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0) {
        return false;
    }
    ssize_t n = -1;
    do {
        n = ::write(options_.fd, text.data(), text.size());
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}

void ServerLog::put(std::string_view level, int priority, std::string_view line) {
    const int saved = errno;
    const std::int64_t now = clock_ms(CLOCK_REALTIME);
    if (unread_ > 0) {
        const std::string lost = fmt::format("{} lines were lost, nobody read them", unread_);
        if (try_write(log_line({"warning", 4, lost}, options_, now) + "\n")) {
            unread_ = 0;
        }
    }
    if (unread_ > 0 || !try_write(log_line({level, priority, line}, options_, now) + "\n")) {
        ++unread_;
    }
    errno = saved;
}

// Counts how often the same line came in the same second.
bool ServerLog::is_flood(std::string_view line) {
    const auto now = std::chrono::steady_clock::now();
    if (line == last_ && now - since_ < std::chrono::seconds(1)) {
        return ++repeated_ >= kBurst;
    }
    if (repeated_ >= kBurst) {
        put("warning", 4, fmt::format("the last line came {} times more", repeated_ + 1 - kBurst));
    }
    last_ = line;
    since_ = now;
    repeated_ = 0;
    return false;
}

void ServerLog::write(std::string_view level, int priority, std::string_view line) {
    const std::lock_guard lock(mutex_);
    if (!is_flood(line)) {
        put(level, priority, line);
    }
}

}  // namespace signpost
