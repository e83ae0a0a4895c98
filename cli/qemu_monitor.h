// SPDX-License-Identifier: BSD-3-Clause
//
// QemuMonitor is a connection to the monitor (QMP) of a QEMU that this command has started. The
// guest may have taken that QEMU over: what it says is bounded, and waited for only so long.
// Source: QEMU's docs/interop/qmp-spec.
//
// Threads: one.

#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

class QemuMonitor {
   public:
    // Waits until QEMU listens there.
    static Result<QemuMonitor> connect(const std::string& socket, std::chrono::seconds limit);

    // "running", "paused", "internal-error", "guest-panicked" and so on.
    Result<std::string> status();

    // What the screen shows, as a PNG file; FILE is replaced.
    Result<void> take_screenshot(const std::string& file);

    void quit();

   private:
    explicit QemuMonitor(UniqueFd socket) : socket_(std::move(socket)) {}

    // The answer's `return`, as JSON.
    Result<std::string> ask(std::string_view command);
    Result<std::string> next_line();

    UniqueFd socket_;
    std::string read_;
};

// The parts of one line of QMP; what is no line of it is as if it said nothing. Pure.
struct MonitorLine {
    bool answers = false;
    std::string error;   // of an answer; empty: it went well
    std::string status;  // of query-status
};
MonitorLine parse_monitor_line(std::string_view line);

// A connected Unix socket, or nothing.
UniqueFd connect_to(const std::string& socket);

}  // namespace signpost
