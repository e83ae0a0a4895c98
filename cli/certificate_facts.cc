// SPDX-License-Identifier: BSD-3-Clause

#include "cli/certificate_facts.h"

#include <fmt/format.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxFile = 1024 * 1024;

struct Free {
    void operator()(gnutls_x509_crt_t certificate) const { ::gnutls_x509_crt_deinit(certificate); }
};

}  // namespace

Result<CertificateFacts> certificate_facts(const std::string& path, const std::string& host) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        return fail(Errc::not_found, fmt::format("{} cannot be read", escaped(path)));
    }
    std::string text(kMaxFile, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    gnutls_x509_crt_t made = nullptr;
    if (::gnutls_x509_crt_init(&made) < 0) {
        return fail(Errc::io, "GnuTLS has no memory");
    }
    const std::unique_ptr<gnutls_x509_crt_int, Free> certificate(made);
    const gnutls_datum_t pem{reinterpret_cast<unsigned char*>(text.data()),
                             static_cast<unsigned>(text.size())};
    if (const int read = ::gnutls_x509_crt_import(made, &pem, GNUTLS_X509_FMT_PEM); read < 0) {
        return fail(Errc::invalid, fmt::format("{} is no certificate: {}", escaped(path),
                                               ::gnutls_strerror(read)));
    }
    return CertificateFacts{
        .begins = ::gnutls_x509_crt_get_activation_time(made),
        .ends = ::gnutls_x509_crt_get_expiration_time(made),
        .names_host = ::gnutls_x509_crt_check_hostname(made, host.c_str()) != 0};
}

}  // namespace signpost
