// SPDX-License-Identifier: BSD-3-Clause
//
// Reads that are taken part by part, from a peer behind TLS: its bytes are decrypted in memory, so
// no pipe can carry them.

#include "tests/unit/disk/programs.h"
#include "tests/unit/disk/relay_fixture.h"
#include "tests/unit/requires.h"

namespace signpost::test {

TEST_F(RelayTest, PeerBehindTlsComesInMemory) {
    SIGNPOST_REQUIRES("nbdkit");
    constexpr std::uint64_t kSize = 8 * 1024 * 1024;
    const TempDirectory directory;
    const std::string keys = directory.path("keys.psk");
    write_file(keys, "alpha:00112233445566778899aabbccddeeff\n");
    const std::string socket = directory.path("s");
    const SocketServer server(socket, {"nbdkit", "--foreground", "--exit-with-parent",
                                       "--tls=require", "--tls-psk=" + keys, "pattern", "8M"});
    // What nbdkit's pattern has: each 8 bytes are their own offset, big-endian.
    Bytes content(kSize);
    for (std::uint64_t i = 0; i < kSize; ++i) {
        content[i] = static_cast<std::byte>((i & ~7U) >> (56 - 8 * (i & 7U)) & 0xff);
    }
    RelaySettings settings;
    settings.tls.mode = wire::TlsMode::require;
    settings.tls.psk_file = keys;
    settings.tls.username = "alpha";
    restart_engine(settings);
    Upstream upstream;
    upstream.location.server = "beta";
    upstream.location.size = kSize;
    upstream.uris = {*NbdUri::parse("nbds+unix:///?socket=" + socket)};
    open({upstream});
    for (const std::uint64_t length : {std::uint64_t{512}, std::uint64_t{100'000}, kSize - 3}) {
        ASSERT_EQ(read_parts(3, length), 0);
        EXPECT_TRUE(parts_->matches(content)) << length;
        EXPECT_EQ(parts_->count(ReadPart::Place::pipe), 0);
    }
}

}  // namespace signpost::test
