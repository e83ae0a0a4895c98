// SPDX-License-Identifier: BSD-3-Clause
//
// TLS towards peers: credentials, loaded once, and TlsClient, one TLS session over a non-blocking
// socket. File layout as QEMU, libvirt, nbdkit and libnbd have it: a directory with ca-cert.pem
// and, for client certificates, client-cert.pem and client-key.pem; or a PSK file of USER:HEXKEY
// lines. TLS 1.2 at least. X.509: chain, host name and key purpose are all verified, or the link
// fails.
//
// Lifetime: credentials outlive their clients. Threads: credentials any; a client one at a time.

#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "catalog/error.h"
#include "nbd-server/wire/client_handshake.h"

namespace signpost {

struct TlsSettings {
    wire::TlsMode mode = wire::TlsMode::off;
    std::string certificates;  // directory; empty: the system's trust store (unless psk_file)
    std::string psk_file;
    std::string username;  // for PSK; empty: the login name
};

class TlsCredentials;  // opaque; made by load_tls_credentials

// Fails with invalid or not_found; the message names the file and the remedy.
Result<std::shared_ptr<const TlsCredentials>> load_tls_credentials(const TlsSettings& settings);

class TlsClient {
   public:
    virtual ~TlsClient() = default;

    enum class Step { done, want_read, want_write, failed };

    // Drives the handshake; call again when the socket is ready as wanted. failed: see reason().
    virtual Step handshake() = 0;

    // As readv/send on a non-blocking socket: bytes moved, 0 at an orderly end (receive), -1 with
    // errno EAGAIN or another error.
    virtual ssize_t receive(std::span<const iovec> parts) = 0;
    virtual ssize_t send(std::span<const iovec> parts) = 0;

    // Decrypted bytes wait inside: receive before polling.
    virtual bool has_buffered() const = 0;

    virtual const std::string& reason() const = 0;
};

// HOST is checked against an X.509 server's certificate; empty (a Unix socket): the chain only.
Result<std::unique_ptr<TlsClient>> start_tls_client(const TlsCredentials& credentials, int socket,
                                                    const std::string& host);

}  // namespace signpost
