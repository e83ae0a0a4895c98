// SPDX-License-Identifier: BSD-3-Clause
//
// Servers that are not there, hang, or talk nonsense, each a socket of the test's own. Good servers
// are real ones, in the end-to-end tests.

#include "cli/peer.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "cli/probe.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {
namespace {

using std::chrono::milliseconds;

const PeerSettings kQuick{.tls = {},
                          .connect = milliseconds(200),
                          .handshake = milliseconds(300),
                          .answer = milliseconds(300)};

// A Unix socket that accepts one client, sends TEXT, and then says nothing.
class Server {
   public:
    explicit Server(std::string text) : text_(std::move(text)) {
        std::string pattern = testing::TempDir() + "signpost-peer-XXXXXX";
        directory_ = ::mkdtemp(pattern.data());
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const std::string path = directory_ + "/socket";
        std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
        listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
                  0);
        EXPECT_EQ(::listen(listener_.get(), 1), 0);
        thread_ = std::thread([this] { serve(); });
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() {
        ::shutdown(listener_.get(), SHUT_RDWR);
        thread_.join();
        std::filesystem::remove_all(directory_);
    }

    NbdUri uri() const {
        NbdUri uri;
        uri.socket_path = directory_ + "/socket";
        return uri;
    }

   private:
    void serve() {
        client_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (client_ && !text_.empty()) {
            EXPECT_EQ(::send(client_.get(), text_.data(), text_.size(), MSG_NOSIGNAL),
                      static_cast<ssize_t>(text_.size()));
        }
    }

    std::string text_;
    std::string directory_;
    UniqueFd listener_;
    UniqueFd client_;
    std::thread thread_;
};

Error error_of(const NbdUri& uri) {
    const auto connection = PeerConnection::connect(uri, kQuick);
    EXPECT_FALSE(connection);
    return connection ? Error{Errc::io, ""} : connection.error();
}

TEST(Peer, ThatIsNotThereIsUnavailable) {
    NbdUri uri;
    uri.socket_path = "/nonexistent/socket";
    EXPECT_EQ(error_of(uri).code, Errc::unavailable);
}

TEST(Peer, ThatSaysNothingIsGivenUp) {
    Server silent("");
    EXPECT_EQ(error_of(silent.uri()).code, Errc::unavailable);
}

TEST(Peer, ThatStopsInTheGreetingIsGivenUp) {
    Server slow("NBDMAGIC");
    EXPECT_EQ(error_of(slow.uri()).code, Errc::unavailable);
}

TEST(Peer, ThatIsNoNbdServerIsAnError) {
    Server http("HTTP/1.1 400 Bad Request\r\n\r\n");
    EXPECT_FALSE(error_of(http.uri()).message.empty());
}

TEST(Peer, ThatHangsAfterTheGreetingIsGivenUpByEveryQuestion) {
    Server hung(std::string("NBDMAGICIHAVEOPT\0\3", 18));
    auto connection = PeerConnection::connect(hung.uri(), kQuick);
    if (!connection) {  // libnbd asks for structured replies before it lets us ask
        EXPECT_EQ(connection.error().code, Errc::unavailable);
        return;
    }
    const auto names = connection->list();
    ASSERT_FALSE(names);
    EXPECT_EQ(names.error().code, Errc::unavailable);
    const auto info = connection->info("x");
    ASSERT_FALSE(info);
    EXPECT_EQ(info.error().code, Errc::unavailable);
}

TEST(Peer, PortsBelow1024AreNotDialled) {
    EXPECT_EQ(error_of(NbdUri::parse("nbd://127.0.0.1:22").value()).code, Errc::denied);
}

TEST(Peer, LinkLocalAddressesAreNotDialled) {
    EXPECT_EQ(error_of(NbdUri::parse("nbd://169.254.169.254:10809").value()).code, Errc::denied);
}

TEST(Peer, TlsNeedsATrustStoreOrKeys) {
    const Error error = error_of(NbdUri::parse("nbds://127.0.0.1:10809").value());
    EXPECT_EQ(error.code, Errc::invalid);
    EXPECT_NE(error.message.find("--tls-certificates"), std::string::npos);
}

TEST(Peer, CertificatesAreRefusedOverASocket) {
    NbdUri uri;
    uri.tls = true;
    uri.socket_path = "/nonexistent/socket";
    PeerSettings settings = kQuick;
    settings.tls.certificates = "/";
    const auto connection = PeerConnection::connect(uri, settings);
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().code, Errc::invalid);
}

TEST(Peer, AKeyFileThatIsMissingIsNamed) {
    NbdUri uri = NbdUri::parse("nbds://127.0.0.1:10809").value();
    PeerSettings settings = kQuick;
    settings.tls.psk_file = "/nonexistent/keys.psk";
    const auto connection = PeerConnection::connect(uri, settings);
    ASSERT_FALSE(connection);
    EXPECT_NE(connection.error().message.find("/nonexistent/keys.psk"), std::string::npos);
}

TEST(Probe, TriesEveryAddressAndNamesTheLastError) {
    NbdUri missing;
    missing.socket_path = "/nonexistent/socket";
    const ProbeTarget target{{missing, missing}, std::nullopt};
    const ProbeResult result = probe(target, kQuick);
    EXPECT_FALSE(result.answered);
    ASSERT_TRUE(result.error);
    EXPECT_EQ(result.error->code, Errc::unavailable);
}

TEST(Probe, ManyHungServersCostOneDeadline) {
    std::vector<std::unique_ptr<Server>> servers;
    std::vector<ProbeTarget> targets;
    for (int i = 0; i < 10; ++i) {
        servers.push_back(std::make_unique<Server>(""));
        targets.push_back({{servers.back()->uri()}, std::nullopt});
    }
    const auto start = std::chrono::steady_clock::now();
    const auto results = probe_all(targets, kQuick);
    const auto passed = std::chrono::steady_clock::now() - start;
    EXPECT_LT(passed, 5 * kQuick.handshake);
    for (const ProbeResult& result : results) {
        EXPECT_TRUE(result.error);
    }
}

TEST(OwnExport, IsLocalAtASignpostServerOnly) {
    const auto disk = DiskName::parse("web01/vda").value();
    Location location;
    location.export_name = "vda.qcow2";
    EXPECT_EQ(own_export(disk, location, ServerKind::signpost), "local:web01/vda");
    EXPECT_EQ(own_export(disk, location, ServerKind::foreign), "vda.qcow2");
}

}  // namespace
}  // namespace signpost
