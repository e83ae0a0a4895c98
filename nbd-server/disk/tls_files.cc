// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/tls_files.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "nbd-server/disk/unique_fd.h"

namespace signpost {
namespace {

constexpr std::size_t kMaxFile = 8 * 1024 * 1024;  // far above any bundle of authorities

std::unexpected<Error> fail_errno(const std::string& path, int error) {
    Errc code = Errc::invalid;
    if (error == ENOENT || error == ENOTDIR) {
        code = Errc::not_found;
    } else if (error == EACCES) {
        code = Errc::denied;
    }
    return fail_tls_file(path, std::strerror(error), code);
}

}  // namespace

std::unexpected<Error> fail_tls_file(const std::string& path, std::string_view why, Errc code) {
    return fail(code, fmt::format("tls: {}: {}", path, why));
}

Result<TlsSecret> read_tls_file(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) {
        return fail_errno(path, errno);
    }
    if (!S_ISREG(status.st_mode)) {
        return fail_tls_file(path, "not a regular file");
    }
    if (static_cast<std::size_t>(status.st_size) > kMaxFile) {
        return fail_tls_file(path, "larger than 8 MiB: not a certificate, key or PSK file");
    }
    TlsSecret secret;
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

Result<std::optional<TlsSecret>> read_optional_tls_file(const std::string& path) {
    auto file = read_tls_file(path);
    if (file) {
        return std::optional<TlsSecret>(std::move(*file));
    }
    if (file.error().code == Errc::not_found) {
        return std::optional<TlsSecret>();
    }
    return std::unexpected(std::move(file.error()));
}

Result<void> load_authorities(gnutls_certificate_credentials_t certificate,
                              const std::string& directory, std::string_view remedy) {
    const std::string path = directory + "/ca-cert.pem";
    auto authorities = read_tls_file(path);
    if (!authorities) {
        if (authorities.error().code == Errc::not_found) {
            authorities.error().message += fmt::format(": {}", remedy);
        }
        return std::unexpected(std::move(authorities.error()));
    }
    const gnutls_datum_t pem = authorities->datum();
    const int count = gnutls_certificate_set_x509_trust_mem(certificate, &pem, GNUTLS_X509_FMT_PEM);
    if (count <= 0) {
        return fail_tls_file(path, count < 0 ? gnutls_strerror(count) : "holds no certificate");
    }
    return {};
}

Result<void> load_revocations(gnutls_certificate_credentials_t certificate,
                              const std::string& directory) {
    const std::string path = directory + "/ca-crl.pem";
    auto list = read_optional_tls_file(path);
    if (!list) {
        return std::unexpected(std::move(list.error()));
    }
    if (!*list) {
        return {};
    }
    const gnutls_datum_t pem = (*list)->datum();
    const int count = gnutls_certificate_set_x509_crl_mem(certificate, &pem, GNUTLS_X509_FMT_PEM);
    if (count <= 0) {
        return fail_tls_file(path, count < 0 ? gnutls_strerror(count) : "holds no revocation list");
    }
    return {};
}

Result<bool> load_own_certificate(gnutls_certificate_credentials_t certificate,
                                  const std::string& directory, std::string_view role) {
    const std::string certificate_path = fmt::format("{}/{}-cert.pem", directory, role);
    const std::string key_path = fmt::format("{}/{}-key.pem", directory, role);
    auto own = read_optional_tls_file(certificate_path);
    if (!own) {
        return std::unexpected(std::move(own.error()));
    }
    auto key = read_optional_tls_file(key_path);
    if (!key) {
        return std::unexpected(std::move(key.error()));
    }
    if (!*own && !*key) {
        return false;
    }
    if (!*own || !*key) {
        return fail_tls_file(*own ? key_path : certificate_path,
                             fmt::format("missing: a {0} certificate needs {0}-cert.pem and"
                                         " {0}-key.pem",
                                         role),
                             Errc::not_found);
    }
    const gnutls_datum_t own_pem = (*own)->datum();
    const gnutls_datum_t key_pem = (*key)->datum();
    const int error =
        gnutls_certificate_set_x509_key_mem(certificate, &own_pem, &key_pem, GNUTLS_X509_FMT_PEM);
    if (error < 0) {
        return fail_tls_file(certificate_path,
                             fmt::format("with {}-key.pem: {}", role, gnutls_strerror(error)));
    }
    return true;
}

Result<GnutlsPtr<gnutls_priority_t, PrioritiesFree>> make_priorities(const char* text) {
    gnutls_priority_t priorities = nullptr;
    if (const int error = gnutls_priority_init(&priorities, text, nullptr); error < 0) {
        return fail(Errc::invalid, fmt::format("tls: this system's crypto policy allows no TLS"
                                               " 1.2 or 1.3: {}",
                                               gnutls_strerror(error)));
    }
    return GnutlsPtr<gnutls_priority_t, PrioritiesFree>(priorities);
}

}  // namespace signpost
