// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/configuration_options.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "nbd-server/server/ticket.h"

namespace signpost {
namespace {

// A request that may wait N seconds cannot wait longer than that for one step.
void bound_steps(RelayLimits& limits) {
    for (auto* step : {&limits.connect, &limits.handshake, &limits.hedge, &limits.hang}) {
        *step = std::min(*step, limits.request);
    }
}

wire::TlsMode as_peer_mode(DoorTls mode) {
    switch (mode) {
        case DoorTls::on:
            return wire::TlsMode::prefer;
        case DoorTls::require:
            return wire::TlsMode::require;
        case DoorTls::off:
            break;
    }
    return wire::TlsMode::off;
}

bool is_loopback(const ListenAddress& address) {
    return address.host == "localhost" || address.host == "::1" || address.host.starts_with("127.");
}

bool is_open_to_network(const ListenAddress& address) {
    return address.kind == ListenAddress::Kind::tcp && !is_loopback(address);
}

}  // namespace

void ConfigurationDraft::add_mistake(std::string_view place, std::string_view message) {
    mistakes_.push_back(fmt::format("{}: {}", place, message));
}

std::string ConfigurationDraft::place_of(std::string_view key) const {
    const auto found = places_.find(key);
    return found != places_.end() ? found->second : "configuration";
}

void ConfigurationDraft::apply(const Setting& setting) {
    const OptionInfo* option = find_option(setting.key);
    places_[setting.key] = setting.place;
    base = setting.base;
    if (setting.key == "repository") {
        configuration.federation.repositories.clear();
    } else if (setting.key == "listen") {
        configuration.listen.clear();
    } else if (setting.key == "http") {
        configuration.http.listen.clear();
    } else if (setting.key == "http-host") {
        configuration.http.hosts.clear();
    } else if (setting.key == "points") {
        points.clear();
        configuration.federation.repository_options.points = PointPatterns::off();
    }
    for (const std::string& value : setting.values) {
        if (const auto set = option->set(*this, value); !set) {
            add_mistake(setting.place, fmt::format("{}: {}", option->key, set.error().message));
        }
    }
}

void ConfigurationDraft::add_rules(std::vector<AccessRule> rules) {
    auto& all = configuration.access.rules;
    std::ranges::move(rules, std::back_inserter(all));
    if (all.size() > AccessRules::kMaxRules) {
        add_mistake(all.back().origin,
                    fmt::format("access: at most {} rules", AccessRules::kMaxRules));
        all.clear();
    }
}

void ConfigurationDraft::finish(int passed) {
    finish_doors(passed);
    finish_tls();
    finish_http();
    finish_peer_tls();
    finish_access();
    bound_steps(configuration.federation.relay.limits);
    const FederationSettings& federation = configuration.federation;
    if (places_.contains("cache.size") && federation.cache.directory.empty()) {
        add_mistake(place_of("cache.size"),
                    "cache.size: it is about the cache; give cache.directory (--cache), too");
    }
    if (places_.contains("cache.fill") && federation.cache.directory.empty()) {
        add_mistake(place_of("cache.fill"),
                    "cache.fill: it is about the cache; give cache.directory (--cache), too");
    }
    if (federation.repository_options.block_devices && federation.repositories.empty()) {
        add_mistake(place_of("block-devices"),
                    "block-devices: it is about repositories; give a repository, too");
    }
}

void ConfigurationDraft::finish_doors(int passed) {
    if (configuration.stdio) {
        if (places_.contains("listen") && place_of("listen") == "--listen") {
            add_mistake("--stdio", "stdio: there is nobody to listen for; leave --listen out");
        }
        configuration.listen.clear();
        return;
    }
    if (configuration.listen.empty()) {
        ListenAddress address;
        if (passed > 0) {
            address.kind = ListenAddress::Kind::systemd;
            address.port = 0;
        }
        configuration.listen.push_back(address);
    }
}

void ConfigurationDraft::finish_tls() {
    ServerTlsSettings& tls = configuration.tls;
    const bool configured = !tls.certificates.empty() || !tls.psk_file.empty();
    tls.mode = tls_mode.value_or(configured ? DoorTls::require : DoorTls::off);
    if (!tls.certificates.empty() && !tls.psk_file.empty()) {
        add_mistake(place_of("tls.psk"),
                    "tls.psk: certificates and pre-shared keys exclude each other; give one");
    }
    if (tls.mode != DoorTls::off && !configured) {
        add_mistake(place_of("tls.mode"),
                    "tls.mode: TLS needs tls.certificates (--tls-certificates) or tls.psk "
                    "(--tls-psk)");
    }
    if (!tls.psk_file.empty() && places_.contains("tls.verify-peer")) {
        add_mistake(place_of("tls.verify-peer"),
                    "tls.verify-peer: it is about certificates; a key always proves its user");
    }
}

void ConfigurationDraft::finish_http() {
    const HttpDoor& http = configuration.http;
    for (const std::string_view key : {"http-host", "http-users", "http-plain", "stale-after"}) {
        if (places_.contains(key) && http.listen.empty()) {
            add_mistake(place_of(key),
                        fmt::format("{}: it is about the console; give http, too", key));
        }
    }
    if (!http.listen.empty() && configuration.stdio) {
        add_mistake(place_of("http"), "http: a server of one client (--stdio) has no console");
    }
    const bool network = std::ranges::any_of(http.listen, is_open_to_network);
    const bool https =
        configuration.tls.mode != DoorTls::off && !configuration.tls.certificates.empty();
    if (network && !https && !http.plain) {
        add_mistake(place_of("http"),
                    "http: others reach that address, and without TLS they read names and "
                    "passwords on their way: give tls.certificates (--tls-certificates), listen on "
                    "127.0.0.1, or say http-plain = true");
    }
}

// What is said of the doors holds for peers, too, but for keys: a client's secret never goes to
// another server.
void ConfigurationDraft::finish_peer_tls() {
    const ServerTlsSettings& doors = configuration.tls;
    TlsSettings& tls = configuration.federation.relay.tls;
    const bool own = !tls.certificates.empty() || !tls.psk_file.empty();
    if (!own && doors.mode != DoorTls::off) {
        tls.certificates = doors.certificates;
    }
    const bool configured = own || !tls.certificates.empty();
    const wire::TlsMode inherited =
        own && doors.mode == DoorTls::off ? wire::TlsMode::require : as_peer_mode(doors.mode);
    tls.mode = peer_tls_mode.value_or(inherited);
    if (!tls.certificates.empty() && !tls.psk_file.empty()) {
        add_mistake(place_of("peers.tls-psk"),
                    "peers.tls-psk: certificates and a pre-shared key exclude each other; give "
                    "one");
    }
    if (tls.mode == wire::TlsMode::off && own) {
        add_mistake(place_of("peers.tls"),
                    "peers.tls: off does not go with certificates or keys "
                    "for peers; say on or require, or leave them out");
    }
    if (tls.mode != wire::TlsMode::off && !configured && !peer_tls_mode &&
        !doors.psk_file.empty()) {
        add_mistake(place_of("tls.psk"),
                    "tls.psk: it is for clients, and says nothing of links to peers: give "
                    "peers.tls-certificates or peers.tls-psk, or say peers.tls = \"off\"");
    }
    if (tls.mode == wire::TlsMode::off) {
        tls.certificates.clear();
    }
    if (!tls.username.empty() && tls.psk_file.empty()) {
        add_mistake(place_of("peers.tls-username"),
                    "peers.tls-username: it goes with peers.tls-psk (--peer-tls-psk)");
    }
}

void ConfigurationDraft::finish_access() {
    AccessRules& access = configuration.access;
    access.writable = configuration.federation.repository_options.writable;
    auto& warnings = configuration.warnings;
    const bool network = std::ranges::any_of(configuration.listen, is_open_to_network);
    const bool proven = configuration.tls.mode == DoorTls::require &&
                        (!configuration.tls.psk_file.empty() || configuration.tls.verify_peer);
    if (access.rules.empty() && network && !proven) {
        warnings.push_back(fmt::format(
            "anybody who reaches this server may read{} every disk; say --tls=require with "
            "certificates or keys, or write [[access]] rules",
            access.writable ? " and write" : ""));
    }
    const bool wants_proof = std::ranges::any_of(access.rules, [](const AccessRule& rule) {
        return !rule.dn.empty() || !rule.san.empty() || !rule.psk.empty();
    });
    if (wants_proof && configuration.tls.mode == DoorTls::off && configuration.peer_keys.empty()) {
        warnings.push_back("access rules with dn, san or psk fit nobody while TLS is off");
    }
    const bool writes = std::ranges::any_of(
        access.rules, [](const AccessRule& rule) { return rule.right == Right::read_write; });
    if (writes && !access.writable) {
        warnings.push_back(
            "a rule says read-write, but the server is not writable; give "
            "--writable, or say read-only");
    }
}

void ConfigurationDraft::check_files() {
    for (const std::string& directory : configuration.federation.repositories) {
        std::error_code error;
        if (!std::filesystem::is_directory(directory, error)) {
            add_mistake(place_of("repository"),
                        fmt::format("repository: {}: {}", directory,
                                    error ? error.message() : "not a directory"));
        }
    }
    if (const auto loaded = load_server_credentials(configuration.tls); !loaded) {
        const char* key = configuration.tls.psk_file.empty() ? "tls.certificates" : "tls.psk";
        add_mistake(place_of(key), loaded.error().message);
    }
    const TlsSettings& peers = configuration.federation.relay.tls;
    if (const auto loaded = load_tls_credentials(peers); !loaded) {
        const char* key = peers.psk_file.empty() ? "peers.tls-certificates" : "peers.tls-psk";
        add_mistake(place_of(places_.contains(key) ? key : "tls.certificates"),
                    fmt::format("towards peers: {}", loaded.error().message));
    }
    if (!configuration.peer_keys.empty()) {
        if (const auto loaded = TicketKeys::load(configuration.peer_keys); !loaded) {
            add_mistake(place_of("peers.keys"), loaded.error().message);
        }
    }
}

}  // namespace signpost
