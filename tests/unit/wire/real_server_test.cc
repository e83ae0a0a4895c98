// SPDX-License-Identifier: BSD-3-Clause
//
// The pure protocol code against real servers, over a Unix socket that the test has bound itself
// and hands to the server as systemd would: it can be dialled before the server is up, so nothing
// sleeps.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>

#include "nbd-server/wire/client_handshake.h"
#include "nbd-server/wire/reply_reader.h"
#include "tests/unit/requires.h"
#include "tests/unit/wire/exchange.h"

namespace signpost::wire::test {
namespace {

using Arguments = std::vector<std::string>;

class TempDirectory {
 public:
    TempDirectory() {
        std::string name = std::filesystem::temp_directory_path() / "signpost-wire-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) {
            throw std::runtime_error("no temporary directory");
        }
        path_ = name;
    }
    TempDirectory(const TempDirectory&) = delete;
    TempDirectory& operator=(const TempDirectory&) = delete;
    ~TempDirectory() { std::filesystem::remove_all(path_); }

    std::string file(const std::string& name) const { return path_ / name; }

 private:
    std::filesystem::path path_;
};

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
}

// A program that has FD as its descriptor AS; it ends with this object.
class Process {
 public:
    Process(const Arguments& arguments, int fd, int as) : pid_(::fork()) {
        if (pid_ == 0) {
            become(arguments, fd, as);
        }
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

 private:
    [[noreturn]] static void become(const Arguments& arguments, int fd, int as) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::dup2(fd == as ? ::dup(fd) : fd, as);  // dup2 clears close-on-exec
        ::setenv("LISTEN_FDS", "1", 1);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        std::vector<char*> argv;
        for (const std::string& argument : arguments) {
            argv.push_back(const_cast<char*>(argument.c_str()));
        }
        argv.push_back(nullptr);
        ::execvp(argv[0], argv.data());
        ::_exit(127);
    }

    pid_t pid_;
};

class RealServer {
 public:
    RealServer(const std::string& socket_path, const Arguments& arguments) : path_(socket_path) {
        const sockaddr_un address = address_of(path_);
        const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address);
        ::listen(listener, 8);
        process_.emplace(arguments, listener, 3);
        ::close(listener);
    }

    int dial() const {
        const sockaddr_un address = address_of(path_);
        const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
            ADD_FAILURE() << "cannot connect to " << path_;
        }
        return fd;
    }

 private:
    std::string path_;
    std::optional<Process> process_;
};

// A blocking client, as small as one can be.
class Client {
 public:
    Client(int fd, ClientHandshake::Wish wish) : fd_(fd), handshake_(std::move(wish)) {
        const timeval patience{20, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        shake();
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { ::close(fd_); }

    ClientHandshake::Outcome outcome() const { return handshake_.outcome(); }
    const ExportInfo& info() const { return handshake_.info(); }
    const std::string& reason() const { return handshake_.reason(); }

    ReplyReader make_reader() const {
        return ReplyReader({.structured_replies = info().structured_replies,
                            .has_allocation_context = info().allocation_context.has_value(),
                            .allocation_context = info().allocation_context.value_or(0)});
    }

    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            ASSERT_GT(n, 0);
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
    }

    // Receives until COUNT requests are finished.
    std::vector<ReplyReader::Finished> finish(ReplyReader& reader, std::size_t count) {
        std::vector<ReplyReader::Finished> finished;
        while (finished.size() < count && !reader.broken()) {
            const auto [first, second] = reader.targets();
            const iovec parts[] = {{first.data(), first.size()}, {second.data(), second.size()}};
            const ssize_t n = ::readv(fd_, parts, 2);
            if (n <= 0) {
                ADD_FAILURE() << "the server left";
                break;
            }
            reader.received(static_cast<std::size_t>(n), finished);
        }
        EXPECT_EQ(reader.reason(), "");
        return finished;
    }

 private:
    void shake() {
        std::byte bytes[512];
        while (handshake_.outcome() == ClientHandshake::Outcome::pending) {
            const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
            ASSERT_GT(n, 0) << "the server left during the handshake";
            std::size_t consumed = 0;
            handshake_.feed(std::span(bytes, static_cast<std::size_t>(n)), consumed);
            send(handshake_.take_output());
        }
    }

    int fd_;
    ClientHandshake handshake_;
};

constexpr std::size_t kDataBytes = 1 << 20;
constexpr std::size_t kHoleBytes = 1 << 20;

class RealServers : public testing::Test {
 protected:
    RealServers() {
        std::ofstream(image_, std::ios::binary) << content_;
        std::filesystem::resize_file(image_, kDataBytes + kHoleBytes);
        content_.resize(kDataBytes + kHoleBytes, '\0');
    }

