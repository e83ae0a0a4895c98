// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/server/service.h"

#include <ctime>
#include <utility>

#include "nbd-server/server/ticket_json.h"

namespace signpost {

Service::Service(Parts parts, std::shared_ptr<const Policy> policy)
    : parts_(std::move(parts)),
      memory_(parts_.limits.memory),
      addresses_(parts_.limits.max_sessions_per_address),
      policy_(std::move(policy)) {}

std::shared_ptr<const Policy> Service::policy() const {
    const std::lock_guard lock(mutex_);
    return policy_;
}

void Service::set_policy(std::shared_ptr<const Policy> policy) {
    const std::lock_guard lock(mutex_);
    policy_ = std::move(policy);
}

Result<TicketClaims> Service::admit_ticket(std::string_view text) {
    const auto keys = policy()->ticket_keys;
    if (keys == nullptr) {
        return fail(Errc::denied, "this server takes no tickets");
    }
    const TicketCheck check{.audience = parts_.server, .now = std::time(nullptr)};
    auto claims = check_ticket(text, *keys, check);
    if (claims) {
        const std::lock_guard lock(mutex_);
        if (auto admitted = nonces_.admit(*claims, check); !admitted) {
            return std::unexpected(std::move(admitted.error()));
        }
    }
    return claims;
}

Asker Service::asker_of(const ClientIdentity& client) {
    const auto keys = policy()->ticket_keys;
    if (keys == nullptr || !keys->can_sign()) {
        return {};
    }
    TicketClaims claims;
    claims.client = client;
    claims.client.user.clear();  // a name that only this server's console knows
    claims.client.port = 0;  // one client is the same from each of its ports and processes
    if (claims.client.local) {
        claims.client.local->pid = 0;
    }
    return {.who = claims_json(claims),
            .identity = {},
            .ticket = [this, asker = claims.client](const std::string& server, const DiskName& disk,
                                                    bool write) {
                return vouch(asker, server, disk, write);
            }};
}

// With the keys of now, because the relay may live longer than those it was opened with.
Result<std::string> Service::vouch(const ClientIdentity& client, const std::string& server,
                                   const DiskName& disk, bool write) const {
    const auto keys = policy()->ticket_keys;
    if (keys == nullptr) {
        return fail(Errc::denied, "there is no key any more to vouch for the client with");
    }
    auto claims = claims_from(std::time(nullptr), std::chrono::seconds(kMaxTicketLife));
    if (!claims) {
        return std::unexpected(std::move(claims.error()));
    }
    claims->disk = disk.str();
    claims->write = write;
    claims->client = client;
    claims->issuer = parts_.server;
    claims->audience = server;
    return make_ticket(*keys, *claims);
}

void Service::audit(const AuditRecord& record) {
    if (parts_.audit != nullptr) {
        parts_.audit->write(record);
    }
}

SessionLoop* Service::loop_of(const EventLoop* loop) const {
    for (const auto& candidate : loops) {
        if (&candidate->loop() == loop) {
            return candidate.get();
        }
    }
    return nullptr;
}

}  // namespace signpost
