// SPDX-License-Identifier: BSD-3-Clause
//
// TlsRecords is what both ends of a TLS session over a non-blocking socket have in common: the
// handshake's steps, and records sent and received with the manners of readv and writev. TlsClient
// and signpostd's TlsServer add who has to prove what. Private to TLS files.
//
// Lifetime: the socket and what was set on session() outlive it. Threads: one at a time.

#pragma once

#include <gnutls/gnutls.h>
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nbd-server/disk/tls.h"
#include "nbd-server/disk/tls_credentials.h"

namespace signpost {

struct SessionFree {
    void operator()(gnutls_session_t s) const { gnutls_deinit(s); }
};

class TlsRecords {
   public:
    using Step = TlsClient::Step;
    enum class Role { client, server };

    // HANDSHAKE: how messages name it, "tls handshake with beta".
    TlsRecords(Role role, int socket, std::string handshake)
        : role_(role), socket_(socket), handshake_(std::move(handshake)) {}
    TlsRecords(const TlsRecords&) = delete;
    TlsRecords& operator=(const TlsRecords&) = delete;

    // Makes the session. GnuTLS's error, or 0.
    int start(gnutls_priority_t priorities);
    gnutls_session_t session() const { return session_.get(); }

    // done: GnuTLS is content; the caller has its own checks, and may refuse().
    Step handshake();
    Step refuse(std::string why);

    ssize_t receive(std::span<const iovec> parts);
    ssize_t send(std::span<const iovec> parts);
    void send_end();
    bool has_buffered() const {
        return ahead_begin_ != ahead_end_ || gnutls_record_check_pending(session_.get()) > 0;
    }
    void release_buffers();

    const std::string& reason() const { return reason_; }

   private:
    std::string refused_certificate() const;
    std::string failure_text(int error) const;
    ssize_t fail_transfer(int error);
    ssize_t receive_part(std::byte* to, std::size_t length);
    std::span<const std::byte> gather(std::span<const iovec> parts, std::size_t skip);
    ssize_t push_to_socket(const iovec* parts, std::size_t count);
    void keep_unsent(std::span<const iovec> parts, std::size_t sent);
    bool flush_unsent();

    static ssize_t push(gnutls_transport_ptr_t self, const giovec_t* parts, int count);
    static ssize_t pull(gnutls_transport_ptr_t self, void* to, std::size_t length);

    const Role role_;
    const int socket_;
    const std::string handshake_;
    std::string reason_;
    int socket_error_ = 0;  // the errno of the last failed push or pull

    bool established_ = false;       // unsent_ is for records of data only; the handshake waits
    bool holds_byte_ = false;        // the caller has yet to hear that the last byte is accepted
    std::vector<std::byte> unsent_;  // encrypted, from unsent_begin_ on
    std::size_t unsent_begin_ = 0;
    std::vector<std::byte> gathered_;

    std::unique_ptr<std::byte[]> ahead_;  // received, not yet given to GnuTLS
    std::size_t ahead_begin_ = 0;
    std::size_t ahead_end_ = 0;

    // Last, so that it goes first.
    GnutlsPtr<gnutls_session_t, SessionFree> session_;
};

}  // namespace signpost
