// SPDX-License-Identifier: BSD-3-Clause
//
// Listener accepts connections on one socket. Out of descriptors, or of sessions, it rests for a
// while instead of spinning, and says so once a second; what waits in the kernel's queue waits on.
//
// open_listeners makes the sockets that the configuration asks for: TCP (IPv6 and IPv4 of a name),
// Unix sockets (a stale one of ours is replaced, one that answers is not), or those that systemd
// has passed.
//
// Lifetime: the loop and the owner outlive it. Threads: the loop's; open_listeners any.

#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/server/configuration.h"
#include "nbd-server/server/service_notify.h"

namespace signpost {

struct ListeningSocket {
    UniqueFd fd;
    std::string name;  // "127.0.0.1:10809", "unix:/run/signpost/nbd.sock", for the log; with the
                       // port that port 0 has become
    std::string path;  // of a Unix socket that we made, to be removed at the end; else empty
};

Result<std::vector<ListeningSocket>> open_listeners(const std::vector<ListenAddress>& addresses,
                                                    std::vector<PassedSocket> passed);

class Listener final : private EventLoop::Watcher {
   public:
    class Owner {
       public:
        virtual ~Owner() = default;
        virtual bool has_room() = 0;  // for one more
        virtual void accepted(UniqueFd socket) = 0;
    };

    Listener(EventLoop& loop, Owner& owner, Log& log, ListeningSocket socket);
    ~Listener() override;

    void start();
    void close();

   private:
    void on_ready(std::uint32_t events) override;
    void rest(const std::string& reason);

    EventLoop& loop_;
    Owner& owner_;
    Log& log_;
    ListeningSocket socket_;
    EventLoop::Timer timer_;
    std::chrono::milliseconds pause_{100};
    EventLoop::Time last_said_{};
};

}  // namespace signpost
