// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/process_keeper.h"

#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "catalog/disk_name.h"

namespace signpost {
namespace {

using Clock = ProcessKeeper::Clock;

constexpr auto kNever = Clock::time_point::max();
constexpr std::chrono::seconds kPoliteTime{10};  // qemu-nbd flushes and closes the image
constexpr std::size_t kWordsKept = 4;            // lines
constexpr std::size_t kLineKept = 300;           // bytes

std::string describe_end(const siginfo_t& info) {
    if (info.si_code == CLD_EXITED) {
        return info.si_status == kHelperNotExecuted ? "could not be executed"
                                                    : fmt::format("status {}", info.si_status);
    }
    return fmt::format("signal {}", info.si_status);
}

}  // namespace

class ProcessKeeper::Process {
   public:
    // The keeper's thread only.
    Start start;
    SpawnedHelper child;
    std::string partial_line;
    std::deque<std::string> last_lines;
    Clock::time_point kill_at = kNever;  // it was asked to end, and has until then

    // Guarded by the keeper's mutex.
    Clock::time_point end_at = kNever;
    bool ending = false;
    bool ended = false;
    std::string last_words;

    void add_line(std::string_view line);
    void take_words(std::string_view text);
    // By descriptor: the number may be somebody else's where a program ignores SIGCHLD.
    void send_signal(int number) const {
        ::syscall(SYS_pidfd_send_signal, child.pidfd.get(), number, nullptr, 0U);
    }
};

void ProcessKeeper::Process::add_line(std::string_view line) {
    if (line.empty()) {
        return;
    }
    last_lines.push_back(escaped(line, kLineKept));
    if (last_lines.size() > kWordsKept) {
        last_lines.pop_front();
    }
}

void ProcessKeeper::Process::take_words(std::string_view text) {
    for (const char c : text) {
        if (c == '\n') {
            add_line(partial_line);
            partial_line.clear();
        } else if (partial_line.size() < kLineKept) {
            partial_line.push_back(c);
        }
    }
}

// A call waiting for the keeper's thread. It lives on the caller's stack until it is done.
struct ProcessKeeper::Order {
    Start start;
    std::optional<Result<ProcessPtr>> result;
};

ProcessKeeper::ProcessKeeper(Log& log)
    : log_(log), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this] { run(); }) {}

ProcessKeeper::~ProcessKeeper() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake();
    thread_.join();
}

void ProcessKeeper::wake() {
    ::eventfd_write(wake_.get(), 1);
}

Result<ProcessKeeper::ProcessPtr> ProcessKeeper::start(Start start) {
    Order order{std::move(start), std::nullopt};
    std::unique_lock lock(mutex_);
    orders_.push_back(&order);
    wake();
    changed_.wait(lock, [&] { return order.result.has_value(); });
    return std::move(*order.result);
}

bool ProcessKeeper::end(const ProcessPtr& process, Clock::time_point when) {
    {
        const std::lock_guard lock(mutex_);
        if (process->ended) {
            return false;
        }
        process->end_at = when;
    }
    wake();
    return true;
}

bool ProcessKeeper::hold(const ProcessPtr& process) {
    const std::lock_guard lock(mutex_);
    pollfd exit{process->child.pidfd.get(), POLLIN, 0};
    if (process->ending || process->ended || ::poll(&exit, 1, 0) != 0) {
        return false;
    }
    process->end_at = kNever;
    return true;
}

std::string ProcessKeeper::wait_ended(const ProcessPtr& process, std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, limit, [&] { return process->ended; });
    return process->last_words;
}

void ProcessKeeper::run() {
    // Signals are for the program's own threads.
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    for (;;) {
        take_orders();
        keep_deadlines();
        {
            const std::lock_guard lock(mutex_);
            if (stopping_ && processes_.empty() && orders_.empty()) {
                return;
            }
        }
        wait_for_events();
    }
}

