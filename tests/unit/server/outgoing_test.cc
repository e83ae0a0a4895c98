// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/outgoing.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "nbd-server/disk/tcp_options.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost {
namespace {

// As a TLS session behaves, without the encryption: bytes pass through memory, some at a time.
class PlainRecords final : public TlsServer {
   public:
    explicit PlainRecords(int socket) : socket_(socket) {}

    Step handshake() override { return Step::done; }
    ssize_t receive(std::span<const iovec>) override { return 0; }
    ssize_t send(std::span<const iovec> parts) override {
        for (const iovec& part : parts) {
            if (part.iov_len > 0) {
                return ::send(socket_, part.iov_base, std::min<std::size_t>(part.iov_len, 5000),
                              MSG_DONTWAIT | MSG_NOSIGNAL);
            }
        }
        return 0;
    }
    bool has_buffered() const override { return false; }
    void finish() override {}
    void release_buffers() override {}
    const TlsPeer& peer() const override { return peer_; }
    const std::string& version() const override { return text_; }
    const std::string& reason() const override { return text_; }

   private:
    const int socket_;
    const TlsPeer peer_;
    const std::string text_;
};

std::string some_bytes(std::size_t size, unsigned seed) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) {
        seed = seed * 1103515245 + 12345;
        byte = static_cast<char>(seed >> 16);
    }
    return bytes;
}

std::unique_ptr<std::byte[]> copy_of(const std::string& text) {
    auto copy = std::make_unique_for_overwrite<std::byte[]>(text.size());
    std::ranges::copy(std::as_bytes(std::span(text)), copy.get());
    return copy;
}

