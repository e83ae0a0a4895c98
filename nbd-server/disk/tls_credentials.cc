// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/tls_credentials.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

#include "nbd-server/disk/unique_fd.h"

namespace signpost {
namespace {

constexpr std::size_t kMaxFile = 8 * 1024 * 1024;  // far above any bundle of authorities

// The versions are named because GnuTLS's NORMAL still takes 1.1 on some systems.
constexpr const char* kCertificatePriorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

// Only exchanges that prove the key: a server must not get away with a certificate instead.
constexpr const char* kPskPriorities =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK";

// Key material, wiped when it goes.
class Secret {
   public:
    Secret() = default;
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)) { other.bytes_.clear(); }
    Secret& operator=(Secret&&) = delete;
    ~Secret() { gnutls_memset(bytes_.data(), 0, bytes_.size()); }

    std::string& bytes() { return bytes_; }
    gnutls_datum_t datum() {
        return {reinterpret_cast<unsigned char*>(bytes_.data()),
                static_cast<unsigned>(bytes_.size())};
    }

   private:
    std::string bytes_;
};

std::unexpected<Error> fail_file(const std::string& path, std::string_view why,
                                 Errc code = Errc::invalid) {
    return fail(code, fmt::format("tls: {}: {}", path, why));
}

std::unexpected<Error> fail_errno(const std::string& path, int error) {
    Errc code = Errc::invalid;
    if (error == ENOENT || error == ENOTDIR) {
        code = Errc::not_found;
    } else if (error == EACCES) {
        code = Errc::denied;
    }
    return fail_file(path, std::strerror(error), code);
}

// Regular files only, so that a FIFO in the directory cannot hold up the start.
Result<Secret> read_file(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) {
        return fail_errno(path, errno);
    }
    if (!S_ISREG(status.st_mode)) {
        return fail_file(path, "not a regular file");
    }
    if (static_cast<std::size_t>(status.st_size) > kMaxFile) {
        return fail_file(path, "larger than 8 MiB: not a certificate, key or PSK file");
    }
    Secret secret;
    secret.bytes().resize(static_cast<std::size_t>(status.st_size));
    std::size_t have = 0;
    while (have < secret.bytes().size()) {
        const ssize_t n =
            ::read(fd.get(), secret.bytes().data() + have, secret.bytes().size() - have);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail_errno(path, errno);
        }
        if (n == 0) {
            break;
        }
        have += static_cast<std::size_t>(n);
    }
    secret.bytes().resize(have);
    return secret;
}

// Absent is fine; anything else that goes wrong is not.
Result<std::optional<Secret>> read_optional_file(const std::string& path) {
    auto file = read_file(path);
    if (file) {
        return std::optional<Secret>(std::move(*file));
    }
    if (file.error().code == Errc::not_found) {
        return std::optional<Secret>();
    }
    return std::unexpected(std::move(file.error()));
}

Result<void> load_authorities(gnutls_certificate_credentials_t certificate,
                              const std::string& directory) {
    const std::string path = directory + "/ca-cert.pem";
    auto authorities = read_file(path);
    if (!authorities) {
        if (authorities.error().code == Errc::not_found) {
            authorities.error().message +=
                ": put the authority's certificate there, or leave"
                " tls-certificates out to use the system's";
        }
        return std::unexpected(std::move(authorities.error()));
    }
    const gnutls_datum_t pem = authorities->datum();
    const int count = gnutls_certificate_set_x509_trust_mem(certificate, &pem, GNUTLS_X509_FMT_PEM);
    if (count <= 0) {
        return fail_file(path, count < 0 ? gnutls_strerror(count) : "holds no certificate");
    }
    return {};
}

Result<void> load_revocations(gnutls_certificate_credentials_t certificate,
                              const std::string& directory) {
    const std::string path = directory + "/ca-crl.pem";
    auto list = read_optional_file(path);
    if (!list) {
        return std::unexpected(std::move(list.error()));
    }
    if (!*list) {
        return {};
    }
    const gnutls_datum_t pem = (*list)->datum();
    const int count = gnutls_certificate_set_x509_crl_mem(certificate, &pem, GNUTLS_X509_FMT_PEM);
    if (count <= 0) {
        return fail_file(path, count < 0 ? gnutls_strerror(count) : "holds no revocation list");
    }
    return {};
}

Result<void> load_client_certificate(gnutls_certificate_credentials_t certificate,
                                     const std::string& directory) {
    const std::string certificate_path = directory + "/client-cert.pem";
    const std::string key_path = directory + "/client-key.pem";
    auto own = read_optional_file(certificate_path);
    if (!own) {
        return std::unexpected(std::move(own.error()));
    }
    auto key = read_optional_file(key_path);
    if (!key) {
        return std::unexpected(std::move(key.error()));
    }
    if (!*own && !*key) {
        return {};
    }
    if (!*own || !*key) {
        return fail_file(*own ? key_path : certificate_path,
                         "missing: a client certificate needs client-cert.pem and client-key.pem",
                         Errc::not_found);
    }
    const gnutls_datum_t own_pem = (*own)->datum();
    const gnutls_datum_t key_pem = (*key)->datum();
    const int error =
        gnutls_certificate_set_x509_key_mem(certificate, &own_pem, &key_pem, GNUTLS_X509_FMT_PEM);
    if (error < 0) {
        return fail_file(certificate_path,
                         fmt::format("with client-key.pem: {}", gnutls_strerror(error)));
    }
    return {};
}

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
    if (auto loaded = load_authorities(raw, directory); !loaded) {
        return loaded;
    }
    if (auto loaded = load_revocations(raw, directory); !loaded) {
        return loaded;
    }
    return load_client_certificate(raw, directory);
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
    auto file = read_file(settings.psk_file);
    if (!file) {
        return std::unexpected(std::move(file.error()));
    }
    const std::string_view key = find_key(file->bytes(), user);
    if (key.empty()) {
        return fail_file(settings.psk_file,
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
        return fail_file(settings.psk_file,
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
    gnutls_priority_t priorities = nullptr;
    const int error = gnutls_priority_init(
        &priorities, use_psk ? kPskPriorities : kCertificatePriorities, nullptr);
    if (error < 0) {
        return fail(Errc::invalid, fmt::format("tls: this system's crypto policy allows no TLS"
                                               " 1.2 or 1.3: {}",
                                               gnutls_strerror(error)));
    }
    credentials->priorities.reset(priorities);
    return credentials;
}

}  // namespace signpost
