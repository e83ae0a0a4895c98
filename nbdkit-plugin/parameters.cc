// SPDX-License-Identifier: BSD-3-Clause

#include "nbdkit-plugin/parameters.h"

#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

namespace signpost {

const char* const kParameterHelp =
    "repository=<DIR>            Serve the images under DIR; may be repeated.\n"
    "catalog=<URL>               The federation's catalog: sqlite:PATH or a path.\n"
    "state=<DIR>                 Where servers keep what they know for when the catalog is away.\n"
    "stub-ttl=<SECONDS>          How long what is known of a disk counts as new (default: 300).\n"
    "server=<NAME>               This server's name in the catalog (default: the host name).\n"
    "uri=<NBD-URI>               Where peers reach this server; without it nothing is published.\n"
    "writable=<BOOL>             Let clients write to images and relayed disks (default: false).\n"
    "block-devices=<BOOL>        Serve block devices in repositories, too (default: false).\n"
    "points=<PATTERN>            Which files are restore points, as {disk}-{date}; chains; off.\n"
    "copies=<BOOL>               Carry out copies and moves that the catalog asks for (default: "
    "on).\n"
    "site=<NAME>                 Where this server stands; copies on the same site come first.\n"
    "priority=<N>                Of this server for others, lower is asked first (default: 100).\n"
    "class=<CLASS>               Before and beside that: global-high, site-high, site-normal\n"
    "                            (default), site-low, global-low.\n"
    "peer-timeout=<SECONDS>      How long a request may wait for peers in all (default: 12).\n"
    "connections=<N>             Connections to a peer for each disk (default: 4).\n"
    "cache=<DIR>                 Keep what is relayed in DIR, of this server alone.\n"
    "cache-size=<SIZE>           How much of that to keep (default: 10G).\n"
    "cache-fill=<SIZE>           Bytes per second to fetch the rest of such disks at (default: "
    "0).\n"
    "verify=<MODE>               Check what is relayed, chunk by chunk: off, relay or require.\n"
    "digest-rate=<SIZE>          Bytes per second to compute digests at; 0: none (default: 64M).\n"
    "scrub=<TIME>                How old the last reading of an image may get, as 7d (default: "
    "off).\n"
    "failback=<BOOL>             Go back to a better location that is well again (default: "
    "false).\n"
    "privileged-ports=<BOOL>     Relay from peers on ports below 1024, too (default: false).\n"
    "tls=<MODE>                  TLS towards peers: off, on or require.\n"
    "tls-certificates=<DIR>      X.509 certificates for peers.\n"
    "tls-psk=<FILE>              Pre-shared keys for peers.\n"
    "tls-username=<NAME>         User name that goes with the pre-shared key.\n"
    "\n"
    "`repository=' may be left out. What clients see of TLS is nbdkit's own: --tls.\n";

namespace {

// What one request may wait: less is no patience with a peer that is being restarted, more than a
// guest has with its disk.
constexpr int kMinPeerTimeout = 1;
constexpr int kMaxPeerTimeout = 3600;
constexpr int kMaxStubLifetime = 86'400;
constexpr int kMaxConnections = 64;
constexpr int kMaxPriority = 1'000'000;
constexpr std::size_t kMaxSite = 128;

Result<std::string> absolute_path(std::string_view key, const char* path) {
    if (*path == '\0') {
        return fail(Errc::invalid, fmt::format("{}= is empty; give a path", key));
    }
    const std::unique_ptr<char, decltype(&std::free)> absolute(nbdkit_absolute_path(path),
                                                               &std::free);
    if (!absolute) {
        return fail(Errc::invalid,
                    fmt::format("{}={} cannot be made an absolute path", key, escaped(path)));
    }
    return std::string(absolute.get());
}

Result<int> number_in(std::string_view key, const char* value, int least, int most) {
    int number = 0;
    const char* const end = value + std::strlen(value);
    const auto [stop, error] = std::from_chars(value, end, number);
    if (error != std::errc() || stop != end || number < least || number > most) {
        return fail(Errc::invalid, fmt::format("{}={} is not a whole number from {} to {}", key,
                                               escaped(value), least, most));
    }
    return number;
}

// nbdkit's own words. Its nbdkit_parse_bool says a line of its own, which does not name the
// parameter.
std::optional<bool> truth_of(const char* value) {
    for (const char* word : {"true", "t", "yes", "y", "on", "1"}) {
        if (strcasecmp(value, word) == 0) {
            return true;
        }
    }
    for (const char* word : {"false", "f", "no", "n", "off", "0"}) {
        if (strcasecmp(value, word) == 0) {
            return false;
        }
    }
    return std::nullopt;
}

Result<std::string> absolute_catalog(const char* value) {
    constexpr std::string_view kSqlite = "sqlite:";
    const std::string_view url = value;
    if (url.find("://") != std::string_view::npos) {
        return std::string(url);  // not a file: for open_catalog to judge
    }
    auto path = absolute_path("catalog", url.starts_with(kSqlite) ? value + kSqlite.size() : value);
    if (!path) {
        return path;
    }
    return std::string(kSqlite) + *path;
}

Result<std::string> checked_site(const char* value) {
    const std::string_view site = value;
    if (site.empty() || site.size() > kMaxSite || escaped(site, kMaxSite) != site) {
        return fail(Errc::invalid,
                    fmt::format("site={} is not a name: 1 to {} bytes of text without "
                                "control characters",
                                escaped(site), kMaxSite));
    }
    return std::string(site);
}

template <class T, class U>
Result<void> store(T& target, Result<U> value) {
    if (!value) {
        return std::unexpected(value.error());
    }
    target = std::move(*value);
    return {};
}

// A request that may wait N seconds cannot wait longer than that for one step.
void bound_steps(RelayLimits& limits) {
    for (auto* step : {&limits.connect, &limits.handshake, &limits.hedge, &limits.hang}) {
        *step = std::min(*step, limits.request);
    }
}

}  // namespace

Result<void> Parameters::set(std::string_view key, const char* value) {
    if (key == "repository") {
        auto path = absolute_path(key, value);
        if (!path) {
            return std::unexpected(path.error());
        }
        settings_.repositories.push_back(std::move(*path));
        return {};
    }
    if (key == "catalog") {
        return store(settings_.catalog_url, absolute_catalog(value));
    }
    if (key == "state") {
        return store(settings_.state_directory, absolute_path(key, value));
    }
    if (key == "server") {
        settings_.server = value;
        return check_server_name(settings_.server);
    }
    if (key == "uri") {
        const auto uri = NbdUri::parse(value);
        if (!uri) {
            return fail(Errc::invalid, fmt::format("parameter uri: {}", uri.error().message));
        }
        settings_.uri = value;
        return {};
    }
    if (key == "site") {
        return store(settings_.site, checked_site(value));
    }
    if (key == "points") {
        points_.emplace_back(value);
        auto patterns = PointPatterns::parse(points_);
        if (!patterns) {
            return fail(patterns.error().code, fmt::format("points= {}", patterns.error().message));
        }
        settings_.repository_options.points = std::move(*patterns);
        return {};
    }
    if (key == "verify" || key == "digest-rate" || key == "scrub") {
        return set_digests(key, value);
    }
    if (key == "cache") {
        return store(settings_.cache.directory, absolute_path(key, value));
    }
    if (key == "cache-size") {
        return set_cache_size(value);
    }
    if (key == "cache-fill") {
        return store(settings_.cache.fill_rate, parse_digest_rate(value));
    }
    if (key == "class") {
        const auto parsed = parse_priority_class(value);
        if (!parsed) {
            return fail(Errc::invalid,
                        fmt::format("class={} is none of {}", escaped(value), kPriorityClasses));
        }
        settings_.priority_class = *parsed;
        return {};
    }
    if (key.starts_with("tls")) {
        return set_tls(key, value);
    }
    if (key == "priority" || key == "peer-timeout" || key == "connections" || key == "stub-ttl") {
        return set_number(key, value);
    }
    return set_switch(key, value);
}

Result<void> Parameters::set_number(std::string_view key, const char* value) {
    if (key == "priority") {
        return store(settings_.priority, number_in(key, value, 0, kMaxPriority));
    }
    if (key == "connections") {
        return store(settings_.relay.limits.connections, number_in(key, value, 1, kMaxConnections));
    }
    const bool of_stubs = key == "stub-ttl";
    const auto seconds = of_stubs ? number_in(key, value, 1, kMaxStubLifetime)
                                  : number_in(key, value, kMinPeerTimeout, kMaxPeerTimeout);
    if (!seconds) {
        return std::unexpected(seconds.error());
    }
    if (of_stubs) {
        settings_.stub_lifetime = std::chrono::seconds(*seconds);
        return {};
    }
    settings_.relay.limits.request = std::chrono::seconds(*seconds);
    return {};
}

Result<void> Parameters::set_digests(std::string_view key, const char* value) {
    auto set = key == "verify"  ? store(settings_.verify, parse_verify(value))
               : key == "scrub" ? store(settings_.digests.scrub, parse_scrub(value))
                                : store(settings_.digests.rate, parse_digest_rate(value));
    if (!set) {
        return fail(set.error().code, fmt::format("{}= {}", key, set.error().message));
    }
    return {};
}

Result<void> Parameters::set_cache_size(const char* value) {
    const std::int64_t size = nbdkit_parse_size(value);
    if (size < static_cast<std::int64_t>(kLeastCacheSize)) {
        return fail(Errc::invalid, fmt::format("cache-size={} is not a size of 64M or more, as 10G",
                                               escaped(value)));
    }
    settings_.cache.size = static_cast<std::uint64_t>(size);
    return {};
}

Result<void> Parameters::set_switch(std::string_view key, const char* value) {
    bool* const target = key == "writable"           ? &settings_.repository_options.writable
                         : key == "block-devices"    ? &settings_.repository_options.block_devices
                         : key == "copies"           ? &settings_.copies
                         : key == "privileged-ports" ? &settings_.relay.allow_privileged_ports
                         : key == "failback"         ? &settings_.relay.failback
                                                     : nullptr;
    if (target == nullptr) {
        return fail(
            Errc::invalid,
            fmt::format("unknown parameter '{}'; see: nbdkit signpost --help", escaped(key)));
    }
    const auto parsed = truth_of(value);
    if (!parsed) {
        return fail(Errc::invalid,
                    fmt::format("{}={} is neither true nor false", key, escaped(value)));
    }
    *target = *parsed;
    return {};
}

Result<void> Parameters::set_tls(std::string_view key, const char* value) {
    TlsSettings& tls = settings_.relay.tls;
    if (key == "tls-certificates") {
        return store(tls.certificates, absolute_path(key, value));
    }
    if (key == "tls-psk") {
        return store(tls.psk_file, absolute_path(key, value));
    }
    if (key == "tls-username") {
        tls.username = value;
        return {};
    }
    if (key != "tls") {
        return set_switch(key, value);  // refuses it
    }
    const std::string_view mode = value;
    if (mode == "off") {
        tls_mode_ = wire::TlsMode::off;
    } else if (mode == "on") {
        tls_mode_ = wire::TlsMode::prefer;
    } else if (mode == "require") {
        tls_mode_ = wire::TlsMode::require;
    } else {
        return fail(Errc::invalid,
                    fmt::format("tls={} is none of off, on, require", escaped(mode)));
    }
    return {};
}

Result<FederationSettings> Parameters::finish() const {
    FederationSettings settings = settings_;
    if (settings.state_directory.empty()) {
        settings.state_directory = default_state_directory();
    }
    TlsSettings& tls = settings.relay.tls;
    const bool configured =
        !tls.certificates.empty() || !tls.psk_file.empty() || !tls.username.empty();
    tls.mode = tls_mode_.value_or(configured ? wire::TlsMode::prefer : wire::TlsMode::off);
    if (!tls.certificates.empty() && !tls.psk_file.empty()) {
        return fail(Errc::invalid, "tls-certificates= and tls-psk= exclude each other; give one");
    }
    if (configured && tls.mode == wire::TlsMode::off) {
        return fail(Errc::invalid,
                    "tls=off does not go with the other tls parameters; give tls=on "
                    "or tls=require, or leave them out");
    }
    if (settings.cache.directory.empty() && settings.cache.size != CacheSettings{}.size) {
        return fail(Errc::invalid, "cache-size= is about the cache; give cache=DIR, too");
    }
    if (settings.cache.directory.empty() && settings.cache.fill_rate != 0) {
        return fail(Errc::invalid, "cache-fill= is about the cache; give cache=DIR, too");
    }
    if (settings.repository_options.block_devices && settings.repositories.empty()) {
        return fail(Errc::invalid,
                    "block-devices= is about repositories; give repository=DIR, too");
    }
    bound_steps(settings.relay.limits);
    return settings;
}

}  // namespace signpost
