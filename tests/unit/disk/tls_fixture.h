// SPDX-License-Identifier: BSD-3-Clause
//
// What tests of TLS share: certificates made by certtool, a PSK file, a driver of TlsClient that
// waits for the socket with a limit, and a GnuTLS server in the test's own process for what nbdkit
// cannot be asked to do.

#pragma once

#include <gnutls/gnutls.h>

#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "nbd-server/disk/tls.h"
#include "nbd-server/disk/unique_fd.h"
#include "tests/unit/disk/programs.h"

namespace signpost::test {

inline constexpr const char* kPskUser = "alpha";
inline constexpr const char* kPskKey =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

// Authorities and certificates under a directory, each made when it is first asked for.
class Certificates {
   public:
    explicit Certificates(std::string directory);

    // A directory as nbdkit takes it, its server certificate made of the lines of TEMPLATE and
    // signed by AUTHORITY; "self": by nobody else.
    std::string server(const std::string& name, const std::string& template_lines,
                       const std::string& authority = "ca");

    // A directory as a client takes it, trusting AUTHORITY.
    std::string client(const std::string& authority = "ca");

    // Adds a client certificate, made of the lines of TEMPLATE and signed by AUTHORITY, to that
    // directory.
    void add_client_certificate(const std::string& directory,
                                const std::string& template_lines = good_client(),
                                const std::string& authority = "ca");

    // A good client's lines.
    static std::string good_client();

    // A good server's lines but for host and purpose.
    static std::string valid_now();

   private:
    void make_authority(const std::string& name);
    std::string key();

    std::string directory_;
};

// Waits for EVENTS as poll() names them, and fails the test when they do not come.
void wait_for(int socket, short events);

// Calls handshake() until it is done or has failed, waiting for the socket.
TlsClient::Step drive_handshake(TlsClient& client, int socket);

// All of it, or false: as a caller of readv and writev would.
bool send_all(TlsClient& client, int socket, std::vector<iovec> parts);
bool receive_all(TlsClient& client, int socket, void* to, std::size_t length);

// Speaks the NBD handshake up to the agreement to begin TLS. False when the server does not agree.
bool nbd_starttls(int socket);

// A GnuTLS server with the PSK above, in a thread, at the other end of a socket pair.
class PskServer {
   public:
    using Talk = std::function<void(gnutls_session_t session)>;

    // TALK runs after the handshake, if that succeeds.
    PskServer(const std::string& priorities, Talk talk);
    ~PskServer();

    int client_socket() const { return client_.get(); }

   private:
    void run(const std::string& priorities, const Talk& talk);

    UniqueFd client_;
    UniqueFd server_;
    std::thread thread_;
};

std::string psk_file(const TempDirectory& directory);

// TLS required, with the user above and the keys in FILE; with what is in DIRECTORY.
TlsSettings with_psk(const std::string& file);
TlsSettings with_certificates(const std::string& directory);

}  // namespace signpost::test
