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

#include "nbd-server/disk/tls_records.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace signpost {
namespace {

constexpr std::size_t kRecord = 16 * 1024;
constexpr std::size_t kReadAhead = 64 * 1024;

}  // namespace

int TlsRecords::start(gnutls_priority_t priorities) {
    const unsigned role = role_ == Role::client ? GNUTLS_CLIENT : GNUTLS_SERVER;
    gnutls_session_t raw = nullptr;
    if (const int error = gnutls_init(&raw, role | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS);
        error < 0) {
        return error;
    }
    session_.reset(raw);
    gnutls_transport_set_ptr(raw, this);
    gnutls_transport_set_vec_push_function(raw, push);
    gnutls_transport_set_pull_function(raw, pull);
    return gnutls_priority_set(raw, priorities);
}

// Between two requests of a client that takes its time.
void TlsRecords::release_buffers() {
    if (ahead_begin_ == ahead_end_) {
        ahead_.reset();
        ahead_begin_ = ahead_end_ = 0;
    }
    if (unsent_.empty()) {
        unsent_.shrink_to_fit();
    }
    gathered_ = {};
}

// sendmsg rather than GnuTLS's own writev: a peer that went away must not raise SIGPIPE.
ssize_t TlsRecords::push_to_socket(const iovec* parts, std::size_t count) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts);
    message.msg_iovlen = count;
    const ssize_t n = ::sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        socket_error_ = errno;
    }
    return n;
}

void TlsRecords::keep_unsent(std::span<const iovec> parts, std::size_t sent) {
    for (const iovec& part : parts) {
        const std::size_t skip = std::min(sent, part.iov_len);
        const auto* begin = static_cast<const std::byte*>(part.iov_base);
        unsent_.insert(unsent_.end(), begin + skip, begin + part.iov_len);
        sent -= skip;
    }
}

// Once established, takes everything: at most a record, since send() flushes before it makes
// another, and now and then the answer to a key update.
ssize_t TlsRecords::push(gnutls_transport_ptr_t self, const giovec_t* parts, int count) {
    auto& records = *static_cast<TlsRecords*>(self);
    const std::span<const iovec> all(parts, static_cast<std::size_t>(count));
    ssize_t n = 0;
    if (records.unsent_.empty()) {
        n = records.push_to_socket(parts, all.size());
        const bool full =
            n < 0 && (records.socket_error_ == EAGAIN || records.socket_error_ == EINTR);
        if (n < 0 && !(full && records.established_)) {
            gnutls_transport_set_errno(records.session_.get(), records.socket_error_);
            return -1;
        }
    }
    if (!records.established_) {
        return n;
    }
    records.keep_unsent(all, n > 0 ? static_cast<std::size_t>(n) : 0);
    std::size_t total = 0;
    for (const iovec& part : all) {
        total += part.iov_len;
    }
    return static_cast<ssize_t>(total);
}

