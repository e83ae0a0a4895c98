// SPDX-License-Identifier: BSD-3-Clause
//
// ServerConfiguration is all that signpostd can be told, checked, from configuration files, the
// environment and the command line; the later of these wins. configure() makes it, or the text that
// answers --help, --version and --check-config, or the mistakes, each with its place.
//
// Values. configure reads the files that it is told to, and nothing else of the process: call it
// again with the same words for a reload. Threads: any.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nbd-server/disk/federation.h"
#include "nbd-server/server/access_rules.h"
#include "nbd-server/server/tls_server.h"

namespace signpost {

// Where to listen. "ADDR:PORT", "[ADDR6]:PORT", ":PORT" (every address), "unix:PATH", "systemd"
// (every socket that was passed), "systemd:NAME" (those of that name).
struct ListenAddress {
    enum class Kind { tcp, unix_socket, systemd };

    Kind kind = Kind::tcp;
    std::string host;  // tcp; empty: every address, IPv6 and IPv4
    std::uint16_t port = 10809;
    std::string name;  // the path of the socket, or the name of the passed ones (empty: all)

    static Result<ListenAddress> parse(std::string_view text);
    std::string str() const;

    bool operator==(const ListenAddress&) const = default;
};

enum class LogFormat { text, json };

struct ServerLimits {
    unsigned max_sessions = 16384;
    unsigned max_sessions_per_address = 0;            // 0: as many as there are
    std::uint64_t memory = std::uint64_t{512} << 20;  // bytes for all payloads in flight
    std::chrono::seconds handshake_timeout{10};
    std::chrono::seconds drain_timeout{10};
    unsigned threads = 0;  // event loops; 0: one for each processor
};

struct LogSettings {
    LogFormat format = LogFormat::text;
    bool verbose = false;
    std::string audit;  // file; "-": standard error; empty: none
};

// The console and the metrics, over HTTP.
struct HttpDoor {
    static constexpr std::uint16_t kDefaultPort = 10880;

    std::vector<ListenAddress> listen;    // TCP; empty: nobody is served
    std::vector<std::string> hosts;       // names that it is called by, beside those that it knows
    std::string users;                    // file of who may sign in; empty: nobody
    std::chrono::seconds stale_after{0};  // a newest restore point older than that; 0: not judged
    bool plain = false;                   // without TLS on addresses that others reach, too
};

struct ServerConfiguration {
    FederationSettings federation;      // with federation.relay: what is said of peers
    std::vector<ListenAddress> listen;  // never empty unless stdio
    bool stdio = false;                 // serve descriptors 0 and 1, then end
    ServerTlsSettings tls;
    AccessRules access;     // access.writable is federation.repository_options.writable
    std::string peer_keys;  // directory, see ticket.h; empty: no tickets
    ServerLimits limits;
    HttpDoor http;
    LogSettings log;
    std::string user;                   // empty: stay who we are
    std::string pid_file;               // empty: none
    std::vector<std::string> files;     // the configuration files that were read
    std::vector<std::string> warnings;  // lines for the log: allowed, but hardly meant
};

// What to print instead of serving.
struct ServerAnswer {
    int status = 0;      // of the process
    std::string output;  // for standard output
    std::string errors;  // for standard error
};

// The environment as configure sees it. SIGNPOST_CONFIG names a file; each other SIGNPOST_NAME is
// the value of the option --name. `passed_sockets`: how many systemd has passed (LISTEN_FDS).
struct ServerEnvironment {
    std::map<std::string, std::string> variables;  // those that begin with SIGNPOST_
    int passed_sockets = 0;
    std::string directory = "/";  // where relative paths of words and variables begin

    static ServerEnvironment of_process();
};

// WORDS: the command line without the program's name.
std::variant<ServerConfiguration, ServerAnswer> configure(const std::vector<std::string>& words,
                                                          const ServerEnvironment& environment);

}  // namespace signpost
