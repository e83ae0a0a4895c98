// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/server_credentials.h"

#include <fmt/core.h>
#include <gnutls/crypto.h>

#include <cstring>
#include <string_view>

#include "catalog/disk_name.h"
#include "nbd-server/server/client_identity.h"

namespace signpost {
namespace {

constexpr std::size_t kRandomKey = 32;  // as long as psktool's own

// Somebody whom we do not know gets a key that nobody has. So the handshake fails where a wrong key
// fails it, and does not tell who is known.
int give_key(gnutls_session_t session, const gnutls_datum_t* user, gnutls_datum_t* key) {
    const auto& credentials =
        *static_cast<const ServerCredentials*>(gnutls_session_get_ptr(session));
    const std::string_view name(reinterpret_cast<const char*>(user->data), user->size);
    const auto found = credentials.psk_keys.find(name);
    const bool known = found != credentials.psk_keys.end();
    const std::size_t size = known ? found->second.bytes().size() : kRandomKey;
    key->data = static_cast<unsigned char*>(gnutls_malloc(size));
    if (key->data == nullptr) {
        return -1;
    }
    key->size = static_cast<unsigned>(size);
    if (known) {
        std::memcpy(key->data, found->second.bytes().data(), size);
        return 0;
    }
    return gnutls_rnd(GNUTLS_RND_KEY, key->data, size) < 0 ? -1 : 0;
}

bool is_plain(std::string_view name) {
    return !name.empty() && name.size() <= ClientIdentity::kMaxName &&
           escaped(name, ClientIdentity::kMaxName * 4) == name;
}

Result<TlsSecret> decoded_key(std::string_view hex) {
    const gnutls_datum_t text{reinterpret_cast<unsigned char*>(const_cast<char*>(hex.data())),
                              static_cast<unsigned>(hex.size())};
    gnutls_datum_t key{};
    if (gnutls_hex_decode2(&text, &key) < 0 || key.size == 0) {
        gnutls_free(key.data);
        return fail(Errc::invalid, "the key is not hexadecimal");
    }
    TlsSecret secret;
    secret.bytes().assign(reinterpret_cast<const char*>(key.data), key.size);
    gnutls_memset(key.data, 0, key.size);
    gnutls_free(key.data);
    return secret;
}

// The messages quote no part of the line, for it may be a key.
Result<void> add_psk_line(ServerCredentials& credentials, std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == line.npos || !is_plain(line.substr(0, colon))) {
        return fail(Errc::invalid, "not USER:HEXKEY, as psktool makes it");
    }
    auto key = decoded_key(line.substr(colon + 1));
    if (!key) {
        return std::unexpected(std::move(key.error()));
    }
    if (!credentials.psk_keys.emplace(line.substr(0, colon), std::move(*key)).second) {
        return fail(Errc::invalid, "this user has a key already; remove one of the two");
    }
    return {};
}

Result<void> read_psk_keys(ServerCredentials& credentials, const std::string& path) {
    auto file = read_tls_file(path);
    if (!file) {
        return std::unexpected(std::move(file.error()));
    }
    std::string_view text = file->bytes();
    for (int number = 1; !text.empty(); ++number) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
        if (line.ends_with('\r')) {
            line.remove_suffix(1);
        }
        if (line.empty()) {
            continue;
        }
        if (auto added = add_psk_line(credentials, line); !added) {
            return fail_tls_file(fmt::format("{}:{}", path, number), added.error().message);
        }
    }
    if (credentials.psk_keys.empty()) {
        return fail_tls_file(path, "holds no key; add one with psktool -u");
    }
    return {};
}

Result<void> load_psk(ServerCredentials& credentials, const std::string& path) {
    if (auto read = read_psk_keys(credentials, path); !read) {
        return read;
    }
    gnutls_psk_server_credentials_t raw = nullptr;
    if (const int error = gnutls_psk_allocate_server_credentials(&raw); error < 0) {
        return fail(Errc::unavailable, fmt::format("tls: {}", gnutls_strerror(error)));
    }
    credentials.psk.reset(raw);
    gnutls_psk_set_server_credentials_function2(raw, give_key);
    return {};
}

Result<void> load_verification(gnutls_certificate_credentials_t certificate,
                               const std::string& directory) {
    if (auto loaded = load_authorities(certificate, directory,
                                       "put the certificate of the authority that signs clients"
                                       " there, or say tls-verify-peer=false");
        !loaded) {
        return loaded;
    }
    return load_revocations(certificate, directory);
}

Result<void> load_certificates(ServerCredentials& credentials, const std::string& directory) {
    gnutls_certificate_credentials_t raw = nullptr;
    if (const int error = gnutls_certificate_allocate_credentials(&raw); error < 0) {
        return fail(Errc::unavailable, fmt::format("tls: {}", gnutls_strerror(error)));
    }
    credentials.certificate.reset(raw);
    if (credentials.verify_peer) {
        if (auto loaded = load_verification(raw, directory); !loaded) {
            return loaded;
        }
    }
    const auto own = load_own_certificate(raw, directory, "server");
    if (!own) {
        return std::unexpected(own.error());
    }
    if (!*own) {
        return fail_tls_file(directory + "/server-cert.pem",
                             "missing: put server-cert.pem and server-key.pem there",
                             Errc::not_found);
    }
    return {};
}

}  // namespace

Result<std::shared_ptr<const ServerCredentials>> load_server_credentials(
    const ServerTlsSettings& settings) {
    if (settings.mode == DoorTls::off) {
        return std::shared_ptr<const ServerCredentials>();
    }
    const bool use_psk = !settings.psk_file.empty();
    if (use_psk != settings.certificates.empty()) {
        return fail(Errc::invalid, use_psk ? "tls: give tls-certificates or tls-psk, not both"
                                           : "tls: give tls-certificates=DIR or tls-psk=FILE");
    }
    auto credentials = std::make_shared<ServerCredentials>();
    credentials->verify_peer = settings.verify_peer;
    const auto loaded = use_psk ? load_psk(*credentials, settings.psk_file)
                                : load_certificates(*credentials, settings.certificates);
    if (!loaded) {
        return std::unexpected(loaded.error());
    }
    auto priorities = make_priorities(use_psk ? kPskPriorities : kCertificatePriorities);
    if (!priorities) {
        return std::unexpected(std::move(priorities.error()));
    }
    credentials->priorities = std::move(*priorities);
    return credentials;
}

Result<TlsPeer> peer_of_psk(gnutls_session_t session) {
    gnutls_datum_t user{};
    if (gnutls_psk_server_get_username2(session, &user) < 0 || user.size == 0) {
        return fail(Errc::denied, "the client named no user");
    }
    TlsPeer peer;
    peer.psk.assign(reinterpret_cast<const char*>(user.data), user.size);
    return peer;
}

}  // namespace signpost
