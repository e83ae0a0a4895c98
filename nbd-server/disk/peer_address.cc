// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/peer_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

bool is_forbidden_ipv4(std::uint32_t address) {
    const bool unspecified = address >> 24 == 0;
    const bool link_local = address >> 16 == 0xa9fe;       // 169.254.0.0/16
    const bool multicast_or_above = address >> 28 >= 0xe;  // 224.0.0.0 and up
    return unspecified || link_local || multicast_or_above;
}

bool is_forbidden_ipv6(const in6_addr& address) {
    if (IN6_IS_ADDR_V4MAPPED(&address) || IN6_IS_ADDR_V4COMPAT(&address)) {
        std::uint32_t ipv4 = 0;
        std::memcpy(&ipv4, address.s6_addr + 12, sizeof ipv4);
        return is_forbidden_ipv4(ntohl(ipv4));
    }
    return IN6_IS_ADDR_UNSPECIFIED(&address) || IN6_IS_ADDR_LINKLOCAL(&address) ||
           IN6_IS_ADDR_MULTICAST(&address);
}

Result<std::vector<PeerAddress>> unix_address(const NbdUri& uri) {
    PeerAddress address;
    sockaddr_un name{};
    if (uri.socket_path.size() >= sizeof name.sun_path) {
        return fail(Errc::invalid, fmt::format("socket path {} is longer than {} bytes",
                                               escaped(uri.socket_path), sizeof name.sun_path - 1));
    }
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, uri.socket_path.data(), uri.socket_path.size());
    std::memcpy(&address.storage, &name, sizeof name);
    address.length = sizeof name;
    return std::vector{address};
}

addrinfo hints(int flags) {
    addrinfo wanted{};
    wanted.ai_family = AF_UNSPEC;
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_flags = flags | AI_NUMERICSERV;
    return wanted;
}

}  // namespace

bool is_forbidden_address(const PeerAddress& address) {
    if (address.family() == AF_INET) {
        sockaddr_in ipv4{};
        std::memcpy(&ipv4, &address.storage, sizeof ipv4);
        return is_forbidden_ipv4(ntohl(ipv4.sin_addr.s_addr));
    }
    if (address.family() == AF_INET6) {
        sockaddr_in6 ipv6{};
        std::memcpy(&ipv6, &address.storage, sizeof ipv6);
        return is_forbidden_ipv6(ipv6.sin6_addr);
    }
    return address.family() != AF_UNIX;
}

bool resolves_at_once(const NbdUri& uri) {
    in6_addr ignored{};
    return uri.is_unix() || ::inet_pton(AF_INET, uri.host.c_str(), &ignored) == 1 ||
           ::inet_pton(AF_INET6, uri.host.c_str(), &ignored) == 1;
}

Result<std::vector<PeerAddress>> resolve_peer(const NbdUri& uri, const AddressRules& rules) {
    if (uri.is_unix()) {
        return unix_address(uri);
    }
    if (uri.port < 1024 && !rules.allow_privileged_ports && !rules.trusted) {
        return fail(Errc::denied,
                    fmt::format("{}: relays do not connect to ports below 1024; let the server "
                                "listen on 10809, or set privileged-ports=true",
                                uri.endpoint()));
    }
    const addrinfo wanted = hints(resolves_at_once(uri) ? AI_NUMERICHOST : AI_ADDRCONFIG);
    addrinfo* list = nullptr;
    const int error =
        ::getaddrinfo(uri.host.c_str(), std::to_string(uri.port).c_str(), &wanted, &list);
    if (error != 0) {
        return fail(Errc::unavailable,
                    fmt::format("{} does not resolve: {}", uri.endpoint(), ::gai_strerror(error)));
    }
    std::vector<PeerAddress> addresses;
    for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
        PeerAddress address;
        std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
        address.length = entry->ai_addrlen;
        if (rules.trusted || !is_forbidden_address(address)) {
            addresses.push_back(address);
        }
    }
    ::freeaddrinfo(list);
    if (addresses.empty()) {
        return fail(Errc::denied,
                    fmt::format("{}: relays do not connect to link-local, multicast, broadcast or "
                                "unspecified addresses; register another one for the server",
                                uri.endpoint()));
    }
    return addresses;
}

}  // namespace signpost
