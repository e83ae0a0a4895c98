// SPDX-License-Identifier: BSD-3-Clause
//
// Both ends of a TLS session in one thread, over a socket pair: the server under test, and either
// our own client or a bare GnuTLS one that can be told to misbehave.

#pragma once

#include <gnutls/gnutls.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <memory>
#include <string>

#include "nbd-server/server/tls_server.h"
#include "tests/unit/disk/tls_fixture.h"

namespace signpost::test {

class TlsDoor : public testing::Test {
   protected:
    using Step = TlsServer::Step;

    TlsDoor() : certificates_(directory_.path()) {}

    static ServerTlsSettings with_directory(const std::string& directory);
    static ServerTlsSettings with_keys(const std::string& file);

    // A directory for the server, its certificate good for the host "beta".
    std::string good_server();

    // A session waiting for its client.
    void serve(const ServerTlsSettings& settings);

    // Both handshakes to their ends; the server's last step.
    Step connect(const TlsSettings& settings);

    // Client and server say hello, and both see it.
    void expect_talk();

    TempDirectory directory_;
    Certificates certificates_;
    UniqueFd near_;  // the server's
    UniqueFd far_;
    std::unique_ptr<TlsServer> server_;
    std::shared_ptr<const TlsCredentials> client_credentials_;
    std::unique_ptr<TlsClient> client_;
    Step client_step_ = Step::failed;
};

}  // namespace signpost::test
