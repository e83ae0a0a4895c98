// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/server/nbd_server.h"

#include <fmt/format.h>

#include <chrono>
#include <latch>
#include <optional>
#include <thread>
#include <utility>

#include "nbd-server/disk/tcp_options.h"
#include "nbd-server/server/session.h"

namespace signpost {

namespace {

constexpr unsigned kWorkers = 16;
constexpr std::chrono::seconds kLastWait{2};

// A client that is gone without a word is found out: idle, after a minute and four probes; with
// replies that it does not acknowledge, within a minute (PROTOCOL.md F21).
constexpr TcpPatience kClients{
    .idle_s = 60, .interval_s = 15, .probes = 4, .unacknowledged_ms = 45'000};

// A client on this machine: what waits in the socket when it acknowledges something is sent then
// and there by its own processor, which has its copying to do. So little is left to it.
constexpr int kUnsentHere = 16 * 1024;

std::optional<IpAddress> reached_at(int socket) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        return std::nullopt;
    }
    return IpAddress::of(address);
}

}  // namespace

Result<std::shared_ptr<const Policy>> load_policy(const ServerConfiguration& configuration) {
    auto policy = std::make_shared<Policy>();
    policy->access = configuration.access;
    policy->tls = configuration.tls.mode;
    auto credentials = load_server_credentials(configuration.tls);
    if (!credentials) {
        return std::unexpected(std::move(credentials.error()));
    }
    policy->credentials = std::move(*credentials);
    if (!configuration.peer_keys.empty()) {
        auto keys = TicketKeys::load(configuration.peer_keys);
        if (!keys) {
            return std::unexpected(std::move(keys.error()));
        }
        policy->ticket_keys = std::move(*keys);
    }
    return policy;
}

Result<std::unique_ptr<NbdServer>> NbdServer::start(const ServerConfiguration& configuration,
                                                    FederationSettings settings,
                                                    std::shared_ptr<const Policy> policy, Log& log,
                                                    AuditLog* audit) {
    const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
    settings.relay.loops = configuration.limits.threads != 0 ? configuration.limits.threads : cores;
    std::unique_ptr<NbdServer> server(new NbdServer);
    settings.relay.moved = [audit, &live = server->live_](const DiskName& disk,
                                                          const std::string& peer,
                                                          const std::string& before) {
        live.relayed_from(disk.str(), peer);
        if (audit != nullptr) {
            audit->write({.op = before.empty() ? "relay" : "failover",
                          .disk = disk.str(),
                          .peer = peer,
                          .reason = before});
        }
    };
    settings.relay.reconnected = [&live = server->live_](const std::string& peer) {
        live.reconnected(peer);
    };
    if (audit != nullptr) {
        settings.writers.told = [audit](const WriterEvent& event) {
            audit->write({.op = "writer",
                          .disk = event.disk,
                          .right = event.what,
                          .peer = event.server,
                          .writer = event.who,
                          .reason = event.why});
        };
    }
    server->workers_ = std::make_unique<WorkerPool>(kWorkers);
    const std::string name = settings.server;
    auto federation = start_federation(std::move(settings), log);
    if (!federation) {
        return std::unexpected(std::move(federation.error()));
    }
    server->federation_ = std::move(*federation);
    server->service_ = std::make_unique<Service>(Service::Parts{.federation = *server->federation_,
                                                                .workers = *server->workers_,
                                                                .log = log,
                                                                .live = server->live_,
                                                                .audit = audit,
                                                                .server = name,
                                                                .limits = configuration.limits},
                                                 std::move(policy));
    for (EventLoop* const loop : server->federation_->engine().loops()) {
        server->service_->loops.push_back(std::make_unique<SessionLoop>(*loop));
    }
    for (const auto& sessions : server->service_->loops) {
        sessions->loop().post(
            [&server = *server, &sessions = *sessions] { server.tick(sessions); });
    }
    return server;
}

template <class Fn>
void NbdServer::on_each_loop(Fn fn) {
    std::latch done(static_cast<std::ptrdiff_t>(service_->loops.size()));
    for (const auto& sessions : service_->loops) {
        sessions->loop().post([&, sessions = sessions.get()] {
            fn(*sessions);
            done.count_down();
        });
    }
    done.wait();
}

NbdServer::~NbdServer() {
    if (service_ == nullptr) {
        return;
    }
    end_sessions();
    on_each_loop([](SessionLoop&) {});  // the last of them is gone from its loop, too
    workers_.reset();
    federation_.reset();
}

void NbdServer::tell_sessions(void (*what)(Session& session)) {
    service_->draining.store(true);
    for (const auto& sessions : service_->loops) {
        sessions->loop().post([this, what, &sessions = *sessions] {
            if (&sessions == service_->loops.front().get()) {
                listeners_.clear();
            }
            sessions.for_each(what);
        });
    }
}

void NbdServer::drain() {
    tell_sessions([](Session& session) { session.drain(); });
}

bool NbdServer::end_sessions() {
    tell_sessions([](Session& session) { session.abort("the server ends"); });
    const auto until = std::chrono::steady_clock::now() + kLastWait;
    while (service_->sessions.load() > 0 && std::chrono::steady_clock::now() < until) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return service_->sessions.load() == 0;
}

void NbdServer::listen(std::vector<ListeningSocket> sockets) {
    SessionLoop& first = *service_->loops.front();
    std::latch done(1);
    first.loop().post([&] {
        for (ListeningSocket& socket : sockets) {
            listeners_.push_back(std::make_unique<Listener>(first.loop(),
                                                            static_cast<Listener::Owner&>(*this),
                                                            service_->log(), std::move(socket)));
            listeners_.back()->start();
        }
        done.count_down();
    });
    done.wait();
}

void NbdServer::serve(UniqueFd socket) {
    accepted(std::move(socket));
}

bool NbdServer::has_room() {
    return service_->sessions.load(std::memory_order_relaxed) < service_->limits().max_sessions;
}

void NbdServer::accepted(UniqueFd socket) {
    auto client = identity_of_socket(socket.get());
    if (!client.local) {
        tune_tcp(socket.get(), kClients);
        if (reached_at(socket.get()) == client.address) {
            limit_unsent(socket.get(), kUnsentHere);
        }
    }
    auto place = service_->addresses().enter(client.address);
    if (!place) {
        service_->log().error(fmt::format(
            "{}: turned away, for that address has as many sessions as --max-sessions-per-address "
            "allows",
            client.str()));
        return;
    }
    begin_session(std::move(socket), std::move(client), std::move(*place));
}

bool NbdServer::serve_as(UniqueFd socket, ClientIdentity client) {
    if (!has_room() || service_->draining.load()) {
        return false;
    }
    begin_session(std::move(socket), std::move(client), {});
    return true;
}

void NbdServer::begin_session(UniqueFd socket, ClientIdentity client,
                              SessionsByAddress::Place place) {
    auto session = std::make_shared<Session>(*service_, std::move(socket), std::move(client),
                                             std::move(place));
    auto& loops = service_->loops;
    SessionLoop& home = *loops[next_loop_.fetch_add(1) % loops.size()];
    home.loop().post([&home, session = std::move(session)] {
        home.add(session);
        session->begin(home);
    });
}

void NbdServer::tick(SessionLoop& sessions) {
    const auto now = sessions.loop().now();
    sessions.for_each([&](Session& session) { session.look_at_clock(now); });
    sessions.loop().call_at(now + std::chrono::seconds(1), [this, &sessions] { tick(sessions); });
}

}  // namespace signpost
