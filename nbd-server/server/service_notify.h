// SPDX-License-Identifier: BSD-3-Clause
//
// What signpostd and systemd say to each other: readiness and the watchdog (sd_notify(3)) and the
// sockets that were passed (sd_listen_fds(3)). The two protocols are a datagram and two variables,
// so no library is needed. Started by anything else, all calls do nothing.
//
// Threads: ServiceNotify any (no mutable state); passed_sockets before there are threads, because
// it changes the environment.

#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

class ServiceNotify {
   public:
    // Reads and removes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Call it early in main, so
    // that helpers do not inherit them.
    static ServiceNotify take_environment();

    ServiceNotify() = default;  // says nothing to nobody
    explicit ServiceNotify(std::string address,
                           std::optional<std::chrono::microseconds> watchdog = {});

    bool is_wanted() const { return !address_.empty(); }

    void ready(std::string_view status) const;  // also when a reload is done
    void reloading() const;
    void stopping(std::string_view status) const;
    void status(std::string_view text) const;
    void keep_alive() const;  // the watchdog's
    // Asks for more time to stop (a drain that takes longer than TimeoutStopSec).
    void extend_timeout(std::chrono::microseconds time) const;

    // How often keep_alive should be called: half of what systemd waits. Empty: never.
    std::optional<std::chrono::microseconds> keep_alive_interval() const;

   private:
    void send(std::string_view message) const;

    std::string address_;  // as NOTIFY_SOCKET has it; `@` begins an abstract one
    std::optional<std::chrono::microseconds> watchdog_;
};

struct PassedSocket {
    UniqueFd fd;
    std::string name;  // FileDescriptorName of the .socket unit; "unknown" as systemd has it
};

// How many sockets were passed to this very process; nothing is changed.
int passed_socket_count();

// The sockets, listening streams, made close-on-exec and non-blocking; LISTEN_FDS, LISTEN_PID and
// LISTEN_FDNAMES are removed. invalid: something else was passed.
Result<std::vector<PassedSocket>> take_passed_sockets();

}  // namespace signpost
