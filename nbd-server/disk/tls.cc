// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/tls.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <array>
#include <utility>

#include "nbd-server/disk/tls_credentials.h"
#include "nbd-server/disk/tls_records.h"

namespace signpost {
namespace {

std::string handshake_with(const std::string& host) {
    return host.empty() ? "tls handshake" : fmt::format("tls handshake with \"{}\"", host);
}

class GnutlsClient final : public TlsClient {
   public:
    GnutlsClient(int socket, const std::string& host)
        : host_(host), records_(TlsRecords::Role::client, socket, handshake_with(host)) {}

    Result<void> start(const TlsCredentials& credentials);

    Step handshake() override;
    ssize_t receive(std::span<const iovec> parts) override { return records_.receive(parts); }
    ssize_t send(std::span<const iovec> parts) override { return records_.send(parts); }
    bool has_buffered() const override { return records_.has_buffered(); }
    const std::string& reason() const override { return records_.reason(); }

   private:
    int set_peer_checks();

    const std::string host_;
    bool certificate_ = false;  // else PSK

    // GnuTLS keeps pointers into these for the life of the session.
    std::array<unsigned char, 16> address_{};
    std::string dns_name_;
    std::array<gnutls_typed_vdata_st, 2> checks_{};

    TlsRecords records_;
};

// Chain and purpose always; the host where there is one.
int GnutlsClient::set_peer_checks() {
    std::size_t count = 0;
    checks_[count++] = {
        GNUTLS_DT_KEY_PURPOSE_OID,
        reinterpret_cast<unsigned char*>(const_cast<char*>(GNUTLS_KP_TLS_WWW_SERVER)), 0};
    int error = 0;
    if (::inet_pton(AF_INET, host_.c_str(), address_.data()) == 1) {
        checks_[count++] = {GNUTLS_DT_IP_ADDRESS, address_.data(), 4};
    } else if (::inet_pton(AF_INET6, host_.c_str(), address_.data()) == 1) {
        checks_[count++] = {GNUTLS_DT_IP_ADDRESS, address_.data(), 16};
    } else if (!host_.empty()) {
        // A final dot means "from the root" to the resolver; certificates and SNI have none.
        dns_name_ = host_.ends_with('.') ? host_.substr(0, host_.size() - 1) : host_;
        checks_[count++] = {GNUTLS_DT_DNS_HOSTNAME,
                            reinterpret_cast<unsigned char*>(dns_name_.data()),
                            static_cast<unsigned>(dns_name_.size())};
        error = gnutls_server_name_set(records_.session(), GNUTLS_NAME_DNS, dns_name_.data(),
                                       dns_name_.size());
    }
    gnutls_session_set_verify_cert2(records_.session(), checks_.data(),
                                    static_cast<unsigned>(count), 0);
    return error;
}

Result<void> GnutlsClient::start(const TlsCredentials& credentials) {
    if (!credentials.priorities) {
        return fail(Errc::invalid, "tls: off here, but a session was asked for");
    }
    int error = records_.start(credentials.priorities.get());
    certificate_ = credentials.certificate != nullptr;
    gnutls_session_t session = records_.session();
    if (error >= 0) {
        error = certificate_
                    ? gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE,
                                             credentials.certificate.get())
                    : gnutls_credentials_set(session, GNUTLS_CRD_PSK, credentials.psk.get());
    }
    if (error >= 0 && certificate_) {
        error = set_peer_checks();
    }
    if (error < 0) {
        return fail(session == nullptr ? Errc::unavailable : Errc::invalid,
                    fmt::format("tls to \"{}\": {}", host_, gnutls_strerror(error)));
    }
    return {};
}

TlsClient::Step GnutlsClient::handshake() {
    const Step step = records_.handshake();
    // It follows from priorities and credentials; said again so that no later change of those lets
    // a session through that proves nothing.
    const auto wanted = certificate_ ? GNUTLS_CRD_CERTIFICATE : GNUTLS_CRD_PSK;
    if (step == Step::done && gnutls_auth_get_type(records_.session()) != wanted) {
        return records_.refuse("the server did not prove who it is");
    }
    return step;
}

}  // namespace

Result<std::unique_ptr<TlsClient>> start_tls_client(const TlsCredentials& credentials, int socket,
                                                    const std::string& host) {
    auto client = std::make_unique<GnutlsClient>(socket, host);
    if (auto started = client->start(credentials); !started) {
        return std::unexpected(std::move(started.error()));
    }
    return client;
}

}  // namespace signpost
