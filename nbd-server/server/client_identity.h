// SPDX-License-Identifier: BSD-3-Clause
//
// ClientIdentity is who a client is, as far as it has been proven: the address that it came from or
// the process at the other end of a Unix socket, and what TLS or a ticket says. Access rules and
// the audit log read it; nothing in it is a secret.
//
// A value; copyable; no thread rule.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"

struct sockaddr_storage;

namespace signpost {

class JsonLine;

// An IPv4 address is held as IPv6 holds it (::ffff:a.b.c.d), so that one client has one spelling.
struct IpAddress {
    std::array<std::uint8_t, 16> bytes{};

    static Result<IpAddress> parse(std::string_view text);
    static std::optional<IpAddress> of(const sockaddr_storage& address);  // empty: not IP

    bool is_v4() const;
    std::string str() const;  // IPv4 in its own form

    bool operator==(const IpAddress&) const = default;
};

struct UnixPeer {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::int32_t pid = 0;

    bool operator==(const UnixPeer&) const = default;
};

struct ClientIdentity {
    static constexpr std::size_t kMaxSans = 32;
    static constexpr std::size_t kMaxName = 1024;  // bytes of each name below

    std::optional<IpAddress> address;  // TCP
    std::uint16_t port = 0;            // for the log only; 0: not known
    std::optional<UnixPeer> local;     // a Unix socket
    bool tls = false;

    // Empty: not proven. In a DN a comma that belongs to a value is `\2C`, so that `,` always
    // separates.
    std::string dn;
    std::vector<std::string> sans;  // "dns:NAME" (lower case), "uri:URI", "ip:ADDRESS", "email:..."
    std::string psk;
    std::string user;  // who signed in at the console, and its commands; nobody else over NBD

    // The server that vouches for all this with a ticket; empty: the client came itself.
    std::string via;

    // For a log line: "10.0.0.7:51234 dn CN=backup1,O=Example", "uid 1000 pid 4711".
    std::string str() const;

    // By which clients are told apart when they write: of all connections of one client the same.
    std::string who() const;

    bool operator==(const ClientIdentity&) const = default;
};

// The members of a JSON object that say who CLIENT is: of an audit line, and of a ticket. Who
// vouches for it is not among them.
void add_client(JsonLine& line, const ClientIdentity& client);

// A DN with `\,` and `\+` as `\2C` and `\2B`, in certificates and in patterns alike.
std::string normal_dn(std::string_view dn);

// Who is at the other end of SOCKET: its address, or SO_PEERCRED. Empty parts when the kernel does
// not say (a pipe of inetd).
ClientIdentity identity_of_socket(int socket);

}  // namespace signpost
