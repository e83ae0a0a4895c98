// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/tls_credentials.h"

#include <fmt/core.h>
#include <pwd.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "nbd-server/disk/tls_files.h"

namespace signpost {
namespace {

Result<void> load_certificates(TlsCredentials& credentials, const std::string& directory) {
    gnutls_certificate_credentials_t raw = nullptr;
    if (const int error = gnutls_certificate_allocate_credentials(&raw); error < 0) {
        return fail(Errc::unavailable, fmt::format("tls: {}", gnutls_strerror(error)));
    }
    credentials.certificate.reset(raw);
    if (directory.empty()) {
        if (gnutls_certificate_set_x509_system_trust(raw) <= 0) {
            return fail(Errc::not_found,
                        "tls: this system trusts no authority: install ca-certificates, or give"
                        " tls-certificates=DIR with a ca-cert.pem");
        }
        return {};
    }
    if (auto loaded = load_authorities(raw, directory,
                                       "put the authority's certificate there, or leave"
                                       " tls-certificates out to use the system's");
        !loaded) {
        return loaded;
    }
    if (auto loaded = load_revocations(raw, directory); !loaded) {
        return loaded;
    }
    auto own = load_own_certificate(raw, directory, "client");
    return own ? Result<void>() : std::unexpected(std::move(own.error()));
}

std::string login_name() {
    std::array<char, 4096> buffer;
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found) {
        return {};
    }
    return found->pw_name;
}

// The hexadecimal key in the line USER:KEY; empty when there is no such line.
std::string_view find_key(std::string_view text, std::string_view user) {
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
        if (line.ends_with('\r')) {
            line.remove_suffix(1);
        }
        const std::size_t colon = line.find(':');
        if (colon != line.npos && line.substr(0, colon) == user) {
            return line.substr(colon + 1);
        }
    }
    return {};
}

Result<void> load_psk(TlsCredentials& credentials, const TlsSettings& settings) {
    const std::string user = settings.username.empty() ? login_name() : settings.username;
    if (user.empty()) {
        return fail(Errc::invalid, "tls: no login name for the PSK: give tls-username=NAME");
    }
    auto file = read_tls_file(settings.psk_file);
    if (!file) {
        return std::unexpected(std::move(file.error()));
    }
    const std::string_view key = find_key(file->bytes(), user);
    if (key.empty()) {
        return fail_tls_file(settings.psk_file,
                             fmt::format("no key of user \"{}\": give tls-username=NAME, or add one"
                                         " with psktool -u",
                                         user),
                             Errc::not_found);
    }
    gnutls_psk_client_credentials_t raw = nullptr;
    if (const int error = gnutls_psk_allocate_client_credentials(&raw); error < 0) {
        return fail(Errc::unavailable, fmt::format("tls: {}", gnutls_strerror(error)));
    }
    credentials.psk.reset(raw);
    const gnutls_datum_t hex{reinterpret_cast<unsigned char*>(const_cast<char*>(key.data())),
                             static_cast<unsigned>(key.size())};
    const int error =
        gnutls_psk_set_client_credentials(raw, user.c_str(), &hex, GNUTLS_PSK_KEY_HEX);
    if (error < 0) {
        return fail_tls_file(settings.psk_file,
                             fmt::format("key of user \"{}\": {}", user, gnutls_strerror(error)));
    }
    return {};
}

}  // namespace

Result<std::shared_ptr<const TlsCredentials>> load_tls_credentials(const TlsSettings& settings) {
    auto credentials = std::make_shared<TlsCredentials>();
    const bool use_psk = !settings.psk_file.empty();
    // Files that are given serve the URIs that ask for TLS themselves, also when the mode is off.
    if (settings.mode == wire::TlsMode::off && !use_psk && settings.certificates.empty()) {
        return credentials;
    }
    if (use_psk && !settings.certificates.empty()) {
        return fail(Errc::invalid, "tls: give tls-certificates or tls-psk, not both");
    }
    const Result<void> loaded = use_psk ? load_psk(*credentials, settings)
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

}  // namespace signpost
