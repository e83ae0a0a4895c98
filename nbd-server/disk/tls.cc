// SPDX-License-Identifier: BSD-3-Clause
//
// One TLS session over a non-blocking socket, with the manners of readv and writev.
//
// Sending. GnuTLS turns each call into a record, so a header and its payload are gathered into one
// record of up to 16 KiB; what lies in large parts goes without a copy. When the socket is full,
// the rest of an encrypted record stays here, for it cannot be taken back, while the caller must
// come back although it may have nothing left to send. So of such a record all bytes but the last
// are reported as accepted: the last is held until the record is gone. A caller that treats the
// result as that of writev then does the right thing, since it never changes its mind inside a
// message.
//
// Receiving. GnuTLS asks the socket for 5 bytes of header, then for the record; a read-ahead buffer
// makes that one system call for many records. has_buffered() counts it in.

#include "nbd-server/disk/tls.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "nbd-server/disk/tls_credentials.h"

namespace signpost {
namespace {

constexpr std::size_t kRecord = 16 * 1024;
constexpr std::size_t kReadAhead = 64 * 1024;

struct SessionFree {
    void operator()(gnutls_session_t s) const { gnutls_deinit(s); }
};

class GnutlsClient final : public TlsClient {
   public:
    GnutlsClient(int socket, const std::string& host) : socket_(socket), host_(host) {}

    Result<void> start(const TlsCredentials& credentials);

    Step handshake() override;
    ssize_t receive(std::span<const iovec> parts) override;
    ssize_t send(std::span<const iovec> parts) override;
    bool has_buffered() const override {
        return ahead_begin_ != ahead_end_ || gnutls_record_check_pending(session_.get()) > 0;
    }
    const std::string& reason() const override { return reason_; }

   private:
    int set_peer_checks();
    std::string handshake_failure(int error) const;
    Step fail_handshake(std::string why);
    ssize_t fail_transfer(int error);
    ssize_t receive_part(std::byte* to, std::size_t length);
    std::span<const std::byte> gather(std::span<const iovec> parts, std::size_t skip);
    ssize_t push_to_socket(const iovec* parts, std::size_t count);
    void keep_unsent(std::span<const iovec> parts, std::size_t sent);
    bool flush_unsent();

    static ssize_t push(gnutls_transport_ptr_t self, const giovec_t* parts, int count);
    static ssize_t pull(gnutls_transport_ptr_t self, void* to, std::size_t length);

    int socket_;
    std::string host_;
    std::string reason_;
    bool certificate_ = false;  // else PSK
    int socket_error_ = 0;      // the errno of the last failed push or pull

    // GnuTLS keeps pointers into these for the life of the session.
    std::array<unsigned char, 16> address_{};
    std::string dns_name_;
    std::array<gnutls_typed_vdata_st, 2> checks_{};

    bool established_ = false;       // unsent_ is for records of data only; the handshake waits
    bool holds_byte_ = false;        // the caller has yet to hear that the last byte is accepted
    std::vector<std::byte> unsent_;  // encrypted, from unsent_begin_ on
    std::size_t unsent_begin_ = 0;
    std::vector<std::byte> gathered_;

    std::vector<std::byte> ahead_;  // received, not yet given to GnuTLS
    std::size_t ahead_begin_ = 0;
    std::size_t ahead_end_ = 0;

    // Last, so that it goes first.
    GnutlsPtr<gnutls_session_t, SessionFree> session_;
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
        error = gnutls_server_name_set(session_.get(), GNUTLS_NAME_DNS, dns_name_.data(),
                                       dns_name_.size());
    }
    gnutls_session_set_verify_cert2(session_.get(), checks_.data(), static_cast<unsigned>(count),
                                    0);
    return error;
}

Result<void> GnutlsClient::start(const TlsCredentials& credentials) {
    if (!credentials.priorities) {
        return fail(Errc::invalid, "tls: off here, but a session was asked for");
    }
    gnutls_session_t raw = nullptr;
    int error = gnutls_init(&raw, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS);
    if (error < 0) {
        return fail(Errc::unavailable, fmt::format("tls: {}", gnutls_strerror(error)));
    }
    session_.reset(raw);
    certificate_ = credentials.certificate != nullptr;
    error = gnutls_priority_set(raw, credentials.priorities.get());
    if (error >= 0) {
        error = certificate_ ? gnutls_credentials_set(raw, GNUTLS_CRD_CERTIFICATE,
                                                      credentials.certificate.get())
                             : gnutls_credentials_set(raw, GNUTLS_CRD_PSK, credentials.psk.get());
    }
    if (error >= 0 && certificate_) {
        error = set_peer_checks();
    }
    if (error < 0) {
        return fail(Errc::invalid, fmt::format("tls to \"{}\": {}", host_, gnutls_strerror(error)));
    }
    gnutls_transport_set_ptr(raw, this);
    gnutls_transport_set_vec_push_function(raw, push);
    gnutls_transport_set_pull_function(raw, pull);
    ahead_.resize(kReadAhead);
    return {};
}

// sendmsg rather than GnuTLS's own writev: a peer that went away must not raise SIGPIPE.
ssize_t GnutlsClient::push_to_socket(const iovec* parts, std::size_t count) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts);
    message.msg_iovlen = count;
    const ssize_t n = ::sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        socket_error_ = errno;
    }
    return n;
}

