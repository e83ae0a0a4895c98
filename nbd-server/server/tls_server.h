// SPDX-License-Identifier: BSD-3-Clause
//
// TLS towards clients: credentials, loaded once per (re)load, and TlsServer, one TLS session over a
// non-blocking socket. File layout as QEMU, libvirt and nbdkit have it: a directory with
// ca-cert.pem, server-cert.pem, server-key.pem and, where there are revocations, ca-crl.pem; or a
// PSK file of USER:HEXKEY lines. TLS 1.2 at least; no session tickets, no renegotiation, no ALPN.
//
// Lifetime: a session keeps its credentials alive, so a reload simply loads new ones and lets go of
// the old. Threads: credentials any; a session one at a time. Nothing here blocks but
// load_server_credentials, which reads files.

#pragma once

#include <sys/uio.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/tls.h"

namespace signpost {

enum class DoorTls {
    off,      // STARTTLS is refused
    on,       // a client may
    require,  // a client that came over TCP must; over a Unix socket it may
};

struct ServerTlsSettings {
    DoorTls mode = DoorTls::off;
    std::string certificates;  // directory
    std::string psk_file;      // exactly one of the two, unless the mode is off
    bool verify_peer = true;   // with certificates: a client has to show one of the authority's
};

class ServerCredentials;  // opaque; made by load_server_credentials

// Null when the mode is off. Fails with invalid, not_found or denied; the message names the file
// and the remedy.
Result<std::shared_ptr<const ServerCredentials>> load_server_credentials(
    const ServerTlsSettings& settings);

// Who the client has proven to be. Without a verified certificate or key: nobody, all empty.
struct TlsPeer {
    std::string dn;                 // RFC 4514, as ClientIdentity::dn
    std::vector<std::string> sans;  // "dns:NAME", "uri:URI", "ip:ADDRESS", "email:ADDRESS"
    std::string psk;                // user of the pre-shared key
};

class TlsServer {
   public:
    using Step = TlsClient::Step;

    TlsServer() = default;
    TlsServer(const TlsServer&) = delete;
    TlsServer& operator=(const TlsServer&) = delete;
    virtual ~TlsServer() = default;

    // Drives the handshake; call again when the socket is ready as wanted. failed: see reason();
    // the alert has been sent as far as the socket took it.
    virtual Step handshake() = 0;

    // As readv and writev on a non-blocking socket: bytes moved, 0 at an orderly end (receive), -1
    // with errno EAGAIN or another error. One call of send makes as few records as can be: a reply
    // head and its payload leave in one, up to 16 KiB. After EAGAIN or a short count, offer the
    // same bytes again, from where it stopped, when the socket can be written.
    virtual ssize_t receive(std::span<const iovec> parts) = 0;
    virtual ssize_t send(std::span<const iovec> parts) = 0;

    // Decrypted or received bytes wait inside: receive before polling.
    virtual bool has_buffered() const = 0;

    // Tells the client that no more comes (close_notify), as far as the socket takes it now.
    virtual void finish() = 0;

    // Gives back what memory a session needs only while it works; for those that have been quiet.
    virtual void release_buffers() = 0;

    virtual const TlsPeer& peer() const = 0;         // after the handshake is done
    virtual const std::string& version() const = 0;  // "TLS1.3 AES-256-GCM"; for the log
    virtual const std::string& reason() const = 0;
};

// SOCKET stays the caller's. CREDENTIALS must not be null.
Result<std::unique_ptr<TlsServer>> start_tls_server(
    std::shared_ptr<const ServerCredentials> credentials, int socket);

// One sentence for the log and --version: what there is of kernel TLS, and whether it is used.
std::string kernel_tls_report();

// When the server's certificate ends, in seconds since 1970; 0: there is none, or it is no
// certificate. Reads the file.
std::int64_t certificate_end(const ServerTlsSettings& settings);

}  // namespace signpost
