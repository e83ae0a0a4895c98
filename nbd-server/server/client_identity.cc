// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/client_identity.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "catalog/disk_name.h"
#include "nbd-server/server/json_line.h"

namespace signpost {
namespace {

constexpr std::array<std::uint8_t, 12> kV4Prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

IpAddress from_v4(const void* address) {
    IpAddress result;
    std::copy(kV4Prefix.begin(), kV4Prefix.end(), result.bytes.begin());
    std::memcpy(result.bytes.data() + kV4Prefix.size(), address, 4);
    return result;
}

}  // namespace

Result<IpAddress> IpAddress::parse(std::string_view text) {
    const std::string copy(text.substr(0, INET6_ADDRSTRLEN));
    IpAddress result;
    in_addr v4{};
    if (::inet_pton(AF_INET, copy.c_str(), &v4) == 1 && copy.size() == text.size()) {
        return from_v4(&v4);
    }
    if (::inet_pton(AF_INET6, copy.c_str(), result.bytes.data()) == 1 &&
        copy.size() == text.size() && copy.find('\0') == copy.npos) {
        return result;
    }
    return fail(Errc::invalid, fmt::format("\"{}\" is not an IP address", escaped(text)));
}

std::optional<IpAddress> IpAddress::of(const sockaddr_storage& address) {
    if (address.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &address, sizeof v4);
        return from_v4(&v4.sin_addr);
    }
    if (address.ss_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &address, sizeof v6);
        IpAddress result;
        std::memcpy(result.bytes.data(), &v6.sin6_addr, result.bytes.size());
        return result;
    }
    return std::nullopt;
}

bool IpAddress::is_v4() const {
    return std::equal(kV4Prefix.begin(), kV4Prefix.end(), bytes.begin());
}

std::string IpAddress::str() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const bool v4 = is_v4();
    ::inet_ntop(v4 ? AF_INET : AF_INET6, bytes.data() + (v4 ? kV4Prefix.size() : 0), text.data(),
                text.size());
    return text.data();
}

std::string ClientIdentity::str() const {
    std::string text;
    if (address) {
        text = port == 0          ? address->str()
               : address->is_v4() ? fmt::format("{}:{}", address->str(), port)
                                  : fmt::format("[{}]:{}", address->str(), port);
    } else if (local) {
        text = fmt::format("uid {} pid {}", local->uid, local->pid);
    } else {
        text = "a client of unknown origin";
    }
    if (!dn.empty()) {
        text += fmt::format(" dn {}", escaped(dn));
    }
    if (!psk.empty()) {
        text += fmt::format(" psk {}", escaped(psk));
    }
    if (!user.empty()) {
        text += fmt::format(" user {}", escaped(user));
    }
    if (!via.empty()) {
        text += fmt::format(" via {}", escaped(via));
    }
    return text;
}

std::string ClientIdentity::who() const {
    std::string text = !dn.empty()    ? fmt::format("dn {}", escaped(dn))
                       : !psk.empty() ? fmt::format("psk {}", escaped(psk))
                       : address      ? address->str()
                       : local        ? fmt::format("uid {}", local->uid)
                                      : "a client of unknown origin";
    if (!via.empty()) {
        text += fmt::format(" via {}", escaped(via));
    }
    return text;
}

void add_client(JsonLine& line, const ClientIdentity& client) {
    if (client.address) {
        line.add("address", client.address->str()).add("port", std::int64_t{client.port});
    }
    if (client.local) {
        line.add("uid", std::int64_t{client.local->uid})
            .add("gid", std::int64_t{client.local->gid})
            .add("pid", std::int64_t{client.local->pid});
    }
    line.add("tls", std::int64_t{client.tls ? 1 : 0});
    line.add_if("dn", client.dn).add_if("psk", client.psk).add_if("user", client.user);
    if (!client.sans.empty()) {
        line.add("sans", client.sans);
    }
}

std::string normal_dn(std::string_view dn) {
    std::string result;
    for (std::size_t i = 0; i < dn.size(); ++i) {
        const char next = i + 1 < dn.size() ? dn[i + 1] : '\0';
        if (dn[i] == '\\' && (next == ',' || next == '+')) {
            result += next == ',' ? "\\2C" : "\\2B";
            ++i;
            continue;
        }
        result += dn[i];
        if (dn[i] == '\\' && next != '\0') {
            result += next;  // of `\\,` the comma is a separator
            ++i;
        }
    }
    return result;
}

ClientIdentity identity_of_socket(int socket) {
    ClientIdentity client;
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        return client;
    }
    client.address = IpAddress::of(address);
    if (client.address) {
        // In both forms the port is at the same place.
        sockaddr_in v4{};
        std::memcpy(&v4, &address, sizeof v4);
        client.port = ntohs(v4.sin_port);
    }
    ucred credentials{};
    length = sizeof credentials;
    if (address.ss_family == AF_UNIX &&
        ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
        client.local = UnixPeer{credentials.uid, credentials.gid, credentials.pid};
    }
    return client;
}

}  // namespace signpost
