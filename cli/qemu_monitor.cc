// SPDX-License-Identifier: BSD-3-Clause

#include "cli/qemu_monitor.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kAnswer{20};  // an emulated machine on a busy host takes its time
constexpr std::size_t kLongestLine = 1 << 20;
constexpr std::chrono::milliseconds kLook{50};

std::unexpected<Error> silent() {
    return fail(Errc::unavailable, "QEMU does not answer");
}

}  // namespace

UniqueFd connect_to(const std::string& socket) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket.copy(address.sun_path, sizeof address.sun_path - 1);
    if (fd &&
        ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        fd.reset();
    }
    return fd;
}

MonitorLine parse_monitor_line(std::string_view line) {
    const Json json = Json::parse(line, nullptr, false);
    MonitorLine parsed;
    if (!json.is_object()) {
        return parsed;
    }
    if (const auto error = json.find("error"); error != json.end()) {
        parsed.answers = true;
        parsed.error = "QEMU refuses";
        if (error->is_object() && error->contains("desc") && (*error)["desc"].is_string()) {
            parsed.error = escaped((*error)["desc"].get<std::string>(), 300);
        }
    } else if (const auto answer = json.find("return"); answer != json.end()) {
        parsed.answers = true;
        if (answer->is_object() && answer->contains("status") && (*answer)["status"].is_string()) {
            parsed.status = escaped((*answer)["status"].get<std::string>(), 40);
        }
    }
    return parsed;
}

Result<QemuMonitor> QemuMonitor::connect(const std::string& socket, std::chrono::seconds limit) {
    const auto end = Clock::now() + limit;
    UniqueFd fd = connect_to(socket);
    while (!fd && Clock::now() < end) {
        std::this_thread::sleep_for(kLook);
        fd = connect_to(socket);
    }
    if (!fd) {
        return silent();
    }
    QemuMonitor monitor(std::move(fd));
    if (auto ready = monitor.ask(R"({"execute":"qmp_capabilities"})"); !ready) {
        return std::unexpected(ready.error());
    }
    return monitor;
}

Result<std::string> QemuMonitor::next_line() {
    const auto end = Clock::now() + kAnswer;
    for (;;) {
        if (const auto line_end = read_.find('\n'); line_end != read_.npos) {
            std::string line = read_.substr(0, line_end);
            read_.erase(0, line_end + 1);
            return line;
        }
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
        pollfd ready{socket_.get(), POLLIN, 0};
        char bytes[4096];
        if (left.count() <= 0 || read_.size() > kLongestLine ||
            ::poll(&ready, 1, static_cast<int>(left.count())) <= 0) {
            return silent();
        }
        const ssize_t got = ::read(socket_.get(), bytes, sizeof bytes);
        if (got <= 0) {
            return silent();
        }
        read_.append(bytes, static_cast<std::size_t>(got));
    }
}

Result<std::string> QemuMonitor::ask(std::string_view command) {
    const std::string text = std::string(command) + "\n";
    if (::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(text.size())) {
        return silent();
    }
    const auto end = Clock::now() + kAnswer;
    while (Clock::now() < end) {
        const auto line = next_line();
        if (!line) {
            return line;
        }
        const MonitorLine parsed = parse_monitor_line(*line);
        if (parsed.answers) {
            return parsed.error.empty() ? Result<std::string>(parsed.status)
                                        : fail(Errc::io, parsed.error);
        }
    }
    return silent();
}

Result<std::string> QemuMonitor::status() {
    return ask(R"({"execute":"query-status"})");
}

Result<void> QemuMonitor::take_screenshot(const std::string& file) {
    const Json command{{"execute", "screendump"},
                       {"arguments", {{"filename", file}, {"format", "png"}}}};
    const auto answer = ask(command.dump());
    return answer ? Result<void>() : std::unexpected(answer.error());
}

void QemuMonitor::quit() {
    static_cast<void>(ask(R"({"execute":"quit"})"));
}

}  // namespace signpost
