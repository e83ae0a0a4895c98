// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/disk/tls_fixture.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace signpost::test {
namespace {

namespace fs = std::filesystem;

constexpr int kPatience = 10'000;  // ms; only a broken test waits so long

bool read_plain(int socket, void* to, std::size_t length) {
    return ::recv(socket, to, length, MSG_WAITALL) == static_cast<ssize_t>(length);
}

int give_key(gnutls_session_t, const char* user, gnutls_datum_t* key) {
    if (std::string_view(user) != kPskUser) {
        return -1;
    }
    const gnutls_datum_t hex{reinterpret_cast<unsigned char*>(const_cast<char*>(kPskKey)),
                             static_cast<unsigned>(std::strlen(kPskKey))};
    return gnutls_hex_decode2(&hex, key);
}

}  // namespace

Certificates::Certificates(std::string directory) : directory_(std::move(directory)) {}

// One key for all: these tests are about what is certified.
std::string Certificates::key() {
    const std::string path = directory_ + "/key.pem";
    if (!fs::exists(path)) {
        run_program({"certtool", "--generate-privkey", "--key-type=ecdsa", "--outfile", path});
    }
    return path;
}

std::string Certificates::valid_now() {
    return "activation_date = \"2020-01-01 00:00:00\"\n"
           "expiration_date = \"2120-01-01 00:00:00\"\n";
}

void Certificates::make_authority(const std::string& name) {
    if (fs::exists(directory_ + "/" + name + "-cert.pem")) {
        return;
    }
    const std::string lines = directory_ + "/" + name + ".template";
    write_file(lines, "cn = \"" + name + "\"\nca\ncert_signing_key\n" + valid_now());
    run_program({"certtool", "--generate-privkey", "--key-type=ecdsa", "--outfile",
                 directory_ + "/" + name + "-key.pem"});
    run_program({"certtool", "--generate-self-signed", "--load-privkey",
                 directory_ + "/" + name + "-key.pem", "--template", lines, "--outfile",
                 directory_ + "/" + name + "-cert.pem"});
}

std::string Certificates::server(const std::string& name, const std::string& template_lines,
                                 const std::string& authority) {
    const std::string to = directory_ + "/" + name;
    fs::create_directory(to);
    const std::string lines = to + "/template";
    write_file(lines, "cn = \"server\"\nsigning_key\n" + template_lines);
    Words words{"certtool",  "--load-privkey",       key(), "--template", lines,
                "--outfile", to + "/server-cert.pem"};
    if (authority == "self") {
        words.emplace_back("--generate-self-signed");
        make_authority("ca");
        fs::copy_file(directory_ + "/ca-cert.pem", to + "/ca-cert.pem");
    } else {
        make_authority(authority);
        words.insert(words.end(), {"--generate-certificate", "--load-ca-certificate",
                                   directory_ + "/" + authority + "-cert.pem", "--load-ca-privkey",
                                   directory_ + "/" + authority + "-key.pem"});
        fs::copy_file(directory_ + "/" + authority + "-cert.pem", to + "/ca-cert.pem");
    }
    run_program(words);
    fs::copy_file(key(), to + "/server-key.pem");
    return to;
}

std::string Certificates::client(const std::string& authority) {
    make_authority(authority);
    const std::string to = directory_ + "/client-of-" + authority;
    fs::create_directory(to);
    fs::copy_file(directory_ + "/" + authority + "-cert.pem", to + "/ca-cert.pem",
                  fs::copy_options::overwrite_existing);
    return to;
}

std::string Certificates::good_client() {
    return "cn = \"alpha\"\ntls_www_client\n" + valid_now();
}

void Certificates::add_client_certificate(const std::string& directory,
                                          const std::string& template_lines,
                                          const std::string& authority) {
    make_authority(authority);
    const std::string lines = directory + "/template";
    write_file(lines, "signing_key\n" + template_lines);
    const std::string signer = directory_ + "/" + authority;
    run_program({"certtool", "--generate-certificate", "--load-privkey", key(), "--template", lines,
                 "--load-ca-certificate", signer + "-cert.pem", "--load-ca-privkey",
                 signer + "-key.pem", "--outfile", directory + "/client-cert.pem"});
    fs::copy_file(key(), directory + "/client-key.pem", fs::copy_options::overwrite_existing);
}

void wait_for(int socket, short events) {
    pollfd event{socket, events, 0};
    ASSERT_EQ(::poll(&event, 1, kPatience), 1) << "nothing happened on the socket";
}