void GnutlsClient::keep_unsent(std::span<const iovec> parts, std::size_t sent) {
    for (const iovec& part : parts) {
        const std::size_t skip = std::min(sent, part.iov_len);
        const auto* begin = static_cast<const std::byte*>(part.iov_base);
        unsent_.insert(unsent_.end(), begin + skip, begin + part.iov_len);
        sent -= skip;
    }
}

// Once established, takes everything: at most a record, since send() flushes before it makes
// another, and now and then the answer to a key update.
ssize_t GnutlsClient::push(gnutls_transport_ptr_t self, const giovec_t* parts, int count) {
    auto& client = *static_cast<GnutlsClient*>(self);
    const std::span<const iovec> all(parts, static_cast<std::size_t>(count));
    ssize_t n = 0;
    if (client.unsent_.empty()) {
        n = client.push_to_socket(parts, all.size());
        const bool full =
            n < 0 && (client.socket_error_ == EAGAIN || client.socket_error_ == EINTR);
        if (n < 0 && !(full && client.established_)) {
            gnutls_transport_set_errno(client.session_.get(), client.socket_error_);
            return -1;
        }
    }
    if (!client.established_) {
        return n;
    }
    client.keep_unsent(all, n > 0 ? static_cast<std::size_t>(n) : 0);
    std::size_t total = 0;
    for (const iovec& part : all) {
        total += part.iov_len;
    }
    return static_cast<ssize_t>(total);
}

// True when nothing encrypted is left here; else errno says why.
bool GnutlsClient::flush_unsent() {
    while (unsent_begin_ < unsent_.size()) {
        const iovec rest{unsent_.data() + unsent_begin_, unsent_.size() - unsent_begin_};
        const ssize_t n = push_to_socket(&rest, 1);
        if (n < 0) {
            fail_transfer(socket_error_ == EAGAIN || socket_error_ == EINTR ? GNUTLS_E_AGAIN
                                                                            : GNUTLS_E_PUSH_ERROR);
            return false;
        }
        unsent_begin_ += static_cast<std::size_t>(n);
    }
    unsent_.clear();
    unsent_begin_ = 0;
    return true;
}

ssize_t GnutlsClient::pull(gnutls_transport_ptr_t self, void* to, std::size_t length) {
    auto& client = *static_cast<GnutlsClient*>(self);
    if (client.ahead_begin_ == client.ahead_end_) {
        const ssize_t n =
            ::recv(client.socket_, client.ahead_.data(), client.ahead_.size(), MSG_DONTWAIT);
        if (n < 0) {
            client.socket_error_ = errno;
            gnutls_transport_set_errno(client.session_.get(), errno);
        }
        if (n <= 0) {
            return n;
        }
        client.ahead_begin_ = 0;
        client.ahead_end_ = static_cast<std::size_t>(n);
    }
    const std::size_t n = std::min(length, client.ahead_end_ - client.ahead_begin_);
    std::memcpy(to, client.ahead_.data() + client.ahead_begin_, n);
    client.ahead_begin_ += n;
    return static_cast<ssize_t>(n);
}

std::string GnutlsClient::handshake_failure(int error) const {
    if (error == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
        gnutls_datum_t text{};
        const unsigned status = gnutls_session_get_verify_cert_status(session_.get());
        std::string why = "the server's certificate was refused";
        if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) >= 0) {
            why += ": ";
            why += reinterpret_cast<const char*>(text.data);
            gnutls_free(text.data);
        }
        while (why.ends_with(' ')) {
            why.pop_back();
        }
        return why;
    }
    if (error == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        const char* alert = gnutls_alert_get_name(gnutls_alert_get(session_.get()));
        return fmt::format("the server refused: {}", alert ? alert : "unknown alert");
    }
    if ((error == GNUTLS_E_PUSH_ERROR || error == GNUTLS_E_PULL_ERROR) && socket_error_ != 0) {
        return std::strerror(socket_error_);
    }
    if (error == GNUTLS_E_PREMATURE_TERMINATION) {
        return "the server closed the connection";
    }
    return gnutls_strerror(error);
}

TlsClient::Step GnutlsClient::fail_handshake(std::string why) {
    reason_ = host_.empty() ? fmt::format("tls handshake: {}", why)
                            : fmt::format("tls handshake with \"{}\": {}", host_, why);
    return Step::failed;
}

