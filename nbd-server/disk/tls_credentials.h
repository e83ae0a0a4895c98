// SPDX-License-Identifier: BSD-3-Clause
//
// What load_tls_credentials has loaded: GnuTLS credentials, ready to be shared by sessions, and the
// priorities that go with them. Private to the TLS files of this folder.
//
// Immutable after loading; GnuTLS lets many sessions read one. Threads: any.

#pragma once

#include <gnutls/gnutls.h>

#include <memory>
#include <type_traits>

#include "nbd-server/disk/tls.h"

namespace signpost {

struct CertificateCredentialsFree {
    void operator()(gnutls_certificate_credentials_t c) const {
        gnutls_certificate_free_credentials(c);
    }
};
struct PskCredentialsFree {
    void operator()(gnutls_psk_client_credentials_t c) const {
        gnutls_psk_free_client_credentials(c);
    }
};
struct PrioritiesFree {
    void operator()(gnutls_priority_t p) const { gnutls_priority_deinit(p); }
};

template <class Pointer, class Free>
using GnutlsPtr = std::unique_ptr<std::remove_pointer_t<Pointer>, Free>;

class TlsCredentials {
   public:
    // One of the two is set, or none when TLS is off: no session can be started then.
    GnutlsPtr<gnutls_certificate_credentials_t, CertificateCredentialsFree> certificate;
    GnutlsPtr<gnutls_psk_client_credentials_t, PskCredentialsFree> psk;
    GnutlsPtr<gnutls_priority_t, PrioritiesFree> priorities;
};

}  // namespace signpost