    void serve(const Arguments& arguments) {
        server_ = std::make_unique<RealServer>(directory_.file("socket"), arguments);
    }
    void serve_nbdkit(const Arguments& options) {
        Arguments arguments{"nbdkit", "-f", "-r"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.insert(arguments.end(), {"file", image_});
        serve(arguments);
    }
    void serve_qemu(const Arguments& options) {
        Arguments arguments{"qemu-nbd", "-r", "-f", "raw", "-t"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.push_back(image_);
        serve(arguments);
    }

    std::unique_ptr<Client> connect(ClientHandshake::Wish wish = {}) {
        return std::make_unique<Client>(server_->dial(), std::move(wish));
    }

    // Reads all of the image, 32 requests at a time, and compares.
    void expect_identical(Client& client, std::uint32_t piece) {
        ASSERT_EQ(client.outcome(), ClientHandshake::Outcome::ready) << client.reason();
        ASSERT_EQ(client.info().size, content_.size());
        ReplyReader reader = client.make_reader();
        std::string got(content_.size(), kUntouched);
        std::uint64_t next = 0;
        while (next < got.size()) {
            std::string requests;
            std::size_t count = 0;
            for (; count < 32 && next < got.size(); ++count, next += piece) {
                const auto length =
                    static_cast<std::uint32_t>(std::min<std::uint64_t>(piece, got.size() - next));
                reader.expect(next, {.command = Command::read,
                                     .offset = next,
                                     .length = length,
                                     .buffer = reinterpret_cast<std::byte*>(got.data()) + next});
                append_request(requests, Command::read, 0, next, next, length);
            }
            client.send(requests);
            for (const auto& finished : client.finish(reader, count)) {
                ASSERT_EQ(finished.pending.error, 0u);
            }
            ASSERT_FALSE(reader.broken());
        }
        EXPECT_TRUE(got == content_);
    }

    void expect_allocation_map(Client& client) {
        ASSERT_TRUE(client.info().allocation_context);
        ReplyReader reader = client.make_reader();
        std::vector<Extent> extents;
        const auto size = static_cast<std::uint32_t>(content_.size());
        reader.expect(9, {.command = Command::block_status, .length = size, .extents = &extents});
        std::string request;
        append_request(request, Command::block_status, 0, 9, 0, size);
        client.send(request);
        ASSERT_EQ(client.finish(reader, 1).size(), 1u);
        EXPECT_EQ(extents,
                  (std::vector<Extent>{{kDataBytes, 0}, {kHoleBytes, kStateHole | kStateZero}}));
    }

    // A read past the end fails, and the connection lives on.
    void expect_clean_error(Client& client) {
        ReplyReader reader = client.make_reader();
        std::byte byte[512];
        std::string request;
        reader.expect(
            1,
            {.command = Command::read, .offset = content_.size(), .length = 512, .buffer = byte});
        append_request(request, Command::read, 0, 1, content_.size(), 512);
        client.send(request);
        const auto finished = client.finish(reader, 1);
        ASSERT_EQ(finished.size(), 1u);
        EXPECT_EQ(finished[0].pending.error, kErrorInvalid);
        expect_identical(client, 65536);
    }

    TempDirectory directory_;
    std::string image_ = directory_.file("image.raw");
    std::string content_ = pattern(kDataBytes);
    std::unique_ptr<RealServer> server_;
};

TEST_F(RealServers, Nbdkit) {
    SIGNPOST_REQUIRES("nbdkit");
    serve_nbdkit({});
    const auto client = connect({.export_name = "any"});
    expect_identical(*client, 4096);
    EXPECT_TRUE(client->info().structured_replies);
    expect_allocation_map(*client);
    expect_clean_error(*client);
}

TEST_F(RealServers, NbdkitInLargePieces) {
    SIGNPOST_REQUIRES("nbdkit");
    serve_nbdkit({});
    const auto client = connect();
    expect_identical(*client, 300000);
}

TEST_F(RealServers, NbdkitWithoutStructuredReplies) {
    SIGNPOST_REQUIRES("nbdkit");
    serve_nbdkit({"--no-sr"});
    const auto client = connect();
    expect_identical(*client, 4096);
    EXPECT_FALSE(client->info().structured_replies);
    EXPECT_FALSE(client->info().allocation_context);
    expect_clean_error(*client);
}

TEST_F(RealServers, NbdkitWithoutFixedNewstyle) {
    SIGNPOST_REQUIRES("nbdkit");
    serve_nbdkit({"--mask-handshake=0"});
    const auto client = connect({.export_name = "any"});
    expect_identical(*client, 65536);
    EXPECT_FALSE(client->info().structured_replies);
}

TEST_F(RealServers, NbdkitWithZeroesBehindExportName) {
    SIGNPOST_REQUIRES("nbdkit");
    serve_nbdkit({"--mask-handshake=1"});
    expect_identical(*connect(), 65536);
}

TEST_F(RealServers, NbdkitOldstyleIsRefused) {
    SIGNPOST_REQUIRES("nbdkit");
    serve_nbdkit({"-o"});
    const auto client = connect();
    EXPECT_EQ(client->outcome(), ClientHandshake::Outcome::refused);
    EXPECT_NE(client->reason().find("oldstyle"), std::string::npos);
}

TEST_F(RealServers, NbdkitWithoutTlsIsRefusedWhenTlsIsRequired) {
    SIGNPOST_REQUIRES("nbdkit");
    serve_nbdkit({"--tls=off"});
    const auto client = connect({.export_name = "any", .tls = TlsMode::require});
    EXPECT_EQ(client->outcome(), ClientHandshake::Outcome::refused) << client->reason();
}

TEST_F(RealServers, NbdkitWithoutTlsServesAClientThatOnlyPrefersIt) {
    SIGNPOST_REQUIRES("nbdkit");
    serve_nbdkit({"--tls=off"});
    expect_identical(*connect({.export_name = "any", .tls = TlsMode::prefer}), 65536);
}

TEST_F(RealServers, NbdkitThatRequiresTlsNamesTheRemedy) {
    SIGNPOST_REQUIRES("nbdkit");
    const std::string keys = directory_.file("keys.psk");
    std::ofstream(keys) << "someone:00112233445566778899aabbccddeeff\n";
    serve_nbdkit({"--tls=require", "--tls-psk=" + keys});
    const auto refused = connect({.export_name = "any"});
    EXPECT_EQ(refused->outcome(), ClientHandshake::Outcome::refused);
    EXPECT_NE(refused->reason().find("tls=require"), std::string::npos) << refused->reason();
    const auto started = connect({.export_name = "any", .tls = TlsMode::require});
    EXPECT_EQ(started->outcome(), ClientHandshake::Outcome::start_tls);
}

TEST_F(RealServers, QemuNbd) {
    SIGNPOST_REQUIRES("qemu-nbd");
    serve_qemu({"-x", "web01/vda", "-D", "a disk for a test"});
    const auto client = connect({.export_name = "web01/vda"});
    expect_identical(*client, 4096);
    EXPECT_TRUE(client->info().structured_replies);
    EXPECT_EQ(client->info().description, "a disk for a test");
    expect_allocation_map(*client);
    expect_clean_error(*client);
}

TEST_F(RealServers, QemuNbdSendsHolesOfASparseImage) {
    SIGNPOST_REQUIRES("qemu-nbd");
    serve_qemu({});
    expect_identical(*connect(), kDataBytes + kHoleBytes);
}

TEST_F(RealServers, QemuNbdHasNoSuchExport) {
    SIGNPOST_REQUIRES("qemu-nbd");
    serve_qemu({"-x", "web01/vda"});
    const auto client = connect({.export_name = "web01/vdb"});
    EXPECT_EQ(client->outcome(), ClientHandshake::Outcome::unknown) << client->reason();
}

// The reference implementation, as inetd starts it.
TEST_F(RealServers, NbdServer) {
    SIGNPOST_REQUIRES("nbd-server");
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const Process process({"nbd-server", "-d", "-C", "/dev/null", "127.0.0.1:0", image_, "-r"},
                          ends[1], 0);
    ::close(ends[1]);
    Client client(ends[0], {});
    expect_identical(client, 65536);
}

}  // namespace
}  // namespace signpost::wire::test
