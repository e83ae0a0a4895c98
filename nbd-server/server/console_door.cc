// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/console_door.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "nbd-server/disk/tls_files.h"
#include "nbd-server/server/server_metrics.h"

namespace signpost {

namespace {

constexpr int kBacklog = 16;

// Names that a browser may know this server by.
std::vector<std::string> own_names(const ServerConfiguration& configuration,
                                   const FederationSettings& federation) {
    std::vector<std::string> names = configuration.http.hosts;
    names.push_back(federation.server);
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) == 0) {
        names.emplace_back(host.data());
    }
    if (const auto uri = NbdUri::parse(federation.uri)) {
        names.push_back(uri->host);
    }
    for (const ListenAddress& address : configuration.http.listen) {
        names.push_back(address.host);
    }
    return names;
}

PeerTls peer_tls(const TlsSettings& tls) {
    return {.certificates = tls.certificates, .psk_file = tls.psk_file, .username = tls.username};
}

Result<std::string> pem_text(const std::string& path) {
    const auto file = read_tls_file(path);
    if (!file) {
        return std::unexpected(file.error());
    }
    return std::string(file->bytes());
}

// A socket for this user only, at a path of any length.
Result<UniqueFd> listen_in(const std::string& directory, const std::string& path) {
    const auto failed = [&] {
        return fail(Errc::io, fmt::format("{}: {}", escaped(path), std::strerror(errno)));
    };
    const UniqueFd place(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!place || !socket) {
        return failed();
    }
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const auto name = fmt::format("/proc/self/fd/{}/control", place.get());
    std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
    const UniqueFd other(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (::connect(other.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        return fail(Errc::conflict,
                    fmt::format("{}: another server of this name listens there", escaped(path)));
    }
    ::unlinkat(place.get(), "control", 0);
    // The name gets the mode that the socket has.
    if (::fchmod(socket.get(), 0600) != 0 ||
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket.get(), kBacklog) != 0) {
        return failed();
    }
    return socket;
}

bool runs_server(int socket) {
    const auto client = identity_of_socket(socket);
    return client.local && (client.local->uid == 0 || client.local->uid == ::geteuid());
}

}  // namespace

Result<std::unique_ptr<ConsoleDoor>> ConsoleDoor::start(Parts parts) {
    std::unique_ptr<ConsoleDoor> door(new ConsoleDoor(std::move(parts)));
    if (auto opened = door->open_http(); !opened) {
        return std::unexpected(std::move(opened.error()));
    }
    if (auto opened = door->open_control(); !opened) {
        door->parts_.log.error(
            fmt::format("no control socket, so `signpost sessions` cannot ask: "
                        "{}",
                        opened.error().message));
    }
    return door;
}

ConsoleDoor::ConsoleDoor(Parts parts) : parts_(std::move(parts)) {
    const FederationSettings& federation = parts_.federation;
    console_ = std::make_unique<ServerConsole>(ServerConsole::Parts{
        .catalog = parts_.server.federation().catalog(),
        .server = federation.server,
        .uri = federation.uri,
        .catalog_url =
            federation.catalog_url.empty() ? default_catalog_url() : federation.catalog_url,
        .tls = peer_tls(federation.relay.tls),
        .watches = !parts_.sockets.empty(),
        .eyes = [this](const Person& person) { return eyes_of(person); },
        .add_metrics = [this](MetricsText& text) { add_server_metrics(text, parts_.server); },
        .certificate_end = certificate_end(parts_.configuration.tls),
        .stale_after = parts_.configuration.http.stale_after,
        .users = parts_.configuration.http.users,
        .address =
            [](const Person& person) {
                const auto client = identity_of_socket(person.socket);
                return client.address ? client.address->str() : std::string();
            },
        .signed_in = [this](const Person& person, const std::string& user,
                            bool well) { note_sign_in(person, user, well); },
        .serve_disk =
            [this](UniqueFd socket, const Person& person) {
                return parts_.server.serve_as(std::move(socket), identity_of(person));
            },
        .file_used = [this](const Person& person, const FileUse& use,
                            const std::string& why) { note_file(person, use, why); },
        .sessions = [this] { return parts_.server.live().reports(); },
        .end_session = [this](std::uint64_t id, const Person& by) { return end_session(id, by); }});
}

ConsoleDoor::~ConsoleDoor() {
    console_->stop();
    http_.reset();
    control_.reset();
    if (!control_path_.empty()) {
        ::unlink(control_path_.c_str());
    }
}

