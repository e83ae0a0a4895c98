// SPDX-License-Identifier: BSD-3-Clause
//
// ConsoleDoor lets people in: to the console over HTTP, where the configuration has an address for
// it; and to the control socket, `control` in the server's own state directory, which only who runs
// the server (or root) can use, and by which `signpost sessions` asks and ends sessions.
//
// Lifetime: the server outlives it. Threads: start, ticks and end by main; it has its own.

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "nbd-server/console/console.h"
#include "nbd-server/http/http_server.h"
#include "nbd-server/server/nbd_server.h"

namespace signpost {

class ConsoleDoor {
   public:
    struct Parts {
        NbdServer& server;
        Log& log;
        AuditLog* audit = nullptr;  // null: none is kept
        const ServerConfiguration& configuration;
        FederationSettings federation;         // as it was checked
        std::vector<ListeningSocket> sockets;  // for HTTP
    };

    static Result<std::unique_ptr<ConsoleDoor>> start(Parts parts);
    ConsoleDoor(const ConsoleDoor&) = delete;
    ConsoleDoor& operator=(const ConsoleDoor&) = delete;
    ~ConsoleDoor();

    // Does what is due now and then. When to be called again, at the latest.
    std::chrono::steady_clock::time_point tick();

   private:
    explicit ConsoleDoor(Parts parts);

    Result<void> open_http();
    Result<void> open_control();
    Eyes eyes_of(const Person& person) const;
    void note_sign_in(const Person& person, const std::string& user, bool well);
    void note_file(const Person& person, const FileUse& use, const std::string& why);
    static ClientIdentity identity_of(const Person& person);
    bool end_session(std::uint64_t id, const Person& by);
    Parts parts_;
    std::unique_ptr<ServerConsole> console_;
    std::unique_ptr<HttpServer> http_;     // null: not asked for
    std::unique_ptr<HttpServer> control_;  // null: no state is kept
    std::string control_path_;
    std::chrono::steady_clock::time_point next_sample_;
};

}  // namespace signpost
