// SPDX-License-Identifier: BSD-3-Clause
//
// NbdServer is the running NBD server: the federation, its loops with their sessions, the
// listeners.
//
// Lifetime: built by main after privileges were dropped; the destructor ends everything at once.
// Threads: the methods are main's.

#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "nbd-server/disk/federation.h"
#include "nbd-server/disk/worker_pool.h"
#include "nbd-server/server/listener.h"
#include "nbd-server/server/service.h"

namespace signpost {

class Session;

class NbdServer final : private Listener::Owner {
   public:
    // SETTINGS as check_federation has given them.
    static Result<std::unique_ptr<NbdServer>> start(const ServerConfiguration& configuration,
                                                    FederationSettings settings,
                                                    std::shared_ptr<const Policy> policy, Log& log,
                                                    AuditLog* audit);
    ~NbdServer() override;

    void listen(std::vector<ListeningSocket> sockets);

    // One client on a socket that is connected already.
    void serve(UniqueFd socket);

    // One that is known to be CLIENT, on a Unix socket of ours; only for reading. False: there is
    // no room, or the server is being drained. Of any thread.
    bool serve_as(UniqueFd socket, ClientIdentity client);

    void set_policy(std::shared_ptr<const Policy> policy) {
        service_->set_policy(std::move(policy));
    }

    // No new client; each session finishes what is under way, and ends. Does not wait for them.
    void drain();

    // Ends them now. False: some thread is inside a call that does not return, and what it works on
    // cannot be taken from it; leave the process without this object's destructor.
    bool end_sessions();

    unsigned sessions() const { return service_->sessions.load(); }

    // Of any thread.
    LiveSessions& live() { return live_; }
    Federation& federation() { return *federation_; }
    template <class Fn>
    void each_loop_counts(Fn fn) const {
        for (const auto& sessions : service_->loops) {
            fn(sessions->counts());
        }
    }
    std::shared_ptr<const Policy> policy() const { return service_->policy(); }

   private:
    NbdServer() = default;

    bool has_room() override;
    void accepted(UniqueFd socket) override;
    void begin_session(UniqueFd socket, ClientIdentity client, SessionsByAddress::Place place);
    void tick(SessionLoop& sessions);
    void tell_sessions(void (*what)(Session& session));
    template <class Fn>
    void on_each_loop(Fn fn);

    LiveSessions live_;
    std::unique_ptr<WorkerPool> workers_;
    std::unique_ptr<Federation> federation_;
    std::unique_ptr<Service> service_;
    std::vector<std::unique_ptr<Listener>> listeners_;
    std::atomic<std::size_t> next_loop_{0};
};

// Who may come in, from the configuration: reads TLS files and keys.
Result<std::shared_ptr<const Policy>> load_policy(const ServerConfiguration& configuration);

}  // namespace signpost
