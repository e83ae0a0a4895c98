// SPDX-License-Identifier: BSD-3-Clause
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>

#include "tests/unit/requires.h"
#include "tests/unit/server/tls_server_fixture.h"

namespace signpost::test {
namespace {

class DoorCertificate : public TlsDoor {
   protected:
    void SetUp() override { SIGNPOST_REQUIRES("certtool"); }

    // A client with a certificate of these lines against the good server.
    Step connect_with(const std::string& lines, const std::string& authority = "ca") {
        serve(with_directory(good_server()));
        const std::string client = certificates_.client();
        certificates_.add_client_certificate(client, lines, authority);
        return HasFatalFailure() ? Step::failed : connect(with_certificates(client));
    }
};

TEST_F(DoorCertificate, TellsWhoTheClientIs) {
    const auto step = connect_with(
        "cn = \"backup1\"\norganization = \"Big Co\"\ntls_www_client\n"
        "dns_name = \"Backup1.Example\"\nuri = \"urn:host:backup1\"\nip_address = \"10.1.2.3\"\n" +
        Certificates::valid_now());
    ASSERT_EQ(step, Step::done) << server_->reason();
    EXPECT_EQ(server_->peer().dn, "CN=backup1,O=Big Co");
    EXPECT_EQ(
        server_->peer().sans,
        (std::vector<std::string>{"dns:backup1.example", "uri:urn:host:backup1", "ip:10.1.2.3"}));
    EXPECT_EQ(server_->peer().psk, "");
    EXPECT_TRUE(server_->version().starts_with("TLS1.3 ")) << server_->version();
    expect_talk();
}

TEST_F(DoorCertificate, OfACommaInANameMakesNoSecondName) {
    const auto step =
        connect_with("cn = \"web1,O=Big Co\"\ntls_www_client\n" + Certificates::valid_now());
    ASSERT_EQ(step, Step::done) << server_->reason();
    EXPECT_EQ(server_->peer().dn, "CN=web1\\2CO=Big Co");
}

TEST_F(DoorCertificate, WithoutOneNobodyGetsIn) {
    serve(with_directory(good_server()));
    EXPECT_EQ(connect(with_certificates(certificates_.client())), Step::failed);
    EXPECT_NE(server_->reason().find("showed no certificate"), std::string::npos)
        << server_->reason();
}

// A well-behaved client keeps a certificate to itself that the server cannot know.
TEST_F(DoorCertificate, OfAnotherAuthorityIsRefused) {
    EXPECT_EQ(connect_with(Certificates::good_client(), "other"), Step::failed);
    EXPECT_NE(server_->reason().find("showed no certificate"), std::string::npos)
        << server_->reason();
    serve(with_directory(directory_.path("server")));
    gnutls_session_t session = nullptr;
    gnutls_certificate_credentials_t credentials = nullptr;
    gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_FORCE_CLIENT_CERT);
    gnutls_certificate_allocate_credentials(&credentials);
    ASSERT_EQ(gnutls_certificate_set_x509_key_file(
                  credentials, directory_.path("client-of-ca/client-cert.pem").c_str(),
                  directory_.path("client-of-ca/client-key.pem").c_str(), GNUTLS_X509_FMT_PEM),
              0);
    gnutls_set_default_priority(session);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_transport_set_int(session, far_.get());
    Step step = Step::want_read;
    for (int turn = 0; turn < 10 && step != Step::failed && step != Step::done; ++turn) {
        gnutls_handshake(session);
        step = server_->handshake();
    }
    EXPECT_EQ(step, Step::failed);
    EXPECT_NE(server_->reason().find("client's certificate was refused"), std::string::npos)
        << server_->reason();
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
}

TEST_F(DoorCertificate, ThatHasExpiredIsRefused) {
    const auto step = connect_with(
        "cn = \"alpha\"\ntls_www_client\nactivation_date = \"2020-01-01 00:00:00\"\n"
        "expiration_date = \"2021-01-01 00:00:00\"\n");
    EXPECT_EQ(step, Step::failed);
    EXPECT_NE(server_->reason().find("expired"), std::string::npos) << server_->reason();
}

TEST_F(DoorCertificate, OfAServerIsNoClients) {
    EXPECT_EQ(connect_with("cn = \"alpha\"\ntls_www_server\n" + Certificates::valid_now()),
              Step::failed);
    EXPECT_NE(server_->reason().find("refused"), std::string::npos) << server_->reason();
}

// As older instructions for QEMU and libvirt make them.
TEST_F(DoorCertificate, WithoutAPurposeIsGood) {
    EXPECT_EQ(connect_with("cn = \"alpha\"\n" + Certificates::valid_now()), Step::done)
        << server_->reason();
    EXPECT_EQ(server_->peer().dn, "CN=alpha");
}

TEST_F(DoorCertificate, ThatWasRevokedIsRefused) {
    const std::string server = good_server();
    const std::string client = certificates_.client();
    certificates_.add_client_certificate(client);
    write_file(directory_.path("crl.template"), "crl_next_update = 9999\ncrl_number = 1\n");
    ASSERT_TRUE(run_program(
        {"certtool", "--generate-crl", "--load-ca-certificate", directory_.path("ca-cert.pem"),
         "--load-ca-privkey", directory_.path("ca-key.pem"), "--load-certificate",
         client + "/client-cert.pem", "--template", directory_.path("crl.template"), "--outfile",
         server + "/ca-crl.pem"}));
    serve(with_directory(server));
    EXPECT_EQ(connect(with_certificates(client)), Step::failed);
    EXPECT_NE(server_->reason().find("revoked"), std::string::npos) << server_->reason();
}

TEST_F(DoorCertificate, ThatIsNotCheckedIsNoIdentity) {
    const std::string server = good_server();
    const std::string client = certificates_.client();
    certificates_.add_client_certificate(client);
    ServerTlsSettings settings = with_directory(server);
    settings.verify_peer = false;
    serve(settings);
    ASSERT_EQ(connect(with_certificates(client)), Step::done) << server_->reason();
    EXPECT_EQ(server_->peer().dn, "");
    EXPECT_TRUE(server_->peer().sans.empty());
    expect_talk();
}

TEST_F(DoorCertificate, WithAControlCharacterInItsNameIsRefused) {
    EXPECT_EQ(connect_with("cn = \"al\tpha\"\ntls_www_client\n" + Certificates::valid_now()),
              Step::failed);
    EXPECT_NE(server_->reason().find("plain"), std::string::npos) << server_->reason();
}

TEST_F(DoorCertificate, ReloadLeavesSessionsAlone) {
    ASSERT_EQ(connect_with(Certificates::good_client()), Step::done);
    std::filesystem::remove(directory_.path("server/server-cert.pem"));
    auto reloaded = load_server_credentials(with_directory(directory_.path("server")));
    EXPECT_FALSE(reloaded);
    expect_talk();
}

class DoorKey : public TlsDoor {
   protected:
    Step connect_with(const std::string& line) {
        serve(with_keys(psk_file(directory_)));
        write_file(directory_.path("client.psk"), line + "\n");
        TlsSettings settings = with_psk(directory_.path("client.psk"));
        settings.username = line.substr(0, line.find(':'));
        return HasFatalFailure() ? Step::failed : connect(settings);
    }
};

TEST_F(DoorKey, TellsWhoTheClientIs) {
    ASSERT_EQ(connect_with(std::string(kPskUser) + ":" + kPskKey), Step::done) << server_->reason();
    EXPECT_EQ(server_->peer().psk, kPskUser);
    EXPECT_EQ(server_->peer().dn, "");
    expect_talk();
}

TEST_F(DoorKey, WrongKeyAndUnknownUserFailAlike) {
    ASSERT_EQ(connect_with(std::string(kPskUser) + ":ffffffff"), Step::failed);
    const std::string wrong_key = server_->reason();
    const std::string client_saw = client_->reason();
    ASSERT_EQ(connect_with("nobody:ffffffff"), Step::failed);
    EXPECT_EQ(server_->reason(), wrong_key);
    EXPECT_EQ(client_->reason(), client_saw);
}

TEST_F(DoorKey, ClientWithACertificateInsteadIsRefused) {
    SIGNPOST_REQUIRES("certtool");
    const std::string client = certificates_.client();
    certificates_.add_client_certificate(client);
    serve(with_keys(psk_file(directory_)));
    EXPECT_EQ(connect(with_certificates(client)), Step::failed);
}

class DoorFiles : public TlsDoor {
   protected:
    void expect_refusal(const ServerTlsSettings& settings, Errc code, const std::string& part) {
        const auto loaded = load_server_credentials(settings);
        ASSERT_FALSE(loaded);
        EXPECT_EQ(loaded.error().code, code) << loaded.error().message;
        EXPECT_NE(loaded.error().message.find(part), std::string::npos) << loaded.error().message;
    }
};

TEST_F(DoorFiles, OffLoadsNothing) {
    const auto loaded = load_server_credentials({DoorTls::off, "/nowhere", "", true});
    ASSERT_TRUE(loaded);
    EXPECT_EQ(*loaded, nullptr);
}

TEST_F(DoorFiles, MissingAuthorityIsNamed) {
    expect_refusal(with_directory(directory_.path()), Errc::not_found, "ca-cert.pem");
}

TEST_F(DoorFiles, MissingCertificateIsNamed) {
    ServerTlsSettings settings = with_directory(directory_.path());
    settings.verify_peer = false;
    expect_refusal(settings, Errc::not_found, "server-cert.pem");
}

TEST_F(DoorFiles, OneOfDirectoryAndKeysIsNeeded) {
    expect_refusal({DoorTls::on, "", "", true}, Errc::invalid, "give tls-certificates");
    expect_refusal({DoorTls::on, "/a", "/b", true}, Errc::invalid, "not both");
}

TEST_F(DoorFiles, BadKeyLineIsNamedAndNotQuoted) {
    write_file(directory_.path("keys.psk"), "alpha:00\n\nbeta:secret\n");
    expect_refusal(with_keys(directory_.path("keys.psk")), Errc::invalid, "keys.psk:3");
    const auto loaded = load_server_credentials(with_keys(directory_.path("keys.psk")));
    EXPECT_EQ(loaded.error().message.find("secret"), std::string::npos);
}

TEST_F(DoorFiles, UserWithTwoKeysIsRefused) {
    write_file(directory_.path("keys.psk"), "alpha:00\nalpha:11\n");
    expect_refusal(with_keys(directory_.path("keys.psk")), Errc::invalid, "keys.psk:2");
}

TEST_F(DoorFiles, EmptyKeysFileIsRefused) {
    write_file(directory_.path("keys.psk"), "\n");
    expect_refusal(with_keys(directory_.path("keys.psk")), Errc::invalid, "no key");
}

TEST_F(DoorFiles, FifoForKeysDoesNotHang) {
    ASSERT_EQ(::mkfifo(directory_.path("keys.psk").c_str(), 0600), 0);
    expect_refusal(with_keys(directory_.path("keys.psk")), Errc::invalid, "not a regular file");
}

// --- What a well-behaved client does not do: a bare GnuTLS session at the other end.

struct Session {
    explicit Session(int socket, const char* priorities) {
        gnutls_init(&handle, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
        gnutls_psk_allocate_client_credentials(&credentials);
        const gnutls_datum_t hex{reinterpret_cast<unsigned char*>(const_cast<char*>(kPskKey)),
                                 static_cast<unsigned>(std::strlen(kPskKey))};
        gnutls_psk_set_client_credentials(credentials, kPskUser, &hex, GNUTLS_PSK_KEY_HEX);
        gnutls_priority_set_direct(handle, priorities, nullptr);
        gnutls_credentials_set(handle, GNUTLS_CRD_PSK, credentials);
        gnutls_transport_set_int(handle, socket);
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session() {
        gnutls_deinit(handle);
        gnutls_psk_free_client_credentials(credentials);
    }

    gnutls_session_t handle = nullptr;
    gnutls_psk_client_credentials_t credentials = nullptr;
};

constexpr const char* kModern =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK";

class DoorBare : public TlsDoor {
   protected:
    Step connect_bare(const char* priorities = kModern) {
        serve(with_keys(psk_file(directory_)));
        session_.emplace(far_.get(), priorities);
        Step step = Step::want_read;
        int error = GNUTLS_E_AGAIN;
        for (int turn = 0; turn < 100; ++turn) {
            error = error < 0 ? gnutls_handshake(session_->handle) : error;
            step = server_->handshake();
            const bool client_ended = error == 0 || gnutls_error_is_fatal(error) != 0;
            if (step == Step::failed || (step == Step::done && client_ended)) {
                return step;
            }
        }
        return step;
    }

    // What one record of ours holds, at most.
    std::string next_record() {
        std::string record(64 * 1024, '\0');
        const ssize_t n = gnutls_record_recv(session_->handle, record.data(), record.size());
        record.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return record;
    }

    std::optional<Session> session_;
};

TEST_F(DoorBare, HeadAndPayloadLeaveInOneRecord) {
    ASSERT_EQ(connect_bare(), Step::done) << server_->reason();
    std::string head(16, 'h');
    std::string payload(4096, 'p');
    const std::vector<iovec> parts{{head.data(), head.size()}, {payload.data(), payload.size()}};
    ASSERT_EQ(server_->send(parts), 4112);
    EXPECT_EQ(next_record(), head + payload);
}

TEST_F(DoorBare, OldVersionsAreRefused) {
    EXPECT_EQ(connect_bare("NORMAL:-VERS-ALL:+VERS-TLS1.1:-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK"),
              Step::failed);
    EXPECT_EQ(connect_bare("NORMAL:-VERS-ALL:+VERS-TLS1.0:-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK"),
              Step::failed);
}

TEST_F(DoorBare, Tls12IsSpoken) {
    ASSERT_EQ(connect_bare("NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-PSK"), Step::done)
        << server_->reason();
    EXPECT_TRUE(server_->version().starts_with("TLS1.2 ")) << server_->version();
    EXPECT_EQ(server_->peer().psk, kPskUser);
}

TEST_F(DoorBare, NoTicketIsGiven) {
    ASSERT_EQ(connect_bare(), Step::done);
    std::string byte = "x";
    const iovec part{byte.data(), 1};
    ASSERT_EQ(server_->send({&part, 1}), 1);
    EXPECT_EQ(next_record(), "x");
    EXPECT_EQ(gnutls_session_get_flags(session_->handle) & GNUTLS_SFLAGS_SESSION_TICKET, 0U);
}

TEST_F(DoorBare, RenegotiationEndsTheSession) {
    ASSERT_EQ(connect_bare("NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-PSK"), Step::done);
    gnutls_handshake(session_->handle);
    char byte = 0;
    const iovec part{&byte, 1};
    EXPECT_EQ(server_->receive({&part, 1}), -1);
    EXPECT_NE(errno, EAGAIN);
    EXPECT_NE(server_->reason(), "");
}

TEST_F(DoorBare, EndOfOneSideIsSeenByTheOther) {
    ASSERT_EQ(connect_bare(), Step::done);
    server_->finish();
    std::string byte(1, '\0');
    EXPECT_EQ(gnutls_record_recv(session_->handle, byte.data(), 1), 0);
    gnutls_bye(session_->handle, GNUTLS_SHUT_WR);
    const iovec part{byte.data(), 1};
    EXPECT_EQ(server_->receive({&part, 1}), 0);
}

TEST_F(DoorBare, GarbageFailsTheHandshake) {
    serve(with_keys(psk_file(directory_)));
    ASSERT_EQ(::send(far_.get(), "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    EXPECT_EQ(server_->handshake(), Step::failed);
    EXPECT_NE(server_->reason(), "");
    EXPECT_EQ(server_->handshake(), Step::failed);
}

TEST_F(DoorBare, ClientThatLeavesInTheHandshakeFailsIt) {
    serve(with_keys(psk_file(directory_)));
    EXPECT_EQ(server_->handshake(), Step::want_read);
    far_.reset();
    EXPECT_EQ(server_->handshake(), Step::failed);
}

// As much as a socket takes, and then on from there: nothing lost, nothing twice.
TEST_F(DoorBare, AFullSocketLosesNothing) {
    ASSERT_EQ(connect_bare(), Step::done);
    std::string payload(3'000'000, '\0');
    for (std::size_t i = 0; i < payload.size(); ++i) {
        payload[i] = static_cast<char>(i * 7 + i / 4099);
    }
    std::string head(28, 'h');
    std::string whole = head + payload;
    std::string got;
    std::size_t sent = 0;
    while (got.size() < whole.size()) {
        if (sent < whole.size()) {
            const iovec part{whole.data() + sent, whole.size() - sent};
            const ssize_t n = server_->send({&part, 1});
            ASSERT_TRUE(n > 0 || errno == EAGAIN);
            sent += n > 0 ? static_cast<std::size_t>(n) : 0;
        }
        const std::string record = next_record();
        ASSERT_TRUE(!record.empty() || sent < whole.size());
        got += record;
    }
    EXPECT_TRUE(got == whole);
}

TEST_F(DoorBare, ReleasedBuffersKeepWhatWaits) {
    ASSERT_EQ(connect_bare(), Step::done);
    ASSERT_EQ(gnutls_record_send(session_->handle, "abc", 3), 3);
    ASSERT_EQ(gnutls_record_send(session_->handle, "def", 3), 3);
    std::string got(1, '\0');
    const iovec part{got.data(), 1};
    ASSERT_EQ(server_->receive({&part, 1}), 1);
    EXPECT_TRUE(server_->has_buffered());
    server_->release_buffers();
    std::string rest(5, '\0');
    const iovec more{rest.data(), 5};
    ASSERT_EQ(server_->receive({&more, 1}), 5);
    EXPECT_EQ(got + rest, "abcdef");
    server_->release_buffers();
    ASSERT_EQ(gnutls_record_send(session_->handle, "g", 1), 1);
    ASSERT_EQ(server_->receive({&part, 1}), 1);
    EXPECT_EQ(got, "g");
}

TEST(KernelTls, IsReportedInOneLine) {
    const std::string report = kernel_tls_report();
    EXPECT_NE(report.find("kernel"), std::string::npos);
    EXPECT_EQ(report.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace signpost::test
