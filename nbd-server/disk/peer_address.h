// SPDX-License-Identifier: BSD-3-Clause
//
// Turns a server's URI into socket addresses that a relay may connect to. The address that is
// checked is the address that is dialled, so a name server cannot slip another in between.
//
// Threads: any. resolve_peer may block in the resolver; numeric addresses and sockets never do.

#pragma once

#include <sys/socket.h>

#include <vector>

#include "catalog/nbd_uri.h"

namespace signpost {

struct PeerAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;

    int family() const { return storage.ss_family; }
};

struct AddressRules {
    bool allow_privileged_ports = false;
    bool trusted = false;  // an address that we made ourselves: no rule applies
};

// True when resolve_peer(uri) would not block.
bool resolves_at_once(const NbdUri& uri);

// At least one address, or: invalid (unusable path), denied (a rule; the message names it),
// unavailable (the name does not resolve now).
Result<std::vector<PeerAddress>> resolve_peer(const NbdUri& uri, const AddressRules& rules);

// True for link-local, multicast, broadcast and unspecified addresses, IPv4 in IPv6 included.
bool is_forbidden_address(const PeerAddress& address);

}  // namespace signpost
