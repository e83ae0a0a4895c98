// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/tls_server.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "nbd-server/disk/tls_records.h"
#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/server/server_credentials.h"

namespace signpost {
namespace {

class GnutlsServer final : public TlsServer {
   public:
    GnutlsServer(std::shared_ptr<const ServerCredentials> credentials, int socket)
        : credentials_(std::move(credentials)),
          records_(TlsRecords::Role::server, socket, "tls handshake") {}

    Result<void> start();

    Step handshake() override;
    ssize_t receive(std::span<const iovec> parts) override { return records_.receive(parts); }
    ssize_t send(std::span<const iovec> parts) override { return records_.send(parts); }
    bool has_buffered() const override { return records_.has_buffered(); }
    void finish() override { records_.send_end(); }
    void release_buffers() override { records_.release_buffers(); }
    const TlsPeer& peer() const override { return peer_; }
    const std::string& version() const override { return version_; }
    const std::string& reason() const override { return records_.reason(); }

   private:
    int set_credentials();
    void ask_for_certificate();
    Step learn_peer();

    const std::shared_ptr<const ServerCredentials> credentials_;
    std::array<gnutls_typed_vdata_st, 1> checks_{};  // GnuTLS points into it
    bool known_ = false;                             // the peer has been looked at
    TlsPeer peer_;
    std::string version_;
    TlsRecords records_;  // goes before what it points to
};

// A certificate that was made for clients, of our authority: or no session.
void GnutlsServer::ask_for_certificate() {
    gnutls_session_t session = records_.session();
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    checks_[0] = {GNUTLS_DT_KEY_PURPOSE_OID,
                  reinterpret_cast<unsigned char*>(const_cast<char*>(GNUTLS_KP_TLS_WWW_CLIENT)), 0};
    gnutls_session_set_verify_cert2(session, checks_.data(), checks_.size(), 0);
}

int GnutlsServer::set_credentials() {
    gnutls_session_t session = records_.session();
    if (!credentials_->certificate) {
        gnutls_session_set_ptr(session, const_cast<ServerCredentials*>(credentials_.get()));
        return gnutls_credentials_set(session, GNUTLS_CRD_PSK, credentials_->psk.get());
    }
    if (credentials_->verify_peer) {
        ask_for_certificate();
    }
    return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials_->certificate.get());
}

Result<void> GnutlsServer::start() {
    int error = records_.start(credentials_->priorities.get());
    if (error >= 0) {
        error = set_credentials();
    }
    if (error < 0) {
        return fail(Errc::unavailable, fmt::format("tls: {}", gnutls_strerror(error)));
    }
    return {};
}

TlsServer::Step GnutlsServer::handshake() {
    const Step step = records_.handshake();
    return step == Step::done && !std::exchange(known_, true) ? learn_peer() : step;
}

// What the priorities and credentials promise is looked at once more, so that no later change of
// those lets in somebody who has proven nothing.
TlsServer::Step GnutlsServer::learn_peer() {
    gnutls_session_t session = records_.session();
    const bool with_certificates = credentials_->certificate != nullptr;
    const auto wanted = with_certificates ? GNUTLS_CRD_CERTIFICATE : GNUTLS_CRD_PSK;
    if (gnutls_auth_server_get_type(session) != wanted) {
        return records_.refuse("the client agreed to another way of proof");
    }
    if (!with_certificates || credentials_->verify_peer) {
        auto peer = with_certificates ? peer_of_certificate(session) : peer_of_psk(session);
        if (!peer) {
            return records_.refuse(peer.error().message);
        }
        peer_ = std::move(*peer);
    }
    version_ = fmt::format("{} {}", gnutls_protocol_get_name(gnutls_protocol_get_version(session)),
                           gnutls_cipher_get_name(gnutls_cipher_get(session)));
    return Step::done;
}

std::string_view kernel_support() {
    const UniqueFd fd(::open("/proc/sys/net/ipv4/tcp_available_ulp", O_RDONLY | O_CLOEXEC));
    std::array<char, 256> text;
    const ssize_t n = fd ? ::read(fd.get(), text.data(), text.size()) : -1;
    if (n < 0) {
        return "the kernel does not say whether it has it";
    }
    std::string words(text.data(), static_cast<std::size_t>(n));
    std::ranges::replace(words, '\n', ' ');
    return (" " + words + " ").find(" tls ") != std::string::npos ? "the kernel has it"
                                                                  : "the kernel does not offer it";
}

}  // namespace

Result<std::unique_ptr<TlsServer>> start_tls_server(
    std::shared_ptr<const ServerCredentials> credentials, int socket) {
    auto server = std::make_unique<GnutlsServer>(std::move(credentials), socket);
    if (auto started = server->start(); !started) {
        return std::unexpected(std::move(started.error()));
    }
    return server;
}

// Our records pass through buffers of our own, which is what lets one system call receive many, and
// GnuTLS hands a session's keys to the kernel only where it owns the socket. So it is off; a kernel
// with it is worth telling, because that is where to look for the CPU that TLS costs.
std::string kernel_tls_report() {
    return fmt::format("kernel TLS is not used ({}; GnuTLS {})", kernel_support(),
                       gnutls_check_version(nullptr));
}

}  // namespace signpost