TlsClient::Step GnutlsClient::handshake() {
    if (!reason_.empty()) {
        return Step::failed;
    }
    for (;;) {
        const int error = gnutls_handshake(session_.get());
        if (error == GNUTLS_E_AGAIN) {
            return gnutls_record_get_direction(session_.get()) == 0 ? Step::want_read
                                                                    : Step::want_write;
        }
        if (error < 0 && gnutls_error_is_fatal(error) != 0) {
            std::string why = handshake_failure(error);
            gnutls_alert_send_appropriate(session_.get(), error);  // for the other operator's log
            return fail_handshake(std::move(why));
        }
        if (error == 0) {
            break;
        }
    }
    // Both follow from the priorities and credentials already; said again so that no later change
    // of those lets a session through that proves nothing.
    const auto wanted = certificate_ ? GNUTLS_CRD_CERTIFICATE : GNUTLS_CRD_PSK;
    if (gnutls_auth_get_type(session_.get()) != wanted) {
        return fail_handshake("the server did not prove who it is");
    }
    const gnutls_protocol_t version = gnutls_protocol_get_version(session_.get());
    if (version != GNUTLS_TLS1_2 && version != GNUTLS_TLS1_3) {
        return fail_handshake("the server has no TLS 1.2 or newer");
    }
    established_ = true;
    return Step::done;
}

// What a failed transfer looks like to a caller of readv or writev.
ssize_t GnutlsClient::fail_transfer(int error) {
    if (error == GNUTLS_E_AGAIN || error == GNUTLS_E_INTERRUPTED) {
        errno = EAGAIN;
        return -1;
    }
    if (reason_.empty()) {
        reason_ = fmt::format("tls: {}", handshake_failure(error));
    }
    const bool of_socket = error == GNUTLS_E_PUSH_ERROR || error == GNUTLS_E_PULL_ERROR;
    if (of_socket && socket_error_ != 0) {
        errno = socket_error_;
    } else {
        errno = error == GNUTLS_E_PREMATURE_TERMINATION ? ECONNRESET : EPROTO;
    }
    return -1;
}

// Like gnutls_record_recv, past what is neither data nor an error. A server may not renegotiate.
ssize_t GnutlsClient::receive_part(std::byte* to, std::size_t length) {
    for (;;) {
        const ssize_t n = gnutls_record_recv(session_.get(), to, length);
        if (n >= 0 || n == GNUTLS_E_AGAIN || n == GNUTLS_E_REHANDSHAKE ||
            gnutls_error_is_fatal(static_cast<int>(n)) != 0) {
            return n;
        }
    }
}

ssize_t GnutlsClient::receive(std::span<const iovec> parts) {
    std::size_t total = 0;
    for (const iovec& part : parts) {
        std::size_t have = 0;
        while (have < part.iov_len) {
            const ssize_t n =
                receive_part(static_cast<std::byte*>(part.iov_base) + have, part.iov_len - have);
            if (n > 0) {
                have += static_cast<std::size_t>(n);
                continue;
            }
            // What came before counts; an end or an error shows again at the next call.
            total += have;
            if (total > 0 || n == 0) {
                return static_cast<ssize_t>(total);
            }
            return fail_transfer(static_cast<int>(n));
        }
        total += have;
    }
    return static_cast<ssize_t>(total);
}

// The next record's worth of PARTS behind SKIP bytes: in place when one part holds that much, or
// holds all there is, else copied together.
std::span<const std::byte> GnutlsClient::gather(std::span<const iovec> parts, std::size_t skip) {
    gathered_.clear();
    while (!parts.empty() && skip >= parts.front().iov_len) {
        skip -= parts.front().iov_len;
        parts = parts.subspan(1);
    }
    for (std::size_t i = 0; i < parts.size() && gathered_.size() < kRecord; ++i) {
        const auto* begin = static_cast<const std::byte*>(parts[i].iov_base) + skip;
        const std::size_t length = std::min(parts[i].iov_len - skip, kRecord - gathered_.size());
        skip = 0;
        if (gathered_.empty() && (length == kRecord || i + 1 == parts.size())) {
            return {begin, length};
        }
        gathered_.insert(gathered_.end(), begin, begin + length);
    }
    return gathered_;
}

ssize_t GnutlsClient::send(std::span<const iovec> parts) {
    std::size_t offered = 0;
    for (const iovec& part : parts) {
        offered += part.iov_len;
    }
    std::size_t accepted = 0;
    while (accepted < offered) {
        if (!flush_unsent()) {
            break;
        }
        accepted += std::exchange(holds_byte_, false) ? 1 : 0;
        const std::span<const std::byte> record = gather(parts, accepted);
        if (record.empty()) {
            break;
        }
        const ssize_t n = gnutls_record_send(session_.get(), record.data(), record.size());
        if (n < 0) {
            fail_transfer(static_cast<int>(n));
            break;
        }
        holds_byte_ = !unsent_.empty();
        accepted += static_cast<std::size_t>(n) - (holds_byte_ ? 1 : 0);
    }
    return accepted > 0 || offered == 0 ? static_cast<ssize_t>(accepted) : -1;
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
