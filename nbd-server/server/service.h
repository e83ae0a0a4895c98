// SPDX-License-Identifier: BSD-3-Clause
//
// Service is what all sessions of the process share: the federation that opens disks, threads for
// calls that may block, the memory budget, logs, limits, and the policy (who may come in and do
// what), which a reload replaces as a whole.
//
// Lifetime: outlives the sessions, and the disks that were opened for an asker_of(). Threads: any.

#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "nbd-server/disk/federation.h"
#include "nbd-server/disk/worker_pool.h"
#include "nbd-server/server/access_rules.h"
#include "nbd-server/server/audit_log.h"
#include "nbd-server/server/configuration.h"
#include "nbd-server/server/live_sessions.h"
#include "nbd-server/server/memory_budget.h"
#include "nbd-server/server/session_loop.h"
#include "nbd-server/server/sessions_by_address.h"
#include "nbd-server/server/ticket.h"

namespace signpost {

struct Policy {
    AccessRules access;
    DoorTls tls = DoorTls::off;
    std::shared_ptr<const ServerCredentials> credentials;  // null: no TLS
    std::shared_ptr<const TicketKeys> ticket_keys;         // null: no tickets
};

class Service {
   public:
    struct Parts {
        Federation& federation;
        WorkerPool& workers;
        Log& log;
        LiveSessions& live;
        AuditLog* audit = nullptr;  // null: none is kept
        std::string server;         // this server's name: the audience of tickets
        ServerLimits limits;
    };

    Service(Parts parts, std::shared_ptr<const Policy> policy);

    Federation& federation() { return parts_.federation; }
    WorkerPool& workers() { return parts_.workers; }
    Log& log() { return parts_.log; }
    MemoryBudget& memory() { return memory_; }
    const ServerLimits& limits() const { return parts_.limits; }
    const std::string& server() const { return parts_.server; }

    std::shared_ptr<const Policy> policy() const;
    void set_policy(std::shared_ptr<const Policy> policy);

    // Each good once. On any thread.
    Result<TicketClaims> admit_ticket(std::string_view text);

    // What a relay tells the servers behind it of CLIENT; nothing where this server has no key to
    // sign it with.
    Asker asker_of(const ClientIdentity& client);

    void audit(const AuditRecord& record);

    // The sessions' side of LOOP; null when sessions do not live there.
    SessionLoop* loop_of(const EventLoop* loop) const;
    std::vector<std::unique_ptr<SessionLoop>> loops;  // filled before the first session

    SessionsByAddress& addresses() { return addresses_; }
    LiveSessions& live() { return parts_.live; }

    std::uint64_t next_session() { return ++last_session_; }
    std::atomic<unsigned> sessions{0};
    std::atomic<bool> draining{false};

   private:
    Result<std::string> vouch(const ClientIdentity& client, const std::string& server,
                              const DiskName& disk, bool write) const;

    Parts parts_;
    MemoryBudget memory_;
    SessionsByAddress addresses_;
    mutable std::mutex mutex_;
    std::shared_ptr<const Policy> policy_;  // guarded by mutex_
    NonceWindow nonces_;                    // guarded by mutex_
    std::atomic<std::uint64_t> last_session_{0};
};

}  // namespace signpost
