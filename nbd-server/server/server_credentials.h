// SPDX-License-Identifier: BSD-3-Clause
//
// What load_server_credentials has loaded, and what a session says of its client. Private to the
// TLS files of this folder.
//
// Immutable after loading; GnuTLS lets many sessions read one. Threads: any.

#pragma once

#include <gnutls/gnutls.h>

#include <map>
#include <string>

#include "nbd-server/disk/tls_credentials.h"
#include "nbd-server/disk/tls_files.h"
#include "nbd-server/server/tls_server.h"

namespace signpost {

struct PskServerCredentialsFree {
    void operator()(gnutls_psk_server_credentials_t c) const {
        gnutls_psk_free_server_credentials(c);
    }
};

class ServerCredentials {
   public:
    // One of the two is set.
    GnutlsPtr<gnutls_certificate_credentials_t, CertificateCredentialsFree> certificate;
    GnutlsPtr<gnutls_psk_server_credentials_t, PskServerCredentialsFree> psk;
    GnutlsPtr<gnutls_priority_t, PrioritiesFree> priorities;
    bool verify_peer = true;
    std::map<std::string, TlsSecret, std::less<>> psk_keys;  // by user
};

// After the handshake. Fails with denied when the client proved nothing, or has a name that cannot
// be shown as it is: a rule that denies it would not find it.
Result<TlsPeer> peer_of_certificate(gnutls_session_t session);
Result<TlsPeer> peer_of_psk(gnutls_session_t session);

}  // namespace signpost
