// SPDX-License-Identifier: BSD-3-Clause
//
// How a TCP connection finds out that the machine at its other end is gone without a word: by
// probes when it is idle, and by a limit for what is sent and not acknowledged. Small messages
// leave at once.
//
// Pure; threads: any.

#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace signpost {

struct TcpPatience {
    int idle_s;             // before the first probe
    int interval_s;         // between probes
    int probes;             // that may stay unanswered
    int unacknowledged_ms;  // of bytes that were sent
};

// What the kernel refuses is left as it is: the connection works without.
inline void tune_tcp(int socket, const TcpPatience& patience) {
    const auto set = [socket](int level, int name, int value) {
        ::setsockopt(socket, level, name, &value, sizeof value);
    };
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, patience.idle_s);
    set(IPPROTO_TCP, TCP_KEEPINTVL, patience.interval_s);
    set(IPPROTO_TCP, TCP_KEEPCNT, patience.probes);
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, patience.unacknowledged_ms);
}

// SOCKET takes more to send only while less than BYTES of it are unsent.
inline void limit_unsent(int socket, int bytes) {
    ::setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

}  // namespace signpost