class OutgoingTest : public testing::Test, protected Outgoing::Prover {
   protected:
    OutgoingTest() {
        ::signal(SIGPIPE, SIG_IGN);  // as the server does; sendfile has no flag for it
        int ends[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
        const int small = 4096;
        ::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        stream_ = std::make_unique<ClientStream>(UniqueFd(ends[0]));
        client_ = UniqueFd(ends[1]);
    }

    void encrypt() { stream_->start_tls(std::make_unique<PlainRecords>(stream_->socket())); }

    Proof prove(const Outgoing::Moved& moved, bool could_read, std::span<std::byte> to) override {
        const std::string said = good_ && could_read ? on_good_ : on_bad_;
        proofs_ += std::to_string(moved.cookie) + '@' + std::to_string(moved.offset) + ' ';
        std::ranges::copy(std::as_bytes(std::span(said)), to.begin());
        return {.end_stream = simple_ && !(good_ && could_read), .size = said.size()};
    }

    void add_memory(const std::string& text, std::size_t begin = 0) {
        out_.memory(copy_of(text), begin, text.size() - begin, budget_.charge(text.size()));
    }

    int make_file(const std::string& content) {
        tree_.write("file", content);
        file_ = UniqueFd(::open(tree_.path("file").c_str(), O_RDWR | O_CLOEXEC));
        EXPECT_TRUE(file_);
        return file_.get();
    }

    void add_file(std::uint64_t at, std::uint32_t length) {
        ReadPart part;
        part.place = ReadPart::Place::file;
        part.file = file_.get();
        part.at = part.offset = at;
        part.length = length;
        out_.part(std::move(part));
    }

    // What ends with the last of its loans.
    std::weak_ptr<const std::string> add_loan(const std::string& text, std::size_t begin = 0) {
        const auto owner = std::make_shared<const std::string>(text);
        ReadPart part;
        part.place = ReadPart::Place::lent;
        part.length = static_cast<std::uint32_t>(text.size() - begin);
        part.loan = {owner, std::as_bytes(std::span(*owner)).data() + begin};
        out_.part(std::move(part), budget_.charge(text.size()));
        return owner;
    }

    // The first bytes in memory, the others in a pipe.
    void add_pipe(const std::string& text, std::uint32_t head) {
        int ends[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        const UniqueFd from(ends[0]);
        const UniqueFd to(ends[1]);
        ReadPart part;
        part.place = ReadPart::Place::pipe;
        part.length = static_cast<std::uint32_t>(text.size());
        part.head = head;
        part.bytes = copy_of(text.substr(0, head));
        part.pipe = pipes_.lend();
        std::size_t at = head;
        while (at < text.size()) {
            const auto some = std::min<std::size_t>(text.size() - at, 2048);
            ASSERT_EQ(::write(to.get(), text.data() + at, some), static_cast<ssize_t>(some));
            ASSERT_EQ(part.pipe.fill_from(from.get(), some), static_cast<ssize_t>(some));
            at += some;
        }
        out_.part(std::move(part), budget_.charge(text.size() - head));
    }

    void take_from_client_side(std::size_t limit) {
        std::string some(limit, '\0');
        const ssize_t got = ::recv(client_.get(), some.data(), some.size(), 0);
        if (got > 0) {
            received_ += some.substr(0, static_cast<std::size_t>(got));
        }
    }

    // What the client gets, when it takes a little at a time.
    std::string send_all() {
        for (int turn = 0; turn < 100000; ++turn) {
            last_ = out_.send(*stream_);
            if (last_ != Outgoing::Sent::blocked) {
                break;
            }
            take_from_client_side(3000);
        }
        for (std::size_t before = received_.size() + 1; before != received_.size();) {
            before = received_.size();
            take_from_client_side(1 << 20);
        }
        return received_;
    }

    test::TempTree tree_;
    MemoryBudget budget_{1 << 20};
    PipePool pipes_{4};
    UniqueFd file_;
    UniqueFd client_;
    std::unique_ptr<ClientStream> stream_;
    bool good_ = true;
    bool simple_ = false;
    std::string on_good_ = "(good)";
    std::string on_bad_ = "(void)";
    std::string proofs_;
    std::string received_;
    Outgoing::Sent last_ = Outgoing::Sent::blocked;
    Outgoing out_{*this};
};

TEST_F(OutgoingTest, SendsNothingOfNothing) {
    EXPECT_EQ(send_all(), "");
    EXPECT_EQ(last_, Outgoing::Sent::all);
}

TEST_F(OutgoingTest, JoinsShortTexts) {
    for (int i = 0; i < 40; ++i) {
        out_.text("0123456789");
    }
    EXPECT_LE(out_.pieces(), 5u);
    EXPECT_EQ(out_.held(), 400u);
    EXPECT_EQ(send_all().size(), 400u);
    EXPECT_EQ(out_.sent(), 400u);
    EXPECT_TRUE(out_.empty());
}

TEST_F(OutgoingTest, KeepsTheOrderOfAllKinds) {
    const std::string content = some_bytes(70000, 1);
    const std::string piped = some_bytes(30000, 2);
    const std::string long_text = some_bytes(500, 3);
    make_file(content);
    std::string expected;
    for (int i = 0; i < 3; ++i) {
        out_.text("head");
        add_file(1000, 60000);
        out_.proof({7, 1000});
        add_memory("skipped" + long_text, 7);
        out_.zeroes(40000);
        add_pipe(piped, 100);
        add_loan("skipped" + piped, 7);
        out_.text(long_text);
        expected += "head" + content.substr(1000, 60000) + "(good)" + long_text +
                    std::string(40000, '\0') + piped + piped + long_text;
    }
    EXPECT_EQ(send_all(), expected);
    EXPECT_EQ(last_, Outgoing::Sent::all);
    EXPECT_EQ(out_.held(), 0u);
    EXPECT_EQ(out_.sent(), expected.size());
    EXPECT_EQ(proofs_, "7@1000 7@1000 7@1000 ");
}

TEST_F(OutgoingTest, KeepsTheOrderWhereTheKernelCannotMove) {
    encrypt();
    const std::string content = some_bytes(200000, 1);
    const std::string piped = some_bytes(30000, 2);
    make_file(content);
    out_.text("head");
    add_file(0, 200000);
    out_.proof({1, 0});
    add_pipe(piped, 0);
    out_.zeroes(20000);
    out_.text("tail");
    EXPECT_EQ(send_all(), "head" + content + "(good)" + piped + std::string(20000, '\0') + "tail");
}

TEST_F(OutgoingTest, GathersMoreThanOneCallTakes) {
    std::string expected;
    for (int i = 0; i < 300; ++i) {
        const std::string text = some_bytes(150, static_cast<unsigned>(i));
        add_memory(text);
        expected += text;
    }
    EXPECT_EQ(send_all(), expected);
}

TEST_F(OutgoingTest, GivesMemoryBackWhenItHasLeft) {
    add_memory(some_bytes(100000, 1));
    add_pipe(some_bytes(50000, 2), 10);
    EXPECT_EQ(budget_.left(), (1 << 20) - 100000 - 49990);
    send_all();
    EXPECT_EQ(budget_.left(), 1 << 20);
}

TEST_F(OutgoingTest, EndsALoanWhenItsBytesHaveLeft) {
    const std::string bytes = some_bytes(300000, 1);
    const auto lent = add_loan(bytes);
    EXPECT_EQ(out_.held(), 300000u);
    EXPECT_EQ(out_.send(*stream_), Outgoing::Sent::blocked);
    EXPECT_FALSE(lent.expired());
    EXPECT_EQ(send_all(), bytes);
    EXPECT_TRUE(lent.expired());
    EXPECT_EQ(out_.held(), 0u);
}

TEST_F(OutgoingTest, SendsWhatIsLentToAnEncryptedStream) {
    encrypt();
    const std::string bytes = some_bytes(300000, 1);
    out_.text("head");
    const auto lent = add_loan("skipped" + bytes, 7);
    out_.text("tail");
    EXPECT_EQ(send_all(), "head" + bytes + "tail");
    EXPECT_TRUE(lent.expired());
}

TEST_F(OutgoingTest, DropEndsLoans) {
    const auto lent = add_loan("text");
    out_.drop();
    EXPECT_TRUE(lent.expired());
}

TEST_F(OutgoingTest, HoldsOnlyWhatIsInMemory) {
    make_file(some_bytes(70000, 3));
    add_file(0, 70000);
    out_.zeroes(40000);
    EXPECT_EQ(out_.held(), 0u);
    add_memory(some_bytes(1000, 4));
    EXPECT_EQ(out_.held(), 1000u);
    encrypt();
    EXPECT_EQ(send_all().size(), 111000u);
    EXPECT_EQ(out_.held(), 0u);
}

TEST_F(OutgoingTest, DropForgetsAll) {
    add_memory(some_bytes(100000, 1));
    out_.proof({1, 1});
    out_.drop();
    EXPECT_TRUE(out_.empty());
    EXPECT_EQ(out_.held(), 0u);
    EXPECT_EQ(budget_.left(), 1 << 20);
    EXPECT_EQ(proofs_, "");
}

TEST_F(OutgoingTest, ProvesWhenTheBytesHaveLeft) {
    make_file(some_bytes(100000, 1));
    out_.text("head");
    add_file(0, 100000);
    out_.proof({5, 0});
    EXPECT_EQ(out_.send(*stream_), Outgoing::Sent::blocked);
    EXPECT_EQ(proofs_, "");
    good_ = false;
    EXPECT_TRUE(send_all().ends_with("(void)"));
}

TEST_F(OutgoingTest, EmptyProofSendsNothing) {
    on_good_ = "";
    const std::string content = some_bytes(50000, 1);
    make_file(content);
    add_file(0, 50000);
    out_.proof({1, 0});
    out_.proof({2, 0});
    out_.text("next");
    EXPECT_EQ(send_all(), content + "next");
    EXPECT_TRUE(out_.empty());
}

TEST_F(OutgoingTest, BadProofEndsAStreamOfSimpleReplies) {
    simple_ = true;
    on_good_ = on_bad_ = "";
    good_ = false;
    make_file(some_bytes(5000, 1));
    add_file(0, 5000);
    out_.proof({1, 0});
    out_.text("never");
    EXPECT_EQ(send_all().size(), 5000u);
    EXPECT_EQ(last_, Outgoing::Sent::broken);
}

TEST_F(OutgoingTest, TruncatedFileKeepsThePromisedLengthAndIsVoid) {
    const std::string content = some_bytes(100000, 1);
    make_file(content);
    out_.text("head");
    add_file(0, 100000);
    out_.proof({1, 0});
    out_.text("head");
    add_file(0, 1000);
    out_.proof({2, 0});
    ASSERT_EQ(::ftruncate(file_.get(), 40000), 0);
    const std::string got = send_all();
    ASSERT_EQ(got.size(), 4 + 100000 + 6 + 4 + 1000 + 6u);
    EXPECT_EQ(got.substr(4, 40000), content.substr(0, 40000));
    EXPECT_EQ(got.substr(40004, 60000), std::string(60000, '\0'));
    EXPECT_EQ(got.substr(100004, 6), "(void)");
    EXPECT_TRUE(got.ends_with("(good)"));
}

TEST_F(OutgoingTest, TruncatedFileIsVoidWhereTheKernelCannotMove) {
    encrypt();
    make_file(some_bytes(100000, 1));
    add_file(50000, 50000);
    out_.proof({1, 0});
    ASSERT_EQ(::ftruncate(file_.get(), 0), 0);
    EXPECT_EQ(send_all(), std::string(50000, '\0') + "(void)");
}

TEST_F(OutgoingTest, FileThatCannotBeReadIsVoid) {
    file_ = UniqueFd(::open(tree_.root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    add_file(0, 3000);
    out_.proof({1, 0});
    EXPECT_EQ(send_all(), std::string(3000, '\0') + "(void)");
}

TEST_F(OutgoingTest, PipeThatHoldsTooLittleIsNeverComplete) {
    ReadPart part;
    part.place = ReadPart::Place::pipe;
    part.length = 5000;
    part.pipe = pipes_.lend();
    out_.part(std::move(part));
    EXPECT_NE(out_.send(*stream_), Outgoing::Sent::all);
    EXPECT_EQ(out_.sent(), 0u);
}

TEST_F(OutgoingTest, SaysThatTheClientIsGone) {
    make_file(some_bytes(10000, 1));
    client_.reset();
    out_.text("text");
    EXPECT_EQ(out_.send(*stream_), Outgoing::Sent::broken);
    out_.drop();
    add_file(0, 10000);
    out_.proof({1, 0});
    EXPECT_EQ(out_.send(*stream_), Outgoing::Sent::broken);
    EXPECT_EQ(proofs_, "");
    out_.drop();
    add_pipe(some_bytes(3000, 1), 0);
    EXPECT_EQ(out_.send(*stream_), Outgoing::Sent::broken);
}

TEST_F(OutgoingTest, StopsForOthersAfterAWhile) {
    constexpr std::uint32_t kLong = 32 * 1024 * 1024;
    make_file("");
    ASSERT_EQ(::ftruncate(file_.get(), kLong), 0);
    const UniqueFd sink(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    ClientStream quick((UniqueFd(::dup(sink.get()))));
    add_file(0, kLong);
    EXPECT_EQ(out_.send(quick), Outgoing::Sent::blocked);
    EXPECT_GT(out_.sent(), 0u);
    EXPECT_LT(out_.sent(), kLong);
}

// On a TCP connection that takes little at a time.
class OutgoingToTcp : public OutgoingTest {
   protected:
    OutgoingToTcp() {
        const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* const any = reinterpret_cast<sockaddr*>(&address);
        client_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::bind(listener.get(), any, length), 0);
        EXPECT_EQ(::listen(listener.get(), 1), 0);
        EXPECT_EQ(::getsockname(listener.get(), any, &length), 0);
        EXPECT_EQ(::connect(client_.get(), any, length), 0);
        UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        EXPECT_EQ(::fcntl(client_.get(), F_SETFL, O_NONBLOCK), 0);
        limit_unsent(socket.get(), 16 * 1024);
        // Others may hold packets back for a while to pace them.
        EXPECT_EQ(::setsockopt(socket.get(), IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
        stream_ = std::make_unique<ClientStream>(std::move(socket));
    }

    void take_all() {
        std::string some(1 << 20, '\0');
        for (ssize_t got = 1; got > 0;) {
            got = ::recv(client_.get(), some.data(), some.size(), 0);
            received_ += some.substr(0, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        }
    }

    // Something waits although nothing is on its way that it could wait for, and not just for a
    // moment: what the kernel holds back it holds for 200 ms.
    bool holds_back() const {
        for (int i = 0; i < 100; ++i) {
            int unacknowledged = 0;
            int unsent = 0;
            ::ioctl(stream_->socket(), SIOCOUTQ, &unacknowledged);
            ::ioctl(stream_->socket(), SIOCOUTQNSD, &unsent);
            if (unsent == 0 || unsent != unacknowledged) {
                return false;
            }
            ::poll(nullptr, 0, 1);
        }
        return true;
    }
};

TEST_F(OutgoingToTcp, NothingIsHeldBackWhileTheClientWaits) {
    unsigned seed = 1;
    unsigned held_back = 0;  // on a busy machine a moment may be long, but not often
    for (unsigned round = 0; round < 200; ++round) {
        for (unsigned i = 0; i < 4; ++i) {
            seed = seed * 1103515245 + 12345;
            out_.text(std::as_bytes(std::span(std::string_view("head"))));
            const std::string bytes = some_bytes(1 + (seed >> 8) % 100'000, i);
            add_pipe(bytes, 0);
        }
        while (out_.send(*stream_) == Outgoing::Sent::blocked) {
            take_all();
            held_back += holds_back() ? 1 : 0;
        }
        received_.clear();
    }
    EXPECT_LT(held_back, 3U);
}

}  // namespace
}  // namespace signpost
