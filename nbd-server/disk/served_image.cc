// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/served_image.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/disk/private_directory.h"
#include "nbd-server/disk/qemu_nbd_command.h"

namespace signpost {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kFailuresPerMinute = 5;
constexpr auto kGreetingTime = 5s;  // 9 to 13 ms on an idle machine
constexpr auto kEndTime = 12s;      // above what the keeper gives a polite end

UniqueFd connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(),
                std::min(path.size() + 1, sizeof(address.sun_path) - 1));
    UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (client && ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address),
                            sizeof(address)) != 0) {
        client.reset();
    }
    return client;
}

enum class Greeting { came, refused, late };

Greeting await_greeting(int client) {
    const auto deadline = ProcessKeeper::Clock::now() + kGreetingTime;
    std::array<char, 8> magic;
    for (;;) {
        const ssize_t n = ::recv(client, magic.data(), magic.size(), MSG_DONTWAIT);
        if (n > 0) {
            return Greeting::came;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            return Greeting::refused;
        }
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - ProcessKeeper::Clock::now());
        pollfd event{client, POLLIN, 0};
        if (left <= 0ms || ::poll(&event, 1, static_cast<int>(left.count())) == 0) {
            return Greeting::late;
        }
    }
}

}  // namespace

ServedImage::ServedImage(OpenImage image, std::string socket_path, ProcessKeeper& keeper, Log& log,
                         std::function<void(const std::shared_ptr<ServedImage>&)> gone)
    : image_(std::move(image)),
      socket_path_(std::move(socket_path)),
      keeper_(keeper),
      log_(log),
      gone_(std::move(gone)) {}

ServedImage::~ServedImage() {
    end(Clock::now());
    ::unlink(socket_path_.c_str());
}

std::string ServedImage::label() const {
    return fmt::format("disk \"{}\" ({}): qemu-nbd", escaped(image_.name.str()),
                       to_string(image_.format()));
}

Result<void> ServedImage::pin() {
    std::vector<int> fds;
    for (const ImageFile& file : image_.chain) {
        if (!fds.empty() || !image_.writable) {
            ContentGuard& guard = guards_.emplace_back(
                file.fd.get(), false,
                fmt::format("disk \"{}\": {}", escaped(image_.name.str()), escaped(file.path)),
                log_);
            if (auto begun = guard.begin(); !begun) {
                return begun;
            }
        }
        fds.push_back(file.fd.get());
    }
    const auto now = image_fingerprint(fds, image_.writable);
    if (!now) {
        return std::unexpected(now.error());
    }
    if (*now != image_.fingerprint) {
        return fail(Errc::conflict,
                    fmt::format("{}: changed while it was being opened: open the disk again",
                                escaped(image_.chain.front().path)));
    }
    return {};
}

bool ServedImage::unchanged() {
    return std::ranges::all_of(guards_, [](ContentGuard& guard) { return guard.holds(); });
}

ProcessKeeper::ProcessPtr ServedImage::process() {
    const std::lock_guard lock(process_mutex_);
    return process_;
}

Result<void> ServedImage::run(const std::string& program) {
    const std::lock_guard lock(start_mutex_);
    if (auto started = start(program); !started) {
        return std::unexpected(std::move(started.error()));
    }
    return {};
}

Result<void> ServedImage::run_and_greet(const std::string& program) {
    const std::lock_guard lock(start_mutex_);
    greeting_ = true;
    Result<void> result;
    if (auto started = start(program); !started) {
        result = std::unexpected(std::move(started.error()));
    } else if (*started) {
        result = greet();
    }
    greeting_ = false;
    return result;
}

std::size_t ServedImage::recent_failures() {
    const std::lock_guard lock(process_mutex_);
    while (!failures_.empty() && Clock::now() - failures_.front() > 60s) {
        failures_.pop_front();
    }
    return failures_.size();
}

// True when a helper was started, false when one was running.
Result<bool> ServedImage::start(const std::string& program) {
    if (!unchanged()) {
        return fail(Errc::io, fmt::format("disk \"{}\": its image has changed since it was opened",
                                          escaped(image_.name.str())));
    }
    if (const auto running = process()) {
        if (keeper_.hold(running)) {
            return false;
        }
        // It may still be closing the image, and holds qemu's locks until it has.
        if (keeper_.wait_ended(running, kEndTime).empty()) {
            return fail(Errc::unavailable, label() + ": the last one does not end");
        }
    }
    if (recent_failures() >= kFailuresPerMinute) {
        return fail(Errc::unavailable,
                    fmt::format("{}: ended by itself {} times within a minute, not started again"
                                " for now: check the image with qemu-img check",
                                label(), kFailuresPerMinute));
    }
    auto spawned = spawn(program);
    if (!spawned) {
        return std::unexpected(std::move(spawned.error()));
    }
    const std::lock_guard lock(process_mutex_);
    process_ = std::move(*spawned);
    return true;
}

Result<ProcessKeeper::ProcessPtr> ServedImage::spawn(const std::string& program) {
    // Our own copy is closed again below, so that a client of a helper that died is refused at
    // once.
    const auto listener = listen_at(socket_path_);
    if (!listener) {
        return std::unexpected(listener.error());
    }
    ProcessKeeper::Start start;
    start.command.program = program;
    start.command.arguments = qemu_nbd_arguments(image_, HelperCommand::kFirstFile);
    start.command.listener = listener->get();
    for (const ImageFile& file : image_.chain) {
        start.command.files.push_back(file.fd.get());
    }
    start.command.writes_files = image_.writable;
    start.label = label();
    start.polite = image_.writable;
    start.ended = [weak = weak_from_this()](bool asked, const std::string& last_words) {
        if (const auto self = weak.lock()) {
            self->ended(asked, last_words);
        }
    };
    return keeper_.start(std::move(start));
}

// The socket was bound before the helper began, so there is nothing to wait for but the answer: the
// greeting, or the end of the connection when the helper has ended and with it the socket.
Result<void> ServedImage::greet() {
    const UniqueFd client = connect_to(socket_path_);
    const Greeting greeting = client ? await_greeting(client.get()) : Greeting::refused;
    if (greeting == Greeting::came) {
        return {};
    }
    const auto failed = process();
    keeper_.end(failed);
    const std::string words = keeper_.wait_ended(failed, kEndTime);
    return fail(
        Errc::unavailable,
        fmt::format("{}: {}: {}", label(),
                    greeting == Greeting::late ? "did not start in time" : "did not start", words));
}

void ServedImage::ended(bool asked, const std::string& last_words) {
    if (!asked) {
        const std::lock_guard lock(process_mutex_);
        failures_.push_back(Clock::now());
    }
    if (!asked && !greeting_) {
        log_.error(
            fmt::format("{} ended by itself ({}); it is started again when the disk is"
                        " used",
                        label(), last_words));
    }
    gone_(shared_from_this());
}

bool ServedImage::end(Clock::time_point when) {
    const auto running = process();
    return running && keeper_.end(running, when);
}

void ServedImage::finish() {
    if (end(Clock::now())) {
        keeper_.wait_ended(process(), kEndTime);
    }
}

}  // namespace signpost
