// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "catalog/records.h"
#include "nbd-server/http/http_host.h"
#include "nbd-server/server/configuration_options.h"
#include "nbd-server/server/configuration_values.h"

namespace signpost {
namespace {

using Draft = ConfigurationDraft;
using Text = std::string_view;

constexpr Text kServed = "what is served";
constexpr Text kDoors = "where clients come in";
constexpr Text kTls = "TLS towards clients";
constexpr Text kPeers = "towards other servers (peers)";
constexpr Text kLimits = "limits";
constexpr Text kProcess = "the process and what it says";

template <class T, class U>
Result<void> store(T& target, Result<U> value) {
    if (!value) {
        return std::unexpected(std::move(value.error()));
    }
    target = static_cast<T>(std::move(*value));
    return {};
}

Result<void> store_path(const Draft& draft, std::string& target, Text text) {
    return store(target, path_from(draft.base, text));
}

// A whole number of seconds, into whatever unit the target has.
template <class Duration>
Result<void> store_seconds(Duration& target, Text text, std::uint64_t most) {
    const auto seconds = number_in(text, 1, most);
    if (!seconds) {
        return std::unexpected(seconds.error());
    }
    target = std::chrono::seconds(*seconds);
    return {};
}

Result<void> set_repository(Draft& draft, Text text) {
    auto path = path_from(draft.base, text);
    if (!path) {
        return std::unexpected(std::move(path.error()));
    }
    draft.configuration.federation.repositories.push_back(std::move(*path));
    return {};
}

Result<void> set_points(Draft& draft, Text text) {
    draft.points.emplace_back(text);
    return store(draft.configuration.federation.repository_options.points,
                 PointPatterns::parse(draft.points));
}

Result<void> set_server(Draft& draft, Text text) {
    draft.configuration.federation.server = text;
    return check_server_name(text);
}

Result<void> set_uri(Draft& draft, Text text) {
    const auto uri = NbdUri::parse(text);
    if (!uri) {
        return std::unexpected(uri.error());
    }
    draft.configuration.federation.uri = text;
    return {};
}

Result<void> set_listen(Draft& draft, Text text) {
    constexpr Text kUnix = "unix:";
    auto address = ListenAddress::parse(text);
    if (!address) {
        return std::unexpected(std::move(address.error()));
    }
    if (address->kind == ListenAddress::Kind::unix_socket) {
        if (auto stored = store_path(draft, address->name, text.substr(kUnix.size())); !stored) {
            return stored;
        }
    }
    draft.configuration.listen.push_back(std::move(*address));
    return {};
}

Result<void> set_http(Draft& draft, Text text) {
    auto& listen = draft.configuration.http.listen;
    if (text == "off") {
        listen.clear();
        return {};
    }
    auto address = ListenAddress::parse(
        text == "on" ? fmt::format("127.0.0.1:{}", HttpDoor::kDefaultPort) : std::string(text));
    if (!address) {
        return std::unexpected(std::move(address.error()));
    }
    if (address->kind != ListenAddress::Kind::tcp) {
        return fail(Errc::invalid,
                    fmt::format("\"{}\": write on, ADDR:PORT or [ADDR6]:PORT", escaped(text)));
    }
    listen.push_back(std::move(*address));
    return {};
}

Result<void> set_http_host(Draft& draft, Text text) {
    auto host = host_of_header(text);
    if (host.empty()) {
        return fail(Errc::invalid, fmt::format("\"{}\" is no host name", escaped(text)));
    }
    draft.configuration.http.hosts.push_back(std::move(host));
    return {};
}

Result<void> set_tls(Draft& draft, Text text) {
    if (text == "off") {
        draft.tls_mode = DoorTls::off;
    } else if (text == "on") {
        draft.tls_mode = DoorTls::on;
    } else if (text == "require") {
        draft.tls_mode = DoorTls::require;
    } else {
        return fail(Errc::invalid,
                    fmt::format("\"{}\" is none of off, on, require", escaped(text)));
    }
    return {};
}

Result<void> set_peer_tls(Draft& draft, Text text) {
    const std::array<std::pair<Text, wire::TlsMode>, 3> words{
        {{"off", wire::TlsMode::off},
         {"on", wire::TlsMode::prefer},
         {"require", wire::TlsMode::require}}};
    for (const auto& [word, mode] : words) {
        if (text == word) {
            draft.peer_tls_mode = mode;
            return {};
        }
    }
    return fail(Errc::invalid, fmt::format("\"{}\" is none of off, on, require", escaped(text)));
}

Result<void> set_class(Draft& draft, Text text) {
    const auto parsed = parse_priority_class(text);
    if (!parsed) {
        return fail(Errc::invalid,
                    fmt::format("\"{}\" is none of {}", escaped(text), kPriorityClasses));
    }
    draft.configuration.federation.priority_class = *parsed;
    return {};
}

Result<void> set_log_format(Draft& draft, Text text) {
    if (text != "text" && text != "json") {
        return fail(Errc::invalid, fmt::format("\"{}\" is neither text nor json", escaped(text)));
    }
    draft.configuration.log.format = text == "json" ? LogFormat::json : LogFormat::text;
    return {};
}

Result<void> set_copies(Draft& draft, Text text) {
    if (text != "on" && text != "off") {
        return fail(Errc::invalid, fmt::format("\"{}\" is neither on nor off", escaped(text)));
    }
    draft.configuration.federation.copies = text == "on";
    return {};
}

Result<void> set_audit(Draft& draft, Text text) {
    if (text == "-") {
        draft.configuration.log.audit = text;
        return {};
    }
    return store_path(draft, draft.configuration.log.audit, text);
}

using enum OptionType;

constexpr std::array kOptions{
    OptionInfo{"repository", "repository", texts, "DIR", kServed,
               "serve the images under DIR; may be repeated; none: a gateway to other servers",
               set_repository},
    OptionInfo{"catalog", "catalog", text, "URL", kServed,
               "the federation's catalog: sqlite:PATH (default: $STATE_DIRECTORY/catalog.db)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.catalog_url,
                                catalog_from(draft.base, text));
               }},
    OptionInfo{"state", "state", text, "DIR", kServed,
               "where this machine's servers keep what they know, for when the catalog is away "
               "(default: $STATE_DIRECTORY, else as for the catalog)",
               [](Draft& draft, Text text) {
                   return store_path(draft, draft.configuration.federation.state_directory, text);
               }},
    OptionInfo{"stub-ttl", "stub-ttl", number, "SECONDS", kServed,
               "how long what is known of a disk counts as new (default: 300)",
               [](Draft& draft, Text text) {
                   return store_seconds(draft.configuration.federation.stub_lifetime, text, 86'400);
               }},
    OptionInfo{"server", "server", text, "NAME", kServed,
               "this server's name in the catalog (default: the host name)", set_server},
    OptionInfo{"uri", "uri", text, "NBD-URI", kServed,
               "where peers reach this server; without it nothing is published", set_uri},
    OptionInfo{"site", "site", text, "SITE", kServed,
               "where it stands; copies on the same site are asked first",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.site, plain_text(text, 128));
               }},
    OptionInfo{"priority", "priority", number, "N", kServed,
               "for others, lower is asked first (default: 100)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.priority,
                                number_in(text, 0, 1'000'000));
               }},
    OptionInfo{"class", "class", text, "CLASS", kServed,
               "before and beside that: global-high, site-high, site-normal (default), site-low or "
               "global-low",
               set_class},
    OptionInfo{"writable", "writable", truth, "", kServed,
               "let clients write to images and relayed disks, where a rule does not forbid it",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.repository_options.writable,
                                truth_of(text));
               }},
    OptionInfo{"block-devices", "block-devices", truth, "", kServed,
               "serve block devices in repositories, too",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.repository_options.block_devices,
                                truth_of(text));
               }},

    OptionInfo{
        "points", "points", texts, "PATTERN", kServed,
        "which files are restore points, as {disk}-{date} or {date}/{disk}; chains; off; may "
        "be repeated (default: all usual ones)",
        set_points},
    OptionInfo{"digest-rate", "digest-rate", size, "SIZE", kServed,
               "compute digests of own images at so many bytes per second; 0: none (default: 64M)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.digests.rate,
                                parse_digest_rate(text));
               }},
    OptionInfo{"scrub", "scrub", text, "TIME", kServed,
               "read each image again when its last reading is older, as 7d (default: off)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.digests.scrub, parse_scrub(text));
               }},

    OptionInfo{"listen", "listen", texts, "ADDRESS", kDoors,
               "ADDR:PORT, :PORT, unix:PATH or systemd; may be repeated (default: :10809, or what "
               "systemd passes)",
               set_listen},
    OptionInfo{"http", "http", texts, "ADDRESS", kDoors,
               "console and metrics for browsers there: on (127.0.0.1:10880) or ADDR:PORT; may be "
               "repeated (default: off)",
               set_http},
    OptionInfo{"http-host", "http-host", texts, "NAME", kDoors,
               "a name by which browsers call this server; may be repeated (default: localhost, "
               "its own names, and addresses)",
               set_http_host},
    OptionInfo{"http-users", "http-users", text, "FILE", kDoors,
               "who may sign in at the console: NAME:HASH lines, as htpasswd -B makes them",
               [](Draft& draft, Text text) {
                   return store_path(draft, draft.configuration.http.users, text);
               }},
    OptionInfo{"stale-after", "stale-after", text, "AGE", kDoors,
               "metrics count disks whose newest restore point is older, as 3d (default: off)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.http.stale_after, parse_scrub(text));
               }},
    OptionInfo{"http-plain", "http-plain", truth, "", kDoors,
               "serve the console without TLS where others can listen, too (default: false)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.http.plain, truth_of(text));
               }},
    OptionInfo{
        "stdio", "stdio", truth, "", kDoors,
        "serve one client on standard input and output, for inetd, then end",
        [](Draft& draft, Text text) { return store(draft.configuration.stdio, truth_of(text)); },
        false},

    OptionInfo{"tls.mode", "tls", text, "MODE", kTls,
               "off, on, or require for all but Unix sockets (default: require when there are "
               "certificates or keys)",
               set_tls},
    OptionInfo{"tls.certificates", "tls-certificates", text, "DIR", kTls,
               "directory with ca-cert.pem, server-cert.pem, server-key.pem (ca-crl.pem)",
               [](Draft& draft, Text text) {
                   return store_path(draft, draft.configuration.tls.certificates, text);
               }},
    OptionInfo{"tls.psk", "tls-psk", text, "FILE", kTls,
               "instead of certificates: pre-shared keys, USER:HEXKEY lines as psktool makes them",
               [](Draft& draft, Text text) {
                   return store_path(draft, draft.configuration.tls.psk_file, text);
               }},
    OptionInfo{"tls.verify-peer", "tls-verify-peer", truth, "", kTls,
               "clients must show a certificate of that authority (default: true)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.tls.verify_peer, truth_of(text));
               }},

    OptionInfo{"peers.timeout", "peer-timeout", number, "SECONDS", kPeers,
               "how long a request may wait for peers in all (default: 12)",
               [](Draft& draft, Text text) {
                   return store_seconds(draft.configuration.federation.relay.limits.request, text,
                                        3600);
               }},
    OptionInfo{"peers.connections", "connections", number, "N", kPeers,
               "connections to a peer for each disk (default: 4)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.relay.limits.connections,
                                number_in(text, 1, 64));
               }},
    OptionInfo{"peers.verify", "verify", text, "MODE", kPeers,
               "check what is relayed, chunk by chunk: off, relay, or require (default: off)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.verify, parse_verify(text));
               }},
    OptionInfo{"cache.directory", "cache", text, "DIR", kPeers,
               "keep what is relayed in DIR, of this server alone, and serve it from there",
               [](Draft& draft, Text text) {
                   return store_path(draft, draft.configuration.federation.cache.directory, text);
               }},
    OptionInfo{"cache.size", "cache-size", size, "SIZE", kPeers,
               "how much of that to keep (default: 10G)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.cache.size,
                                size_in(text, kLeastCacheSize, std::uint64_t{1} << 50));
               }},
    OptionInfo{"cache.fill", "cache-fill", size, "RATE", kPeers,
               "fetch all of a disk that is read here, at so many bytes per second, and make it "
               "an image of this server's own (default: 0, off)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.cache.fill_rate,
                                parse_digest_rate(text));
               }},
    OptionInfo{"peers.failback", "failback", truth, "", kPeers,
               "go back to a better location once it has been well for a while (default: stay "
               "where it works)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.relay.failback, truth_of(text));
               }},
    OptionInfo{"peers.privileged-ports", "privileged-ports", truth, "", kPeers,
               "relay from peers on ports below 1024, too",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.relay.allow_privileged_ports,
                                truth_of(text));
               }},
    OptionInfo{"peers.tls", "peer-tls", text, "MODE", kPeers,
               "off, on or require (default: as --tls)", set_peer_tls},
    OptionInfo{"peers.tls-certificates", "peer-tls-certificates", text, "DIR", kPeers,
               "directory with ca-cert.pem, client-cert.pem, client-key.pem (default: that of "
               "--tls-certificates)",
               [](Draft& draft, Text text) {
                   return store_path(draft, draft.configuration.federation.relay.tls.certificates,
                                     text);
               }},
    OptionInfo{"peers.tls-psk", "peer-tls-psk", text, "FILE", kPeers,
               "this server's own pre-shared key; never taken from --tls-psk",
               [](Draft& draft, Text text) {
                   return store_path(draft, draft.configuration.federation.relay.tls.psk_file,
                                     text);
               }},
    OptionInfo{"peers.tls-username", "tls-username", text, "NAME", kPeers,
               "whose key that is (default: the login name)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.federation.relay.tls.username,
                                plain_text(text, 1024));
               }},
    OptionInfo{"peers.keys", "peer-keys", text, "DIR", kPeers,
               "for tickets: peer-key.pem, and peers/NAME.pem of servers that vouch for clients",
               [](Draft& draft, Text text) {
                   return store_path(draft, draft.configuration.peer_keys, text);
               }},

    OptionInfo{
        "limits.sessions", "max-sessions", number, "N", kLimits, "clients at once (default: 16384)",
        [](Draft& draft, Text text) {
            return store(draft.configuration.limits.max_sessions, number_in(text, 1, 1'000'000));
        }},
    OptionInfo{"limits.sessions-per-address", "max-sessions-per-address", number, "N", kLimits,
               "clients at once from one IP address; more are turned away (default: no limit)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.limits.max_sessions_per_address,
                                number_in(text, 1, 1'000'000));
               }},
    OptionInfo{"limits.copies", "copies", text, "SWITCH", kLimits,
               "on (default): carry out copies and moves that the catalog asks for; off: refuse",
               set_copies},
    OptionInfo{"limits.memory", "memory", size, "SIZE", kLimits,
               "for all payloads on their way (default: 512M)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.limits.memory,
                                size_in(text, std::uint64_t{64} << 20, std::uint64_t{1} << 40));
               }},
    OptionInfo{"limits.handshake-timeout", "handshake-timeout", number, "SECONDS", kLimits,
               "until a client has chosen its disk (default: 10)",
               [](Draft& draft, Text text) {
                   return store_seconds(draft.configuration.limits.handshake_timeout, text, 600);
               }},
    OptionInfo{"limits.drain-timeout", "drain-timeout", number, "SECONDS", kLimits,
               "for requests in flight when the server is told to stop (default: 10)",
               [](Draft& draft, Text text) {
                   return store_seconds(draft.configuration.limits.drain_timeout, text, 3600);
               }},
    OptionInfo{"limits.threads", "threads", number, "N", kLimits,
               "event loops (default: one for each processor)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.limits.threads, number_in(text, 1, 1024));
               }},

    OptionInfo{"user", "user", text, "NAME", kProcess,
               "become this user once the sockets are open (needs root)",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.user, plain_text(text, 256));
               }},
    OptionInfo{"pid-file", "pid-file", text, "FILE", kProcess,
               "write the process number there once it serves",
               [](Draft& draft, Text text) {
                   return store_path(draft, draft.configuration.pid_file, text);
               }},
    OptionInfo{"log.format", "log-format", text, "FORMAT", kProcess,
               "of lines on standard error: text (default) or json", set_log_format},
    OptionInfo{"log.verbose", "verbose", truth, "", kProcess, "say more",
               [](Draft& draft, Text text) {
                   return store(draft.configuration.log.verbose, truth_of(text));
               }},
    OptionInfo{"log.audit", "audit-log", text, "FILE", kProcess,
               "one JSON line for each decision about a client; `-`: standard error", set_audit},
};

}  // namespace

std::span<const OptionInfo> all_options() {
    return kOptions;
}

const OptionInfo* find_option(std::string_view key) {
    const auto found = std::ranges::find(kOptions, key, &OptionInfo::key);
    return found == kOptions.end() ? nullptr : &*found;
}

}  // namespace signpost