Result<void> ConsoleDoor::open_http() {
    if (parts_.sockets.empty()) {
        return {};
    }
    HttpSettings settings{.hosts = HostNames(own_names(parts_.configuration, parts_.federation))};
    const ServerTlsSettings& tls = parts_.configuration.tls;
    const bool https = tls.mode != DoorTls::off && !tls.certificates.empty();
    if (https) {
        auto certificate = pem_text(tls.certificates + "/server-cert.pem");
        auto key = pem_text(tls.certificates + "/server-key.pem");
        if (!certificate || !key) {
            return std::unexpected(certificate ? key.error() : certificate.error());
        }
        settings.certificate = std::move(*certificate);
        settings.key = std::move(*key);
    }
    for (ListeningSocket& socket : parts_.sockets) {
        parts_.log.info(fmt::format("console on {}://{}/", https ? "https" : "http", socket.name));
        settings.sockets.push_back(std::move(socket.fd));
    }
    auto server = HttpServer::start(std::move(settings), [this](const HttpRequest& request) {
        return console_->answer(request, false);
    });
    if (!server) {
        return std::unexpected(std::move(server.error()));
    }
    http_ = std::move(*server);
    return {};
}

Result<void> ConsoleDoor::open_control() {
    const std::string& state = parts_.federation.own_state;
    if (state.empty() || parts_.configuration.stdio) {
        return {};
    }
    auto socket = listen_in(state, state + "/control");
    if (!socket) {
        return std::unexpected(std::move(socket.error()));
    }
    control_path_ = state + "/control";
    HttpSettings settings{.takes_post = true};
    settings.sockets.push_back(std::move(*socket));
    auto server = HttpServer::start(std::move(settings), [this](const HttpRequest& request) {
        return runs_server(request.socket)
                   ? console_->answer(request, true)
                   : HttpAnswer{.status = 403, .body = "{\"error\": \"not yours\"}\n"};
    });
    if (!server) {
        return std::unexpected(std::move(server.error()));
    }
    control_ = std::move(*server);
    return {};
}

ClientIdentity ConsoleDoor::identity_of(const Person& person) {
    ClientIdentity client = identity_of_socket(person.socket);
    client.tls = person.tls;
    client.user = person.user;
    return client;
}

Eyes ConsoleDoor::eyes_of(const Person& person) const {
    auto policy = parts_.server.policy();
    if (person.runs_server || policy->access.rules.empty()) {
        return {};
    }
    return [policy = std::move(policy), client = identity_of(person)](std::string_view disk) {
        return decide(policy->access, client, disk).right != Right::deny;
    };
}

bool ConsoleDoor::end_session(std::uint64_t id, const Person& by) {
    const bool ended = parts_.server.live().kill(id);
    if (ended) {
        const ClientIdentity client = identity_of_socket(by.socket);
        parts_.log.info(fmt::format("session {} is ended by {}", id, client.str()));
        if (parts_.audit != nullptr) {
            parts_.audit->write({.op = "kill", .session = id, .client = &client});
        }
    }
    return ended;
}

void ConsoleDoor::note_sign_in(const Person& person, const std::string& user, bool well) {
    ClientIdentity client = identity_of_socket(person.socket);
    parts_.log.info(fmt::format("console: {} {} as {}", client.str(),
                                well ? "signed in" : "could not sign in", escaped(user)));
    if (parts_.audit != nullptr) {
        client.user = user;
        parts_.audit->write(
            {.op = "sign-in", .client = &client, .right = well ? "allowed" : "deny"});
    }
}

void ConsoleDoor::note_file(const Person& person, const FileUse& use, const std::string& why) {
    const ClientIdentity client = identity_of(person);
    parts_.log.info(fmt::format("console: {} {} {}:{}{}{}", client.str(),
                                use.list ? "lists" : "reads", escaped(use.disk), escaped(use.path),
                                why.empty() ? "" : ": ", why));
    if (parts_.audit != nullptr) {
        parts_.audit->write({.op = use.list ? "files" : "file",
                             .client = &client,
                             .disk = use.disk,
                             .right = why.empty() ? "read-only" : "",
                             .path = use.path,
                             .reason = why});
    }
}

std::chrono::steady_clock::time_point ConsoleDoor::tick() {
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_sample_) {
        parts_.server.live().sample();
        next_sample_ = now + std::chrono::seconds(kSampleSeconds);
    }
    return next_sample_;
}

}  // namespace signpost
