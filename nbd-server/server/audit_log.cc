// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/audit_log.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "nbd-server/server/json_line.h"
#include "nbd-server/server/server_log.h"

namespace signpost {
namespace {

constexpr std::string_view kStandardError = "-";

std::unexpected<Error> fail_file(const std::string& file, int error) {
    const Errc code = error == ENOENT                     ? Errc::not_found
                      : error == EACCES || error == EROFS ? Errc::denied
                                                          : Errc::io;
    return fail(code, fmt::format("audit log {}: {}", file, std::strerror(error)));
}

// Non-blocking, so that a FIFO without a reader is refused rather than waited for.
Result<UniqueFd> open_file(const std::string& file) {
    if (file == kStandardError) {
        UniqueFd fd(::fcntl(2, F_DUPFD_CLOEXEC, 3));
        return fd ? Result<UniqueFd>(std::move(fd)) : fail_file(file, errno);
    }
    UniqueFd fd(::open(file.c_str(),
                       O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) {
        return fail_file(file, errno);
    }
    if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode)) {
        return fail(Errc::invalid, fmt::format("audit log {}: not a regular file", file));
    }
    return fd;
}

}  // namespace

std::string audit_line(const AuditRecord& record, std::int64_t time_ms, std::int64_t monotonic_ms) {
    JsonLine line;
    line.add("time", time_text(time_ms)).add("monotonic_ms", monotonic_ms).add("op", record.op);
    line.add_if("session", record.session);
    if (record.client != nullptr) {
        add_client(line, *record.client);
        line.add_if("via", record.client->via);
    }
    line.add_if("export", record.export_name)
        .add_if("disk", record.disk)
        .add_if("right", record.right)
        .add_if("rule", record.rule)
        .add_if("peer", record.peer)
        .add_if("nonce", record.nonce)
        .add_if("path", record.path)
        .add_if("writer", record.writer)
        .add_if("bytes_read", record.bytes_read)
        .add_if("bytes_written", record.bytes_written)
        .add_if("duration_us", static_cast<std::uint64_t>(record.duration.count()))
        .add_if("reason", record.reason);
    return line.str();
}

Result<std::unique_ptr<AuditLog>> AuditLog::open(const std::string& file, Log& log) {
    auto fd = open_file(file);
    if (!fd) {
        return std::unexpected(std::move(fd.error()));
    }
    return std::unique_ptr<AuditLog>(new AuditLog(file, std::move(*fd), log));
}

AuditLog::AuditLog(std::string file, UniqueFd fd, Log& log)
    : file_(std::move(file)), log_(log), fd_(std::move(fd)), thread_([this] { run(); }) {}

AuditLog::~AuditLog() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        deadline_ = std::chrono::steady_clock::now() + kLastWords;
    }
    changed_.notify_all();
    thread_.join();
}

void AuditLog::write(const AuditRecord& record) {
    std::string line = audit_line(record, clock_ms(CLOCK_REALTIME), clock_ms(CLOCK_MONOTONIC));
    line += '\n';
    bool wake = false;
    {
        const std::lock_guard lock(mutex_);
        if (queue_.size() >= kMaxQueued) {
            ++lost_;
            ++unsaid_;
            return;
        }
        wake = queue_.empty();
        queue_.push_back(std::move(line));
    }
    if (wake) {
        changed_.notify_one();
    }
}

Result<void> AuditLog::reopen() {
    auto fd = open_file(file_);
    if (!fd) {
        return std::unexpected(std::move(fd.error()));
    }
    {
        const std::lock_guard lock(mutex_);
        reopened_ = std::move(*fd);
    }
    changed_.notify_one();
    return {};
}

void AuditLog::flush() {
    std::unique_lock lock(mutex_);
    changed_.notify_one();
    written_.wait(lock, [this] { return queue_.empty() && !writing_ && !reopened_; });
}

std::uint64_t AuditLog::lost() const {
    const std::lock_guard lock(mutex_);
    return lost_;
}

void AuditLog::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || !queue_.empty() || reopened_; });
        if (reopened_) {
            fd_ = std::move(reopened_);
        }
        if (queue_.empty() && stopping_) {
            return;
        }
        std::deque<std::string> lines;
        lines.swap(queue_);
        Missing missing{.unsaid = std::exchange(unsaid_, 0)};
        writing_ = true;
        lock.unlock();
        write_batch(lines, missing);
        lock.lock();
        writing_ = false;
        lost_ += missing.lost;
        unsaid_ += missing.unsaid;
        if (stopping_ && std::chrono::steady_clock::now() > deadline_) {
            return;
        }
        written_.notify_all();
    }
}

void AuditLog::write_batch(const std::deque<std::string>& lines, Missing& missing) {
    for (const std::string& line : lines) {
        if (missing.unsaid > 0) {
            // The statement first: it stands where the lines are missing.
            const std::string statement =
                fmt::format("{{\"time\":\"{}\",\"op\":\"lost\",\"lines\":{}}}\n",
                            time_text(clock_ms(CLOCK_REALTIME)), missing.unsaid);
            missing.unsaid = write_line(statement) ? 0 : missing.unsaid;
        }
        if (missing.unsaid > 0 || !write_line(line)) {
            ++missing.lost;
            ++missing.unsaid;
        }
    }
}

// Whole lines only: of a line that did not fit, what did is taken back where that is possible, else
// ended, so that the next one stands alone.
bool AuditLog::write_line(std::string_view line) {
    ssize_t n = 0;
    do {
        n = ::write(fd_.get(), line.data(), line.size());
    } while (n < 0 && errno == EINTR);
    if (n == static_cast<ssize_t>(line.size())) {
        failing_ = false;
        return true;
    }
    const int error = n < 0 ? errno : ENOSPC;
    if (n > 0) {
        const off_t end = ::lseek(fd_.get(), 0, SEEK_END);
        if (end < n || ::ftruncate(fd_.get(), end - n) != 0) {
            [[maybe_unused]] const ssize_t ended = ::write(fd_.get(), "\n", 1);
        }
    }
    if (!std::exchange(failing_, true)) {
        log_.error(fmt::format("audit log {}: {}; lines are being lost until there is room again",
                               file_, std::strerror(error)));
    }
    return false;
}

}  // namespace signpost
