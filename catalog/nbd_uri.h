// SPDX-License-Identifier: BSD-3-Clause
//
// NbdUri is the address of an NBD server, taken apart by us: scheme, host and port or socket path,
// and export name. Only nbd, nbds, nbd+unix and nbds+unix are known; whatever could make a library
// start a program or name a file (other schemes, user names, other query keys) is refused.
// Source: the NBD project's uri.md; RFC 3986.
//
// Values; copyable; no thread rule.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "catalog/error.h"

namespace signpost {

struct NbdUri {
    static constexpr std::uint16_t kDefaultPort = 10809;

    bool tls = false;
    std::string host;  // without brackets; empty for a Unix socket
    std::uint16_t port = kDefaultPort;
    std::string socket_path;  // absolute; empty for TCP
    std::string export_name;  // decoded; may be empty

    // Fails with Errc::invalid; the message quotes the URI, says what is wrong and shows a good
    // one.
    static Result<NbdUri> parse(std::string_view text);

    bool is_unix() const { return !socket_path.empty(); }

    // The URI again, export name percent-encoded.
    std::string str() const;

    // The same server, another export.
    NbdUri with_export(std::string_view name) const;

    // HOST:PORT or the socket's path: how messages name the server.
    std::string endpoint() const;

    bool operator==(const NbdUri&) const = default;
};

}  // namespace signpost
