// SPDX-License-Identifier: BSD-3-Clause

#include "terminal/console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>

#include "nbd-server/disk/unique_fd.h"

namespace signpost {
namespace {

TEST(Console, AReaderThatLeftIsNoFailure) {
    ::signal(SIGPIPE, SIG_IGN);
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    ::close(ends[0]);
    UniqueFd output(ends[1]);
    Console console(-1, output.get(), -1);
    EXPECT_FALSE(console.out(std::string(100'000, 'x')));
    EXPECT_TRUE(console.finish());
}

TEST(Console, AFullDiskIsAFailure) {
    UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(full);
    Console console(-1, full.get(), -1);
    console.out("text\n");
    const auto written = console.finish();
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, ExitCode::failed);
}

TEST(Console, AsksNobodyWithoutATerminal) {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    Console console(null.get(), null.get(), null.get());
    EXPECT_FALSE(console.can_ask());
    EXPECT_FALSE(console.ask("Really?"));
}

TEST(Console, HasColorOffATerminalOnlyWhenTold) {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    Console console(null.get(), null.get(), null.get());
    EXPECT_EQ(console.toned(Tone::bad, "x"), "x");
    console.set_color(ColorMode::always);
    EXPECT_EQ(console.toned(Tone::bad, "x"), "\x1b[31mx\x1b[0m");
    console.set_color(ColorMode::never);
    EXPECT_EQ(console.toned(Tone::bad, "x"), "x");
}

// A terminal of its own, and what was written to it.
class Terminal {
   public:
    Terminal() : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
        if (master_ && ::grantpt(master_.get()) == 0 && ::unlockpt(master_.get()) == 0) {
            slave_.reset(::open(::ptsname(master_.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
        }
    }

    int fd() const { return slave_.get(); }
    void type(std::string_view text) {
        EXPECT_EQ(::write(master_.get(), text.data(), text.size()),
                  static_cast<ssize_t>(text.size()));
    }

   private:
    UniqueFd master_;
    UniqueFd slave_;
};

TEST(Console, NoColorIsHonouredOnATerminal) {
    Terminal terminal;
    ASSERT_GE(terminal.fd(), 0);
    ::setenv("TERM", "xterm", 1);
    ::unsetenv("NO_COLOR");
    EXPECT_EQ(Console(terminal.fd(), terminal.fd(), terminal.fd()).toned(Tone::good, "x"),
              "\x1b[32mx\x1b[0m");
    ::setenv("NO_COLOR", "1", 1);
    EXPECT_EQ(Console(terminal.fd(), terminal.fd(), terminal.fd()).toned(Tone::good, "x"), "x");
    ::unsetenv("NO_COLOR");
}

TEST(Console, OnlyYesIsYes) {
    Terminal terminal;
    ASSERT_GE(terminal.fd(), 0);
    Console console(terminal.fd(), terminal.fd(), terminal.fd());
    terminal.type("y\n");
    EXPECT_TRUE(console.ask("Really?"));
    terminal.type("\n");
    EXPECT_FALSE(console.ask("Really?"));
    terminal.type("never\n");
    EXPECT_FALSE(console.ask("Really?"));
}

}  // namespace
}  // namespace signpost