void ProcessKeeper::take_orders() {
    for (;;) {
        Order* order = nullptr;
        {
            const std::lock_guard lock(mutex_);
            if (orders_.empty()) {
                return;
            }
            order = orders_.front();
            orders_.pop_front();
        }
        carry_out(*order);
    }
}

void ProcessKeeper::carry_out(Order& order) {
    auto child = spawn_helper(order.start.command);
    Result<ProcessPtr> result;
    if (child) {
        auto process = std::make_shared<Process>();
        process->start = std::move(order.start);
        process->child = std::move(*child);
        processes_.push_back(process);
        result = std::move(process);
    } else {
        result = std::unexpected(std::move(child.error()));
    }
    const std::lock_guard lock(mutex_);
    order.result = std::move(result);
    changed_.notify_all();
}

int ProcessKeeper::timeout_ms() {
    const std::lock_guard lock(mutex_);
    Clock::time_point next = kNever;
    for (const ProcessPtr& process : processes_) {
        next = std::min(next, process->ending ? process->kill_at : process->end_at);
    }
    if (next == kNever) {
        return -1;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

int ProcessKeeper::wait_for_events() {
    std::vector<pollfd> events{{wake_.get(), POLLIN, 0}};
    for (const ProcessPtr& process : processes_) {
        events.push_back({process->child.errors.get(), POLLIN, 0});  // closed: -1 is skipped
        events.push_back({process->child.pidfd.get(), POLLIN, 0});
    }
    const int ready = ::poll(events.data(), events.size(), timeout_ms());
    if (ready <= 0) {
        return ready;
    }
    eventfd_t ignored;
    ::eventfd_read(wake_.get(), &ignored);
    const std::vector<ProcessPtr> polled = processes_;
    for (std::size_t i = 0; i < polled.size(); ++i) {
        serve(polled[i], events[1 + 2 * i].revents, events[2 + 2 * i].revents);
    }
    return ready;
}

void ProcessKeeper::serve(const ProcessPtr& process, short errors, short exit) {
    if (errors != 0) {
        read_errors(*process);
    }
    if (exit != 0) {
        reap(process);
    }
}

// One piece at a time, so that a helper that never stops talking cannot hold the thread.
void ProcessKeeper::read_errors(Process& process) {
    std::array<char, 4096> buffer;
    const ssize_t n = ::read(process.child.errors.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        process.child.errors.reset();
        return;
    }
    process.take_words({buffer.data(), static_cast<std::size_t>(n)});
}

void ProcessKeeper::reap(const ProcessPtr& process) {
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(process->child.pidfd.get()), &info, WEXITED) != 0) {
        info.si_code = CLD_EXITED;  // somebody ignores SIGCHLD: the kernel has reaped it
    }
    for (int pieces = 0; process->child.errors && pieces < 16; ++pieces) {
        read_errors(*process);
    }
    process->add_line(process->partial_line);
    std::string words = describe_end(info);
    for (const std::string& line : process->last_lines) {
        words += words.empty() ? "" : ": ";
        words += line;
    }
    std::erase(processes_, process);
    bool asked = false;
    {
        const std::lock_guard lock(mutex_);
        asked = process->ending;
        process->ended = true;
        process->last_words = words;
    }
    changed_.notify_all();
    log_.debug(fmt::format("{} ended: {}", process->start.label, words));
    if (const auto ended = std::exchange(process->start.ended, nullptr)) {
        ended(asked, words);
    }
}

void ProcessKeeper::keep_deadlines() {
    const auto now = Clock::now();
    const std::lock_guard lock(mutex_);
    for (const ProcessPtr& process : processes_) {
        if (!process->ending && (stopping_ || process->end_at <= now)) {
            process->ending = true;
            process->send_signal(process->start.polite ? SIGTERM : SIGKILL);
            process->kill_at = process->start.polite ? now + kPoliteTime : kNever;
        } else if (process->ending && process->kill_at <= now) {
            process->send_signal(SIGKILL);
            process->kill_at = kNever;
        }
    }
}

}  // namespace signpost