TlsClient::Step drive_handshake(TlsClient& client, int socket) {
    for (;;) {
        const TlsClient::Step step = client.handshake();
        if (step == TlsClient::Step::done || step == TlsClient::Step::failed ||
            testing::Test::HasFatalFailure()) {
            return step;
        }
        wait_for(socket, step == TlsClient::Step::want_read ? POLLIN : POLLOUT);
    }
}

bool send_all(TlsClient& client, int socket, std::vector<iovec> parts) {
    std::size_t first = 0;
    while (first < parts.size() && !testing::Test::HasFatalFailure()) {
        ssize_t n = client.send(std::span(parts).subspan(first));
        if (n < 0 && errno == EAGAIN) {
            wait_for(socket, POLLOUT);
            continue;
        }
        if (n < 0) {
            return false;
        }
        for (; first < parts.size() && n >= static_cast<ssize_t>(parts[first].iov_len); ++first) {
            n -= static_cast<ssize_t>(parts[first].iov_len);
        }
        if (first < parts.size()) {
            parts[first].iov_base = static_cast<char*>(parts[first].iov_base) + n;
            parts[first].iov_len -= static_cast<std::size_t>(n);
        }
    }
    return true;
}

bool receive_all(TlsClient& client, int socket, void* to, std::size_t length) {
    std::size_t have = 0;
    while (have < length && !testing::Test::HasFatalFailure()) {
        const iovec part{static_cast<char*>(to) + have, length - have};
        const ssize_t n = client.receive({&part, 1});
        if (n < 0 && errno == EAGAIN) {
            EXPECT_FALSE(client.has_buffered());
            wait_for(socket, POLLIN);
            continue;
        }
        if (n <= 0) {
            return false;
        }
        have += static_cast<std::size_t>(n);
    }
    return true;
}

bool nbd_starttls(int socket) {
    std::array<unsigned char, 18> greeting;
    if (!read_plain(socket, greeting.data(), greeting.size())) {
        return false;
    }
    constexpr std::string_view kAsk(
        "\0\0\0\3"
        "IHAVEOPT"
        "\0\0\0\5"
        "\0\0\0\0",
        20);
    std::array<unsigned char, 20> reply;
    return ::send(socket, kAsk.data(), kAsk.size(), MSG_NOSIGNAL) ==
               static_cast<ssize_t>(kAsk.size()) &&
           read_plain(socket, reply.data(), reply.size()) && reply[15] == 1;
}

PskServer::PskServer(const std::string& priorities, Talk talk) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    client_.reset(ends[0]);
    server_.reset(ends[1]);
    thread_ = std::thread([this, priorities, talk = std::move(talk)] { run(priorities, talk); });
}

PskServer::~PskServer() {
    ::shutdown(client_.get(), SHUT_RDWR);
    thread_.join();
}

void PskServer::run(const std::string& priorities, const Talk& talk) {
    gnutls_psk_server_credentials_t credentials = nullptr;
    gnutls_session_t session = nullptr;
    gnutls_psk_allocate_server_credentials(&credentials);
    gnutls_psk_set_server_credentials_function(credentials, give_key);
    gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NO_SIGNAL);
    gnutls_priority_set_direct(session, priorities.c_str(), nullptr);
    gnutls_credentials_set(session, GNUTLS_CRD_PSK, credentials);
    gnutls_transport_set_int(session, server_.get());
    int error = 0;
    do {
        error = gnutls_handshake(session);
    } while (error < 0 && gnutls_error_is_fatal(error) == 0);
    if (error == 0) {
        talk(session);
    }
    ::shutdown(server_.get(), SHUT_RDWR);
    gnutls_deinit(session);
    gnutls_psk_free_server_credentials(credentials);
}

std::string psk_file(const TempDirectory& directory) {
    const std::string path = directory.path("keys.psk");
    write_file(path, std::string("other:aa\n") + kPskUser + ":" + kPskKey + "\n");
    return path;
}

TlsSettings with_psk(const std::string& file) {
    TlsSettings settings;
    settings.mode = wire::TlsMode::require;
    settings.psk_file = file;
    settings.username = kPskUser;
    return settings;
}

TlsSettings with_certificates(const std::string& directory) {
    TlsSettings settings;
    settings.mode = wire::TlsMode::require;
    settings.certificates = directory;
    return settings;
}

}  // namespace signpost::test
