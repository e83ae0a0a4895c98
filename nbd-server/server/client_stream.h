// SPDX-License-Identifier: BSD-3-Clause
//
// ClientStream is the byte stream to a client: a socket, later perhaps with TLS on it.
//
// Lifetime: owns the socket. Threads: one at a time.

#pragma once

#include <sys/uio.h>

#include <memory>
#include <span>

#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/server/tls_server.h"

namespace signpost {

class ClientStream {
   public:
    explicit ClientStream(UniqueFd socket) : socket_(std::move(socket)) {}

    int socket() const { return socket_.get(); }

    // Without TLS the kernel can move bytes into the socket by itself.
    bool is_plain() const { return tls_ == nullptr; }

    TlsServer* tls() const { return tls_.get(); }
    void start_tls(std::unique_ptr<TlsServer> tls) { tls_ = std::move(tls); }

    // Without waiting: bytes moved, 0 at an orderly end (receive), -1 with errno EAGAIN or another.
    ssize_t receive(std::span<const iovec> parts);

    // MORE: something follows at once, so that the kernel may wait for it to fill a packet.
    ssize_t send(std::span<const iovec> parts, bool more);

    // Lets go of what the kernel holds back because something was to follow: nothing does for now.
    void push();

    // Bytes wait inside, so that the socket's readiness does not tell.
    bool has_buffered() const { return tls_ != nullptr && tls_->has_buffered(); }

    // Ends the stream in order: what was sent still arrives.
    void finish();

   private:
    UniqueFd socket_;
    std::unique_ptr<TlsServer> tls_;
};

}  // namespace signpost
