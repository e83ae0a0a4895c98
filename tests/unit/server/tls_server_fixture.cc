// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/server/tls_server_fixture.h"

namespace signpost::test {

ServerTlsSettings TlsDoor::with_directory(const std::string& directory) {
    return {DoorTls::require, directory, "", true};
}

ServerTlsSettings TlsDoor::with_keys(const std::string& file) {
    return {DoorTls::require, "", file, true};
}

std::string TlsDoor::good_server() {
    return certificates_.server(
        "server", Certificates::valid_now() + "tls_www_server\ndns_name = \"beta\"\n");
}

void TlsDoor::serve(const ServerTlsSettings& settings) {
    int ends[2] = {-1, -1};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    near_.reset(ends[0]);
    far_.reset(ends[1]);
    auto credentials = load_server_credentials(settings);
    ASSERT_TRUE(credentials) << credentials.error().message;
    auto server = start_tls_server(std::move(*credentials), near_.get());
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
}

TlsDoor::Step TlsDoor::connect(const TlsSettings& settings) {
    auto credentials = load_tls_credentials(settings);
    EXPECT_TRUE(credentials) << credentials.error().message;
    if (!credentials) {
        return Step::failed;
    }
    client_credentials_ = *credentials;
    auto client = start_tls_client(*client_credentials_, far_.get(), "beta");
    EXPECT_TRUE(client);
    client_ = std::move(*client);
    const auto ended = [](Step step) { return step == Step::done || step == Step::failed; };
    Step step = Step::want_read;
    client_step_ = Step::want_read;
    // Neither end ever waits for more than what the other has sent, so each turn moves on.
    for (int turn = 0; turn < 100 && !(ended(step) && ended(client_step_)); ++turn) {
        client_step_ = client_->handshake();
        step = server_->handshake();
        if (step == Step::failed) {
            near_.reset();
            client_step_ = client_->handshake();
            return step;
        }
        if (client_step_ == Step::failed) {
            far_.reset();
        }
    }
    return step;
}

void TlsDoor::expect_talk() {
    std::string ask = "hello";
    std::string got(5, '\0');
    ASSERT_TRUE(send_all(*client_, far_.get(), {{ask.data(), ask.size()}}));
    const iovec to{got.data(), got.size()};
    ASSERT_EQ(server_->receive({&to, 1}), 5) << server_->reason();
    EXPECT_EQ(got, "hello");
    std::string answer = "there";
    const iovec from{answer.data(), answer.size()};
    ASSERT_EQ(server_->send({&from, 1}), 5);
    ASSERT_TRUE(receive_all(*client_, far_.get(), got.data(), got.size()));
    EXPECT_EQ(got, "there");
}

}  // namespace signpost::test
