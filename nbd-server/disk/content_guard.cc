// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/content_guard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <utility>

#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

std::int64_t nanoseconds(const timespec& time) {
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

bool same_metadata(const struct stat& a, const struct stat& b) {
    return a.st_nlink == b.st_nlink && a.st_mode == b.st_mode && a.st_uid == b.st_uid &&
           a.st_gid == b.st_gid;
}

std::string current_path(int fd) {
    std::array<char, 4096> buffer;
    const std::string link = fmt::format("/proc/self/fd/{}", fd);
    const ssize_t length = ::readlink(link.c_str(), buffer.data(), buffer.size());
    return length < 0 ? std::string() : std::string(buffer.data(), static_cast<size_t>(length));
}

}  // namespace

ContentGuard::ContentGuard(int fd, bool writable, std::string label, Log& log)
    : fd_(fd), writable_(writable), label_(std::move(label)), log_(log) {}

Result<void> ContentGuard::begin() {
    auto facts = look();
    if (!facts) {
        return fail(Errc::io, fmt::format("{}: cannot examine it: {}", label_, error_text(errno)));
    }
    known_ = std::move(*facts);
    begin_ = known_.status;
    known_change_ = nanoseconds(begin_.st_ctim);
    return {};
}

std::optional<ContentGuard::Facts> ContentGuard::look() const {
    Facts facts;
    facts.path = current_path(fd_);
    if (::fstat(fd_, &facts.status) != 0) {
        return std::nullopt;
    }
    return facts;
}

bool ContentGuard::holds() {
    if (condemned_.load(std::memory_order_acquire)) {
        return false;
    }
    struct stat now {};
    if (::fstat(fd_, &now) != 0) {
        condemn(fmt::format("cannot be examined any more ({})", error_text(errno)));
        return false;
    }
    if (S_ISBLK(begin_.st_mode)) {
        return true;
    }
    const bool shrank = now.st_size < begin_.st_size;
    if (shrank || (!writable_ && now.st_size != begin_.st_size)) {
        condemn(fmt::format("has {} bytes now and had {} when it was opened", now.st_size,
                            begin_.st_size));
        return false;
    }
    if (writable_) {
        return true;
    }
    if (nanoseconds(now.st_mtim) != nanoseconds(begin_.st_mtim)) {
        condemn("was modified after it was opened");
        return false;
    }
    return nanoseconds(now.st_ctim) == known_change_.load(std::memory_order_acquire) || explained();
}

// The kernel moves a renamed file's ctime before its path, so a change that has no cause yet gets a
// second look, and some more.
bool ContentGuard::explained() {
    constexpr int kLooks = 10;
    for (int i = 0; i < kLooks; ++i) {
        if (const auto now = look(); now && try_explain(*now)) {
            return true;
        }
        const timespec pause{.tv_sec = 0, .tv_nsec = 2'000'000};
        ::nanosleep(&pause, nullptr);
    }
    condemn("was changed after it was opened, and its time of modification put back");
    return false;
}

bool ContentGuard::try_explain(const Facts& now) {
    if (now.status.st_size != begin_.st_size ||
        nanoseconds(now.status.st_mtim) != nanoseconds(begin_.st_mtim)) {
        return false;
    }
    const std::lock_guard lock(mutex_);
    const bool already = nanoseconds(now.status.st_ctim) <= known_change_;
    if (!already && same_metadata(now.status, known_.status) && now.path == known_.path) {
        return false;
    }
    if (!already) {
        known_ = now;
        known_change_.store(nanoseconds(now.status.st_ctim), std::memory_order_release);
    }
    return true;
}

void ContentGuard::condemn(const std::string& why) {
    if (!condemned_.exchange(true, std::memory_order_acq_rel)) {
        log_.error(
            fmt::format("{} {}: every request fails until it is opened again; replace images "
                        "by rename, not in place",
                        label_, why));
    }
}

}  // namespace signpost
