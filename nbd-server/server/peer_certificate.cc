// SPDX-License-Identifier: BSD-3-Clause
//
// The names in a client's certificate, for rules and logs. The certificate has been verified, but
// its names are still somebody's free text.

#include <arpa/inet.h>
#include <fmt/core.h>
#include <gnutls/x509.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <optional>

#include "catalog/disk_name.h"
#include "nbd-server/server/client_identity.h"
#include "nbd-server/server/server_credentials.h"

namespace signpost {
namespace {

struct CertificateFree {
    void operator()(gnutls_x509_crt_t c) const { gnutls_x509_crt_deinit(c); }
};
using Certificate = GnutlsPtr<gnutls_x509_crt_t, CertificateFree>;

// True when TEXT can be shown, and compared with a pattern, as it is: no NUL that would cut it for
// some and not for others, no control character, no half of a sequence.
bool is_plain(std::string_view text) {
    return text.size() <= ClientIdentity::kMaxName &&
           escaped(text, ClientIdentity::kMaxName * 4) == text;
}

Result<Certificate> peer_certificate(gnutls_session_t session) {
    unsigned count = 0;
    const gnutls_datum_t* chain = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t raw = nullptr;
    if (chain == nullptr || count == 0 || gnutls_x509_crt_init(&raw) < 0) {
        return fail(Errc::denied, "the client showed no certificate");
    }
    Certificate certificate(raw);
    if (gnutls_x509_crt_import(raw, &chain[0], GNUTLS_X509_FMT_DER) < 0) {
        return fail(Errc::denied, "the client's certificate cannot be read");
    }
    return certificate;
}

Result<std::string> dn_of(gnutls_x509_crt_t certificate) {
    gnutls_datum_t dn{};
    const int error = gnutls_x509_crt_get_dn3(certificate, &dn, 0);
    if (error == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return std::string();  // names in the extension only
    }
    if (error < 0) {
        return fail(Errc::denied,
                    fmt::format("the client's certificate has no readable subject: {}",
                                gnutls_strerror(error)));
    }
    const std::string text(reinterpret_cast<const char*>(dn.data), dn.size);
    gnutls_free(dn.data);
    std::string normal = normal_dn(text);
    if (!is_plain(normal)) {
        return fail(Errc::denied,
                    "the client's certificate has a subject that is too long or not "
                    "plain text");
    }
    return normal;
}

std::string lower_case(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) {
        return static_cast<char>(c < 0x80 ? std::tolower(c) : c);
    });
    return result;
}

std::string ip_text(std::string_view bytes) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const int family = bytes.size() == 4 ? AF_INET : AF_INET6;
    if ((bytes.size() != 4 && bytes.size() != 16) ||
        ::inet_ntop(family, bytes.data(), text.data(), text.size()) == nullptr) {
        return {};
    }
    return text.data();
}

// Empty: a kind that no rule knows.
std::optional<std::string> san_text(int kind, std::string_view value) {
    switch (kind) {
        case GNUTLS_SAN_DNSNAME:
            return "dns:" + lower_case(value);
        case GNUTLS_SAN_URI:
            return fmt::format("uri:{}", value);
        case GNUTLS_SAN_RFC822NAME:
            return fmt::format("email:{}", value);
        case GNUTLS_SAN_IPADDRESS:
            return "ip:" + ip_text(value);
        default:
            return std::nullopt;
    }
}

Result<std::vector<std::string>> sans_of(gnutls_x509_crt_t certificate) {
    std::vector<std::string> sans;
    for (unsigned i = 0;; ++i) {
        std::array<char, ClientIdentity::kMaxName> value;
        std::size_t size = value.size();
        const int kind =
            gnutls_x509_crt_get_subject_alt_name(certificate, i, value.data(), &size, nullptr);
        if (kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            return sans;
        }
        if (kind < 0 || i == ClientIdentity::kMaxSans) {
            return fail(Errc::denied, "the client's certificate has too many or too long names");
        }
        auto text = san_text(kind, std::string_view(value.data(), size));
        if (!text) {
            continue;
        }
        if (!is_plain(*text)) {
            return fail(Errc::denied, "the client's certificate has a name that is no plain text");
        }
        sans.push_back(std::move(*text));
    }
}

}  // namespace

Result<TlsPeer> peer_of_certificate(gnutls_session_t session) {
    auto certificate = peer_certificate(session);
    if (!certificate) {
        return std::unexpected(std::move(certificate.error()));
    }
    auto dn = dn_of(certificate->get());
    if (!dn) {
        return std::unexpected(std::move(dn.error()));
    }
    auto sans = sans_of(certificate->get());
    if (!sans) {
        return std::unexpected(std::move(sans.error()));
    }
    return TlsPeer{std::move(*dn), std::move(*sans), {}};
}

std::int64_t certificate_end(const ServerTlsSettings& settings) {
    const auto file = settings.certificates.empty()
                          ? Result<TlsSecret>(fail(Errc::not_found, ""))
                          : read_tls_file(settings.certificates + "/server-cert.pem");
    gnutls_x509_crt_t certificate = nullptr;
    if (!file || gnutls_x509_crt_init(&certificate) < 0) {
        return 0;
    }
    const std::string& bytes = file->bytes();
    const gnutls_datum_t data{reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data())),
                              static_cast<unsigned>(bytes.size())};
    const bool good = gnutls_x509_crt_import(certificate, &data, GNUTLS_X509_FMT_PEM) == 0;
    const std::int64_t end = good ? gnutls_x509_crt_get_expiration_time(certificate) : 0;
    gnutls_x509_crt_deinit(certificate);
    return std::max<std::int64_t>(end, 0);
}

}  // namespace signpost