// True when nothing encrypted is left here; else errno says why.
bool TlsRecords::flush_unsent() {
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

ssize_t TlsRecords::pull(gnutls_transport_ptr_t self, void* to, std::size_t length) {
    auto& records = *static_cast<TlsRecords*>(self);
    if (records.ahead_begin_ == records.ahead_end_) {
        if (!records.ahead_) {
            records.ahead_ = std::make_unique_for_overwrite<std::byte[]>(kReadAhead);
        }
        const ssize_t n = ::recv(records.socket_, records.ahead_.get(), kReadAhead, MSG_DONTWAIT);
        if (n < 0) {
            records.socket_error_ = errno;
            gnutls_transport_set_errno(records.session_.get(), errno);
        }
        if (n <= 0) {
            return n;
        }
        records.ahead_begin_ = 0;
        records.ahead_end_ = static_cast<std::size_t>(n);
    }
    const std::size_t n = std::min(length, records.ahead_end_ - records.ahead_begin_);
    std::memcpy(to, records.ahead_.get() + records.ahead_begin_, n);
    records.ahead_begin_ += n;
    return static_cast<ssize_t>(n);
}

std::string TlsRecords::refused_certificate() const {
    gnutls_datum_t text{};
    const unsigned status = gnutls_session_get_verify_cert_status(session_.get());
    std::string why = role_ == Role::client ? "the server's certificate was refused"
                                            : "the client's certificate was refused";
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

std::string TlsRecords::failure_text(int error) const {
    const char* peer = role_ == Role::client ? "server" : "client";
    if (error == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
        return refused_certificate();
    }
    if (error == GNUTLS_E_NO_CERTIFICATE_FOUND || error == GNUTLS_E_CERTIFICATE_REQUIRED) {
        return fmt::format("the {} showed no certificate", peer);
    }
    if (error == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        const char* alert = gnutls_alert_get_name(gnutls_alert_get(session_.get()));
        return fmt::format("the {} refused: {}", peer, alert ? alert : "unknown alert");
    }
    if ((error == GNUTLS_E_PUSH_ERROR || error == GNUTLS_E_PULL_ERROR) && socket_error_ != 0) {
        return std::strerror(socket_error_);
    }
    if (error == GNUTLS_E_PREMATURE_TERMINATION) {
        return fmt::format("the {} closed the connection", peer);
    }
    return gnutls_strerror(error);
}

TlsRecords::Step TlsRecords::refuse(std::string why) {
    reason_ = fmt::format("{}: {}", handshake_, why);
    return Step::failed;
}

TlsRecords::Step TlsRecords::handshake() {
    if (!reason_.empty()) {
        return Step::failed;
    }
    if (established_) {
        return Step::done;
    }
    for (;;) {
        const int error = gnutls_handshake(session_.get());
        if (error == GNUTLS_E_AGAIN) {
            return gnutls_record_get_direction(session_.get()) == 0 ? Step::want_read
                                                                    : Step::want_write;
        }
        if (error < 0 && gnutls_error_is_fatal(error) != 0) {
            std::string why = failure_text(error);
            gnutls_alert_send_appropriate(session_.get(), error);  // for the other operator's log
            return refuse(std::move(why));
        }
        if (error == 0) {
            break;
        }
    }
    // It follows from the priorities; said again so that no later change of those lets it through.
    const gnutls_protocol_t version = gnutls_protocol_get_version(session_.get());
    if (version != GNUTLS_TLS1_2 && version != GNUTLS_TLS1_3) {
        return refuse(fmt::format("the {} has no TLS 1.2 or newer",
                                  role_ == Role::client ? "server" : "client"));
    }
    established_ = true;
    return Step::done;
}

// What a failed transfer looks like to a caller of readv or writev.
ssize_t TlsRecords::fail_transfer(int error) {
    if (error == GNUTLS_E_AGAIN || error == GNUTLS_E_INTERRUPTED) {
        errno = EAGAIN;
        return -1;
    }
    if (reason_.empty()) {
        reason_ = fmt::format("tls: {}", failure_text(error));
    }
    const bool of_socket = error == GNUTLS_E_PUSH_ERROR || error == GNUTLS_E_PULL_ERROR;
    if (of_socket && socket_error_ != 0) {
        errno = socket_error_;
    } else {
        errno = error == GNUTLS_E_PREMATURE_TERMINATION ? ECONNRESET : EPROTO;
    }
    return -1;
}

// Like gnutls_record_recv, past what is neither data nor an error. Nobody may renegotiate.
ssize_t TlsRecords::receive_part(std::byte* to, std::size_t length) {
    for (;;) {
        const ssize_t n = gnutls_record_recv(session_.get(), to, length);
        if (n >= 0 || n == GNUTLS_E_AGAIN || n == GNUTLS_E_REHANDSHAKE ||
            gnutls_error_is_fatal(static_cast<int>(n)) != 0) {
            return n;
        }
    }
}

ssize_t TlsRecords::receive(std::span<const iovec> parts) {
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
std::span<const std::byte> TlsRecords::gather(std::span<const iovec> parts, std::size_t skip) {
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

ssize_t TlsRecords::send(std::span<const iovec> parts) {
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

// Behind what is unsent, as far as the socket takes it; nobody comes back for the rest.
void TlsRecords::send_end() {
    if (established_ && reason_.empty()) {
        gnutls_bye(session_.get(), GNUTLS_SHUT_WR);
        flush_unsent();
    }
}

}  // namespace signpost
