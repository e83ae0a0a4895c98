// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/tls.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <optional>
#include <semaphore>

#include "tests/unit/disk/tls_fixture.h"
#include "tests/unit/requires.h"

namespace signpost::test {
namespace {

using Step = TlsClient::Step;

constexpr const char* kPskPriorities = "NORMAL:-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK";

// --- A server of ours at the other end: what GnuTLS does with our calls.

class TlsTransfer : public testing::Test {
   protected:
    void connect(const std::string& server_priorities, PskServer::Talk talk) {
        auto credentials = load_tls_credentials(with_psk(psk_file(directory_)));
        ASSERT_TRUE(credentials) << credentials.error().message;
        credentials_ = *credentials;
        server_.emplace(server_priorities, std::move(talk));
        auto client = start_tls_client(*credentials_, server_->client_socket(), "");
        ASSERT_TRUE(client) << client.error().message;
        client_ = std::move(*client);
    }

    void connect(PskServer::Talk talk) {
        connect(kPskPriorities, std::move(talk));
        ASSERT_EQ(drive_handshake(*client_, server_->client_socket()), Step::done)
            << client_->reason();
    }

    TempDirectory directory_;
    std::shared_ptr<const TlsCredentials> credentials_;
    std::optional<PskServer> server_;
    std::unique_ptr<TlsClient> client_;
};

TEST_F(TlsTransfer, SendsHeaderAndPayloadInOneRecord) {
    std::atomic<ssize_t> first_record{0};
    connect([&](gnutls_session_t session) {
        std::vector<char> buffer(32 * 1024);
        first_record = gnutls_record_recv(session, buffer.data(), buffer.size());
    });
    std::string header(28, 'h');
    std::string payload(4096, 'p');
    EXPECT_TRUE(send_all(*client_, server_->client_socket(),
                         {{header.data(), header.size()}, {payload.data(), payload.size()}}));
    server_.reset();
    EXPECT_EQ(first_record, 28 + 4096);
}

// Messages of 100 bytes. After each partial send the sender keeps its word only for the message
// that it is in, as a relay does that gives up requests that have not left.
TEST_F(TlsTransfer, LosesAndRepeatsNothingWhenTheSenderChangesItsMindBetweenMessages) {
    constexpr std::size_t kMessage = 100;
    std::binary_semaphore may_read{0};
    std::string arrived;
    connect([&](gnutls_session_t session) {
        may_read.acquire();
        std::vector<char> buffer(32 * 1024);
        for (;;) {
            const ssize_t n = gnutls_record_recv(session, buffer.data(), buffer.size());
            if (n <= 0) {
                return;
            }
            arrived.append(buffer.data(), static_cast<std::size_t>(n));
        }
    });
    std::string accepted;
    std::string rest;  // of the message that is under way
    bool reading = false;
    for (int number = 0; accepted.size() < 4 * 1024 * 1024 || !rest.empty();) {
        std::string offer = rest;
        for (int i = 0; i < 700 && accepted.size() < 4 * 1024 * 1024; ++i) {
            offer += fmt::format("{:{}}", number++, kMessage);
        }
        const iovec part{offer.data(), offer.size()};
        const ssize_t n = client_->send({&part, 1});
        if (n < 0) {
            ASSERT_EQ(errno, EAGAIN);
            if (!std::exchange(reading, true)) {
                may_read.release();
            }
            wait_for(server_->client_socket(), POLLOUT);
            continue;
        }
        accepted += offer.substr(0, static_cast<std::size_t>(n));
        const std::size_t partial = accepted.size() % kMessage;
        rest = partial > 0 ? offer.substr(static_cast<std::size_t>(n), kMessage - partial) : "";
    }
    ASSERT_TRUE(reading) << "the socket never filled";
    server_.reset();
    EXPECT_EQ(arrived.size(), accepted.size());
    EXPECT_TRUE(arrived == accepted);
}

TEST_F(TlsTransfer, FillsManyPartsAcrossRecords) {
    std::vector<unsigned char> content(100'000);
    std::iota(content.begin(), content.end(), 0);
    connect([&](gnutls_session_t session) {
        for (std::size_t sent = 0; sent < content.size();) {
            sent += static_cast<std::size_t>(
                gnutls_record_send(session, content.data() + sent,
                                   std::min<std::size_t>(7001, content.size() - sent)));
        }
        gnutls_bye(session, GNUTLS_SHUT_WR);
    });
    std::vector<unsigned char> got(content.size());
    std::size_t have = 0;
    while (have < got.size()) {
        const std::size_t left = got.size() - have;
        const std::size_t half = left / 2;
        const std::vector<iovec> parts{{got.data() + have, half},
                                       {got.data() + have + half, left - half}};
        const ssize_t n = client_->receive(parts);
        if (n < 0) {
            ASSERT_EQ(errno, EAGAIN);
            wait_for(server_->client_socket(), POLLIN);
            continue;
        }
        ASSERT_GT(n, 0);
        have += static_cast<std::size_t>(n);
    }
    EXPECT_EQ(got, content);
}

TEST_F(TlsTransfer, SaysThatDecryptedBytesWait) {
    connect([](gnutls_session_t session) {
        gnutls_record_send(session, "0123456789", 10);
        char wait = 0;
        gnutls_record_recv(session, &wait, 1);
    });
    char byte = 0;
    ASSERT_TRUE(receive_all(*client_, server_->client_socket(), &byte, 1));
    EXPECT_EQ(byte, '0');
    EXPECT_TRUE(client_->has_buffered());
    char rest[9];
    ASSERT_TRUE(receive_all(*client_, server_->client_socket(), rest, sizeof(rest)));
    EXPECT_FALSE(client_->has_buffered());
}

TEST_F(TlsTransfer, AnOrderlyEndIsZero) {
    connect([](gnutls_session_t session) { gnutls_bye(session, GNUTLS_SHUT_WR); });
    wait_for(server_->client_socket(), POLLIN);
    char byte = 0;
    const iovec part{&byte, 1};
    EXPECT_EQ(client_->receive({&part, 1}), 0);
    EXPECT_EQ(client_->receive({&part, 1}), 0);
}

TEST_F(TlsTransfer, ATruncatedStreamIsAnError) {
    connect([](gnutls_session_t) {});
    wait_for(server_->client_socket(), POLLIN);
    char byte = 0;
    const iovec part{&byte, 1};
    EXPECT_EQ(client_->receive({&part, 1}), -1);
    EXPECT_EQ(errno, ECONNRESET);
    EXPECT_NE(client_->reason(), "");
}

TEST_F(TlsTransfer, AVanishedPeerRaisesNoSignal) {
    connect([](gnutls_session_t) {});
    wait_for(server_->client_socket(), POLLIN);
    std::string data(100, 'x');
    const iovec part{data.data(), data.size()};
    ASSERT_EQ(client_->send({&part, 1}), -1);
    EXPECT_EQ(errno, EPIPE);
}

TEST_F(TlsTransfer, GarbageInsteadOfTlsFails) {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    const UniqueFd near(pair[0]);
    const UniqueFd far(pair[1]);
    const auto credentials = load_tls_credentials(with_psk(psk_file(directory_)));
    ASSERT_TRUE(credentials) << credentials.error().message;
    const auto client = start_tls_client(**credentials, near.get(), "");
    ASSERT_TRUE(client) << client.error().message;
    ASSERT_EQ((*client)->handshake(), Step::want_read);
    const std::string garbage(100, 'G');
    ASSERT_EQ(::send(far.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL), 100);
    EXPECT_EQ(drive_handshake(**client, near.get()), Step::failed);
    EXPECT_NE((*client)->reason(), "");
}

class TlsVersion : public TlsTransfer, public testing::WithParamInterface<const char*> {};

TEST_P(TlsVersion, IsSpoken) {
    std::atomic<bool> echoed{false};
    connect(std::string("NORMAL:-VERS-ALL:+") + GetParam() + ":-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK",
            [&](gnutls_session_t session) {
                char byte = 0;
                echoed = gnutls_record_recv(session, &byte, 1) == 1 && byte == 'x';
            });
    ASSERT_EQ(drive_handshake(*client_, server_->client_socket()), Step::done) << client_->reason();
    char byte = 'x';
    EXPECT_TRUE(send_all(*client_, server_->client_socket(), {{&byte, 1}}));
    server_.reset();
    EXPECT_TRUE(echoed);
}

INSTANTIATE_TEST_SUITE_P(Both, TlsVersion, testing::Values("VERS-TLS1.2", "VERS-TLS1.3"));

class TlsOldVersion : public TlsTransfer, public testing::WithParamInterface<const char*> {};

TEST_P(TlsOldVersion, IsRefused) {
    connect(std::string("NORMAL:-VERS-ALL:+") + GetParam() + ":+ECDHE-PSK:+DHE-PSK:+PSK",
            [](gnutls_session_t) { ADD_FAILURE() << "a session came about"; });
    EXPECT_EQ(drive_handshake(*client_, server_->client_socket()), Step::failed);
    EXPECT_NE(client_->reason(), "");
}

INSTANTIATE_TEST_SUITE_P(Both, TlsOldVersion, testing::Values("VERS-TLS1.0", "VERS-TLS1.1"));

TEST_F(TlsTransfer, AnotherKeyIsRefused) {
    write_file(directory_.path("wrong.psk"), std::string(kPskUser) + ":ffffffffffffffff\n");
    auto credentials = load_tls_credentials(with_psk(directory_.path("wrong.psk")));
    ASSERT_TRUE(credentials);
    server_.emplace(kPskPriorities,
                    [](gnutls_session_t) { ADD_FAILURE() << "a session came about"; });
    auto client = start_tls_client(**credentials, server_->client_socket(), "");
    ASSERT_TRUE(client);
    EXPECT_EQ(drive_handshake(**client, server_->client_socket()), Step::failed);
}

// --- Real nbdkit servers.

class TlsNbdkit : public testing::Test {
   protected:
    TlsNbdkit() : certificates_(directory_.path()) {}

    // Serves 32 MiB of memory.
    void serve(const Words& tls_words) {
        Words words{"nbdkit", "--foreground", "--exit-with-parent", "--tls=require"};
        words.insert(words.end(), tls_words.begin(), tls_words.end());
        words.insert(words.end(), {"memory", "32M"});
        server_.emplace(directory_.path("s"), words);
    }

    void serve_certificate(const std::string& server_directory, const Words& more = {}) {
        Words words{"--tls-certificates=" + server_directory};
        words.insert(words.end(), more.begin(), more.end());
        serve(words);
    }

    Step handshake(const TlsSettings& settings, const std::string& host) {
        auto credentials = load_tls_credentials(settings);
        EXPECT_TRUE(credentials) << credentials.error().message;
        if (!credentials) {
            return Step::failed;
        }
        credentials_ = *credentials;
        socket_ = connect_unix(directory_.path("s"));
        EXPECT_TRUE(socket_ && nbd_starttls(socket_.get()));
        auto client = start_tls_client(*credentials_, socket_.get(), host);
        EXPECT_TRUE(client);
        client_ = std::move(*client);
        return drive_handshake(*client_, socket_.get());
    }

    void write_and_read_back();
    bool talk(const std::string& ask, void* answer, std::size_t length) {
        return send_all(*client_, socket_.get(), {{const_cast<char*>(ask.data()), ask.size()}}) &&
               receive_all(*client_, socket_.get(), answer, length);
    }

    TempDirectory directory_;
    Certificates certificates_;
    std::optional<SocketServer> server_;
    std::shared_ptr<const TlsCredentials> credentials_;
    UniqueFd socket_;
    std::unique_ptr<TlsClient> client_;
};

std::string big_endian(std::uint64_t value, int bytes) {
    std::string text;
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
        text.push_back(static_cast<char>(value >> shift));
    }
    return text;
}

std::string request(std::uint16_t command, std::uint64_t offset, std::uint32_t length) {
    return big_endian(0x25609513, 4) + big_endian(0, 2) + big_endian(command, 2) +
           big_endian(7, 8) + big_endian(offset, 8) + big_endian(length, 4);
}

// 16 MiB in one request each way: far more than any socket buffer.
void TlsNbdkit::write_and_read_back() {
    char granted[10];  // EXPORT_NAME, no zeroes
    ASSERT_TRUE(talk("IHAVEOPT" + big_endian(1, 4) + big_endian(0, 4), granted, sizeof(granted)));
    std::string payload(16 * 1024 * 1024, '\0');
    for (std::size_t i = 0; i < payload.size(); ++i) {
        payload[i] = static_cast<char>(i * 7 + i / 4099);
    }
    std::string header = request(1, 4096, static_cast<std::uint32_t>(payload.size()));
    ASSERT_TRUE(send_all(*client_, socket_.get(),
                         {{header.data(), header.size()}, {payload.data(), payload.size()}}));
    char reply[16];
    ASSERT_TRUE(receive_all(*client_, socket_.get(), reply, sizeof(reply)));
    ASSERT_EQ(std::string(reply, 8), big_endian(0x67446698, 4) + big_endian(0, 4));
    std::string answer(sizeof(reply) + payload.size(), 'x');
    ASSERT_TRUE(talk(request(0, 4096, static_cast<std::uint32_t>(payload.size())), answer.data(),
                     answer.size()));
    EXPECT_TRUE(answer.substr(sizeof(reply)) == payload);
}

#define REQUIRES_NBDKIT_AND_CERTTOOL() \
    SIGNPOST_REQUIRES("nbdkit");       \
    SIGNPOST_REQUIRES("certtool")

std::string for_host(const std::string& line) {
    return Certificates::valid_now() + "tls_www_server\n" + line + "\n";
}

TEST_F(TlsNbdkit, ServesAClientThatKnowsTheKey) {
    SIGNPOST_REQUIRES("nbdkit");
    serve({"--tls-psk=" + psk_file(directory_)});
    ASSERT_EQ(handshake(with_psk(directory_.path("keys.psk")), "beta"), Step::done)
        << client_->reason();
    write_and_read_back();
}

TEST_F(TlsNbdkit, ServesWithACertificateForTheHostName) {
    REQUIRES_NBDKIT_AND_CERTTOOL();
    serve_certificate(certificates_.server("good", for_host("dns_name = \"beta.example\"")));
    ASSERT_EQ(handshake(with_certificates(certificates_.client()), "beta.example"), Step::done)
        << client_->reason();
    write_and_read_back();
}

TEST_F(TlsNbdkit, ServesWithACertificateForTheAddress) {
    REQUIRES_NBDKIT_AND_CERTTOOL();
    serve_certificate(certificates_.server(
        "good", for_host("ip_address = \"192.0.2.7\"\nip_address = \"2001:db8::7\"")));
    const TlsSettings settings = with_certificates(certificates_.client());
    EXPECT_EQ(handshake(settings, "192.0.2.7"), Step::done) << client_->reason();
    EXPECT_EQ(handshake(settings, "2001:db8::7"), Step::done) << client_->reason();
    EXPECT_EQ(handshake(settings, "192.0.2.8"), Step::failed);
}

TEST_F(TlsNbdkit, ChecksTheChainAloneWhenThereIsNoHost) {
    REQUIRES_NBDKIT_AND_CERTTOOL();
    serve_certificate(certificates_.server("good", for_host("dns_name = \"beta.example\"")));
    EXPECT_EQ(handshake(with_certificates(certificates_.client()), ""), Step::done)
        << client_->reason();
    EXPECT_EQ(handshake(with_certificates(certificates_.client("other")), ""), Step::failed);
}

TEST_F(TlsNbdkit, IsGivenTheClientsCertificate) {
    REQUIRES_NBDKIT_AND_CERTTOOL();
    serve_certificate(certificates_.server("good", for_host("dns_name = \"beta.example\"")),
                      {"--tls-verify-peer"});
    const std::string directory = certificates_.client();
    certificates_.add_client_certificate(directory);
    ASSERT_EQ(handshake(with_certificates(directory), "beta.example"), Step::done)
        << client_->reason();
    write_and_read_back();
}

TEST_F(TlsNbdkit, TheSystemsTrustIsNotEverybodys) {
    REQUIRES_NBDKIT_AND_CERTTOOL();
    if (!load_tls_credentials(with_certificates(""))) {
        GTEST_SKIP() << "this system trusts no authority (ca-certificates)";
    }
    serve_certificate(certificates_.server("good", for_host("dns_name = \"beta.example\"")));
    EXPECT_EQ(handshake(with_certificates(""), "beta.example"), Step::failed);
    EXPECT_NE(client_->reason().find("NOT trusted"), std::string::npos) << client_->reason();
}

struct WrongCertificate {
    const char* name;
    const char* lines;
    const char* authority;
    const char* complaint;
};

class TlsWrongCertificate : public TlsNbdkit,
                            public testing::WithParamInterface<WrongCertificate> {};

TEST_P(TlsWrongCertificate, IsRefused) {
    REQUIRES_NBDKIT_AND_CERTTOOL();
    const WrongCertificate& wrong = GetParam();
    serve_certificate(certificates_.server("wrong", wrong.lines, wrong.authority));
    ASSERT_EQ(handshake(with_certificates(certificates_.client()), "beta.example"), Step::failed);
    EXPECT_NE(client_->reason().find(wrong.complaint), std::string::npos) << client_->reason();
}

constexpr const char* kDates =
    "activation_date = \"2020-01-01 00:00:00\"\nexpiration_date = \"2120-01-01 00:00:00\"\n";

const std::string kGood = std::string(kDates) + "tls_www_server\ndns_name = \"beta.example\"\n";
const std::string kOtherHost =
    std::string(kDates) + "tls_www_server\ndns_name = \"gamma.example\"\n";
const std::string kClientOnly =
    std::string(kDates) + "tls_www_client\ndns_name = \"beta.example\"\n";
const std::string kExpired =
    "activation_date = \"2020-01-01 00:00:00\"\nexpiration_date = \"2021-01-01 00:00:00\"\n"
    "tls_www_server\ndns_name = \"beta.example\"\n";
const std::string kNotYet =
    "activation_date = \"2110-01-01 00:00:00\"\nexpiration_date = \"2120-01-01 00:00:00\"\n"
    "tls_www_server\ndns_name = \"beta.example\"\n";

INSTANTIATE_TEST_SUITE_P(
    All, TlsWrongCertificate,
    testing::Values(WrongCertificate{"OtherAuthority", kGood.c_str(), "other", "issuer is unknown"},
                    WrongCertificate{"SelfSigned", kGood.c_str(), "self", "issuer is unknown"},
                    WrongCertificate{"OtherHost", kOtherHost.c_str(), "ca", "does not match"},
                    WrongCertificate{"ClientsPurpose", kClientOnly.c_str(), "ca", "purpose"},
                    WrongCertificate{"Expired", kExpired.c_str(), "ca", "expired"},
                    WrongCertificate{"NotYetValid", kNotYet.c_str(), "ca", "not yet"}),
    [](const auto& wrong) { return std::string(wrong.param.name); });

}  // namespace
}  // namespace signpost::test
