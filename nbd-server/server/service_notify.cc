// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/service_notify.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace signpost {
namespace {

constexpr int kFirstPassed = 3;
constexpr int kMaxPassed = 1024;

template <class Number>
std::optional<Number> number_of(const char* variable) {
    const char* text = std::getenv(variable);
    if (text == nullptr) {
        return std::nullopt;
    }
    Number number{};
    const char* const end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, number);
    return error == std::errc() && stop == end && stop != text ? std::optional(number)
                                                               : std::nullopt;
}

// A status is one line of one datagram.
std::string one_line(std::string_view text) {
    std::string line(text.substr(0, 1024));
    std::ranges::replace_if(
        line, [](unsigned char c) { return c < 0x20; }, ' ');
    return line;
}

std::vector<std::string> passed_names() {
    std::vector<std::string> names;
    const char* text = std::getenv("LISTEN_FDNAMES");
    std::string_view rest = text == nullptr ? "" : text;
    while (!rest.empty()) {
        const std::size_t colon = rest.find(':');
        names.emplace_back(rest.substr(0, colon));
        rest.remove_prefix(colon == rest.npos ? rest.size() : colon + 1);
    }
    return names;
}

// A listening stream, or it is no use to us.
bool is_listening_stream(int fd) {
    for (const auto& [option, wanted] :
         {std::pair{SO_TYPE, static_cast<int>(SOCK_STREAM)}, std::pair{SO_ACCEPTCONN, 1}}) {
        int value = 0;
        socklen_t length = sizeof value;
        if (::getsockopt(fd, SOL_SOCKET, option, &value, &length) != 0 || value != wanted) {
            return false;
        }
    }
    return true;
}

}  // namespace

ServiceNotify ServiceNotify::take_environment() {
    const char* address = std::getenv("NOTIFY_SOCKET");
    std::optional<std::chrono::microseconds> watchdog;
    const auto pid = number_of<pid_t>("WATCHDOG_PID");
    const auto time = number_of<std::int64_t>("WATCHDOG_USEC");
    if (time && *time > 0 && (!pid || *pid == ::getpid())) {
        watchdog = std::chrono::microseconds(*time);
    }
    ServiceNotify notify(address == nullptr ? "" : address, watchdog);
    for (const char* variable : {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}) {
        ::unsetenv(variable);
    }
    return notify;
}

ServiceNotify::ServiceNotify(std::string address, std::optional<std::chrono::microseconds> watchdog)
    : address_(std::move(address)), watchdog_(watchdog) {
    const bool known = address_.starts_with('/') || address_.starts_with('@');
    if (!known || address_.size() >= sizeof(sockaddr_un::sun_path)) {
        address_.clear();
    }
}

// Without waiting: whoever does not listen to us cannot hold us up.
void ServiceNotify::send(std::string_view message) const {
    if (address_.empty()) {
        return;
    }
    const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) {
        return;
    }
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    address_.copy(to.sun_path, sizeof to.sun_path - 1);
    if (to.sun_path[0] == '@') {
        to.sun_path[0] = '\0';
    }
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size() +
                                               (address_.starts_with('@') ? 0 : 1));
    ::sendto(socket.get(), message.data(), message.size(), MSG_NOSIGNAL,
             reinterpret_cast<const sockaddr*>(&to), length);
}

void ServiceNotify::ready(std::string_view status) const {
    send(fmt::format("READY=1\nSTATUS={}\nMAINPID={}", one_line(status), ::getpid()));
}

void ServiceNotify::reloading() const {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading",
                     std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000));
}

void ServiceNotify::stopping(std::string_view status) const {
    send(fmt::format("STOPPING=1\nSTATUS={}", one_line(status)));
}

void ServiceNotify::status(std::string_view text) const {
    send(fmt::format("STATUS={}", one_line(text)));
}

void ServiceNotify::keep_alive() const {
    send("WATCHDOG=1");
}

void ServiceNotify::extend_timeout(std::chrono::microseconds time) const {
    send(fmt::format("EXTEND_TIMEOUT_USEC={}", time.count()));
}

std::optional<std::chrono::microseconds> ServiceNotify::keep_alive_interval() const {
    if (address_.empty() || !watchdog_) {
        return std::nullopt;
    }
    return *watchdog_ / 2;
}

int passed_socket_count() {
    const auto pid = number_of<pid_t>("LISTEN_PID");
    const auto count = number_of<int>("LISTEN_FDS");
    const bool ours = pid && *pid == ::getpid() && count && *count > 0 && *count <= kMaxPassed;
    return ours ? *count : 0;
}

Result<std::vector<PassedSocket>> take_passed_sockets() {
    const int count = passed_socket_count();
    const std::vector<std::string> names = passed_names();
    for (const char* variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
        ::unsetenv(variable);
    }
    std::vector<PassedSocket> sockets;
    for (int fd = kFirstPassed; fd < kFirstPassed + count; ++fd) {
        if (!is_listening_stream(fd)) {
            return fail(Errc::invalid,
                        fmt::format("descriptor {} that was passed (LISTEN_FDS) is no listening "
                                    "stream; the .socket unit needs ListenStream= and Accept=no",
                                    fd));
        }
        ::fcntl(fd, F_SETFD, FD_CLOEXEC);
        ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
        const auto index = static_cast<std::size_t>(fd - kFirstPassed);
        sockets.push_back({UniqueFd(fd), index < names.size() ? names[index] : "unknown"});
    }
    return sockets;
}

}  // namespace signpost
