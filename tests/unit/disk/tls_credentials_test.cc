// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "nbd-server/disk/tls.h"
#include "tests/unit/disk/tls_fixture.h"
#include "tests/unit/requires.h"

namespace signpost::test {
namespace {

class TlsFiles : public testing::Test {
   protected:
    void expect_refusal(const TlsSettings& settings, Errc code, const std::string& part) {
        const auto credentials = load_tls_credentials(settings);
        ASSERT_FALSE(credentials);
        EXPECT_EQ(credentials.error().code, code) << credentials.error().message;
        EXPECT_NE(credentials.error().message.find(part), std::string::npos)
            << credentials.error().message;
    }

    TempDirectory directory_;
};

TEST_F(TlsFiles, MissingDirectoryIsNamed) {
    expect_refusal(with_certificates(directory_.path("nowhere")), Errc::not_found,
                   "nowhere/ca-cert.pem");
}

TEST_F(TlsFiles, GarbageForAnAuthorityIsNamed) {
    write_file(directory_.path("ca-cert.pem"), "no certificate\n");
    expect_refusal(with_certificates(directory_.path()), Errc::invalid, "ca-cert.pem");
}

TEST_F(TlsFiles, FifoForAnAuthorityDoesNotHang) {
    ASSERT_EQ(::mkfifo(directory_.path("ca-cert.pem").c_str(), 0600), 0);
    expect_refusal(with_certificates(directory_.path()), Errc::invalid, "not a regular file");
}

TEST_F(TlsFiles, ClientCertificateWithoutKeyIsNamed) {
    SIGNPOST_REQUIRES("certtool");
    Certificates certificates(directory_.path());
    const std::string client = certificates.client();
    write_file(client + "/client-cert.pem", "x");
    expect_refusal(with_certificates(client), Errc::not_found, "client-key.pem");
}

TEST_F(TlsFiles, UserWithoutPskIsNamed) {
    TlsSettings settings = with_psk(psk_file(directory_));
    settings.username = "nobody-here";
    expect_refusal(settings, Errc::not_found, "nobody-here");
}

TEST_F(TlsFiles, UserIsMatchedWhole) {
    TlsSettings settings = with_psk(psk_file(directory_));
    settings.username = "alph";
    expect_refusal(settings, Errc::not_found, "alph");
}

TEST_F(TlsFiles, KeyThatIsNotHexadecimalIsNamed) {
    write_file(directory_.path("keys.psk"), "alpha:not hex\n");
    expect_refusal(with_psk(directory_.path("keys.psk")), Errc::invalid, "alpha");
}

TEST_F(TlsFiles, PskAndCertificatesExcludeEachOther) {
    TlsSettings settings = with_psk(psk_file(directory_));
    settings.certificates = directory_.path();
    expect_refusal(settings, Errc::invalid, "not both");
}

TEST_F(TlsFiles, NoSessionStartsWhenTlsIsOff) {
    const auto credentials = load_tls_credentials({});
    ASSERT_TRUE(credentials);
    EXPECT_FALSE(start_tls_client(**credentials, 0, "beta"));
}

}  // namespace
}  // namespace signpost::test
