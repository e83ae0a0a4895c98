// SPDX-License-Identifier: BSD-3-Clause
//
// The files of TLS credentials, as both ends load them: PEM files under the names that QEMU,
// libvirt and nbdkit use, PSK files, and the priorities that go with each. Private to TLS files.
//
// Functions that read files, and so may block. Threads: any.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "nbd-server/disk/tls_credentials.h"

namespace signpost {

// The versions are named because GnuTLS's NORMAL still takes 1.1 on some systems.
inline constexpr const char* kCertificatePriorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

// Only exchanges that prove the key: a server must not get away with a certificate instead.
inline constexpr const char* kPskPriorities =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK";

// Key material, wiped when it goes.
class TlsSecret {
   public:
    TlsSecret() = default;
    TlsSecret(const TlsSecret&) = delete;
    TlsSecret& operator=(const TlsSecret&) = delete;
    TlsSecret(TlsSecret&& other) noexcept : bytes_(std::move(other.bytes_)) {
        other.bytes_.clear();
    }
    TlsSecret& operator=(TlsSecret&&) = delete;
    ~TlsSecret() { gnutls_memset(bytes_.data(), 0, bytes_.size()); }

    std::string& bytes() { return bytes_; }
    const std::string& bytes() const { return bytes_; }
    gnutls_datum_t datum() {
        return {reinterpret_cast<unsigned char*>(bytes_.data()),
                static_cast<unsigned>(bytes_.size())};
    }

   private:
    std::string bytes_;
};

std::unexpected<Error> fail_tls_file(const std::string& path, std::string_view why,
                                     Errc code = Errc::invalid);

// Regular files only, so that a FIFO in the directory cannot hold up the start; at most 8 MiB.
Result<TlsSecret> read_tls_file(const std::string& path);

// Absent is fine; anything else that goes wrong is not.
Result<std::optional<TlsSecret>> read_optional_tls_file(const std::string& path);

// Each of these takes what DIRECTORY holds under its usual name. REMEDY: what to do when the
// authority's certificate is missing.
Result<void> load_authorities(gnutls_certificate_credentials_t certificate,
                              const std::string& directory, std::string_view remedy);
Result<void> load_revocations(gnutls_certificate_credentials_t certificate,
                              const std::string& directory);

// ROLE-cert.pem and ROLE-key.pem, "client" or "server". False: there is neither.
Result<bool> load_own_certificate(gnutls_certificate_credentials_t certificate,
                                  const std::string& directory, std::string_view role);

Result<GnutlsPtr<gnutls_priority_t, PrioritiesFree>> make_priorities(const char* text);

}  // namespace signpost
