// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/server/client_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

namespace signpost {

ssize_t ClientStream::receive(std::span<const iovec> parts) {
    if (tls_) {
        return tls_->receive(parts);
    }
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());
    message.msg_iovlen = parts.size();
    for (;;) {
        const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT);
        if (got >= 0 || errno != EINTR) {
            return got;
        }
    }
}

ssize_t ClientStream::send(std::span<const iovec> parts, bool more) {
    if (tls_) {
        return tls_->send(parts);
    }
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());
    message.msg_iovlen = parts.size();
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    for (;;) {
        const ssize_t sent = ::sendmsg(socket_.get(), &message, flags);
        if (sent >= 0 || errno != EINTR) {
            return sent;
        }
    }
}

void ClientStream::push() {
    const int on = 1;  // as before; saying so again is what pushes (tcp(7) calls it a flush)
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void ClientStream::finish() {
    if (tls_) {
        tls_->finish();
    }
    ::shutdown(socket_.get(), SHUT_WR);
}

}  // namespace signpost
