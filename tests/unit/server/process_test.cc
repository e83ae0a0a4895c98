// SPDX-License-Identifier: BSD-3-Clause
//
// What changes a process for good is done in a child; its exit status says how it went.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <functional>

#include "nbd-server/disk/landlock.h"
#include "nbd-server/disk/private_directory.h"
#include "nbd-server/server/process_limits.h"
#include "nbd-server/server/service_notify.h"
#include "tests/unit/disk/programs.h"
#include "tests/unit/requires.h"

namespace signpost::test {
namespace {

// The number of the first check that did not hold, or 0.
int in_child(const std::function<int()>& checks) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::_exit(checks());
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool can_read(const std::string& path) {
    return static_cast<bool>(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)));
}

bool can_create(const std::string& path) {
    return static_cast<bool>(UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
}

#define SKIP_WITHOUT_LANDLOCK()                              \
    if (!LandlockRules::make(LandlockRules::Scope::files)) { \
        GTEST_SKIP() << "this kernel has no Landlock";       \
    }                                                        \
    static_assert(true)

class Confined : public testing::Test {
   protected:
    void SetUp() override {
        for (const char* name : {"read", "write", "other"}) {
            std::filesystem::create_directory(directory_.path(name));
            write_file(directory_.path(name) + "/file", "x");
        }
        trees_.readable = {directory_.path("read"), directory_.path("other/single"),
                           directory_.path("absent")};
        trees_.writable = {directory_.path("write")};
        write_file(directory_.path("other/single"), "x");
    }

    TempDirectory directory_;
    FileTrees trees_;
};

TEST_F(Confined, ReachesItsTreesAndNoOthers) {
    SKIP_WITHOUT_LANDLOCK();
    const int failed = in_child([&] {
        if (confine_to(trees_) != Confinement::done)
            return 1;
        if (!can_read(directory_.path("read/file")))
            return 2;
        if (can_create(directory_.path("read/file")))
            return 3;
        if (can_create(directory_.path("read/new")))
            return 4;
        if (!can_create(directory_.path("write/new")))
            return 5;
        if (::rename(directory_.path("write/new").c_str(), directory_.path("write/n2").c_str()))
            return 6;
        if (::unlink(directory_.path("write/n2").c_str()))
            return 7;
        if (can_read(directory_.path("other/file")))
            return 8;
        if (!can_read(directory_.path("other/single")))
            return 9;
        if (can_read("/root") || can_create(directory_.path("new")))
            return 10;
        if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
            return 11;
        if (!can_read("/proc/self/status") || !can_read("/etc/hosts"))
            return 12;
        return 0;
    });
    EXPECT_EQ(failed, 0) << "check " << failed;
}

TEST_F(Confined, MakesSocketsWhereItMayWrite) {
    SKIP_WITHOUT_LANDLOCK();
    const int failed = in_child([&] {
        if (confine_to(trees_) != Confinement::done)
            return 1;
        if (!listen_at(directory_.path("write/s")))
            return 2;
        return listen_at(directory_.path("read/s")) ? 3 : 0;
    });
    EXPECT_EQ(failed, 0) << "check " << failed;
}

TEST_F(Confined, StartsProgramsOfTheSystem) {
    SKIP_WITHOUT_LANDLOCK();
    const int failed = in_child([&] {
        if (confine_to(trees_) != Confinement::done)
            return 1;
        ::execl("/bin/sh", "sh", "-c", "test \"$(cat /etc/hostname || echo x)\" != ''",
                static_cast<char*>(nullptr));
        return 2;
    });
    EXPECT_EQ(failed, 0) << "check " << failed;
}

#define SKIP_UNLESS_ROOT()                              \
    if (::geteuid() != 0) {                             \
        GTEST_SKIP() << "only root can become another"; \
    }                                                   \
    static_assert(true)

TEST(Privileges, AreDroppedWithNoWayBack) {
    SKIP_UNLESS_ROOT();
    const passwd* nobody = ::getpwnam("nobody");
    ASSERT_NE(nobody, nullptr);
    const uid_t uid = nobody->pw_uid;
    const gid_t gid = nobody->pw_gid;
    const int failed = in_child([&] {
        if (!drop_privileges("nobody"))
            return 1;
        if (::getuid() != uid || ::geteuid() != uid)
            return 2;
        if (::getgid() != gid || ::getegid() != gid)
            return 3;
        std::array<gid_t, 64> groups{};
        const int count = ::getgroups(groups.size(), groups.data());
        for (int i = 0; i < count; ++i) {
            if (groups[static_cast<std::size_t>(i)] == 0)
                return 4;
        }
        if (::setuid(0) == 0 || ::setgid(0) == 0)
            return 5;
        if (!drop_privileges("nobody"))
            return 6;
        return drop_privileges("root") ? 7 : 0;
    });
    EXPECT_EQ(failed, 0) << "check " << failed;
}

TEST(Privileges, UnknownUserIsNamed) {
    const auto dropped = drop_privileges("no-such-user-here");
    ASSERT_FALSE(dropped);
    EXPECT_EQ(dropped.error().code, Errc::not_found);
    EXPECT_NE(dropped.error().message.find("no-such-user-here"), std::string::npos);
}

TEST(Privileges, NewOnesAreForbidden) {
    EXPECT_EQ(
        in_child([] {
            return forbid_new_privileges() && ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 1;
        }),
        0);
}

TEST(OpenFiles, AreRaisedToTheHardLimit) {
    EXPECT_EQ(in_child([] {
                  rlimit limit{};
                  ::getrlimit(RLIMIT_NOFILE, &limit);
                  const rlim_t most = limit.rlim_max;
                  limit.rlim_cur = 64;
                  ::setrlimit(RLIMIT_NOFILE, &limit);
                  if (raise_open_files() != most)
                      return 1;
                  ::getrlimit(RLIMIT_NOFILE, &limit);
                  return limit.rlim_cur == most ? 0 : 2;
              }),
              0);
}

// --- systemd

class Notify : public testing::Test {
   protected:
    std::string bind_at(const std::string& address) {
        inbox_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        address.copy(to.sun_path, sizeof to.sun_path - 1);
        if (to.sun_path[0] == '@') {
            to.sun_path[0] = '\0';
        }
        const auto length = offsetof(sockaddr_un, sun_path) + address.size();
        EXPECT_EQ(
            ::bind(inbox_.get(), reinterpret_cast<sockaddr*>(&to), static_cast<socklen_t>(length)),
            0);
        return address;
    }

    std::string received() {
        std::string text(4096, '\0');
        const ssize_t n = ::recv(inbox_.get(), text.data(), text.size(), 0);
        text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return text;
    }

    TempDirectory directory_;
    UniqueFd inbox_;
};

TEST_F(Notify, SaysWhatSystemdWaitsFor) {
    const ServiceNotify notify(bind_at(directory_.path("notify")));
    notify.ready("serving 3\ndisks");
    EXPECT_EQ(received(), "READY=1\nSTATUS=serving 3 disks\nMAINPID=" + std::to_string(::getpid()));
    notify.reloading();
    EXPECT_TRUE(received().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    notify.stopping("draining");
    EXPECT_EQ(received(), "STOPPING=1\nSTATUS=draining");
    notify.keep_alive();
    EXPECT_EQ(received(), "WATCHDOG=1");
    notify.extend_timeout(std::chrono::seconds(2));
    EXPECT_EQ(received(), "EXTEND_TIMEOUT_USEC=2000000");
}

TEST_F(Notify, ReachesAnAbstractSocket) {
    const ServiceNotify notify(
        bind_at("@signpost-test-" + std::to_string(::getpid()) + "-" +
                std::filesystem::path(directory_.path()).filename().string()));
    notify.status("here");
    EXPECT_EQ(received(), "STATUS=here");
}

TEST_F(Notify, TakesTheEnvironmentAway) {
    ::setenv("NOTIFY_SOCKET", bind_at(directory_.path("notify")).c_str(), 1);
    ::setenv("WATCHDOG_USEC", "3000000", 1);
    ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
    const ServiceNotify notify = ServiceNotify::take_environment();
    EXPECT_TRUE(notify.is_wanted());
    EXPECT_EQ(notify.keep_alive_interval(), std::chrono::microseconds(1'500'000));
    EXPECT_EQ(::getenv("NOTIFY_SOCKET"), nullptr);
    EXPECT_EQ(::getenv("WATCHDOG_USEC"), nullptr);
    EXPECT_FALSE(ServiceNotify::take_environment().is_wanted());
}

TEST_F(Notify, WatchdogOfAnotherProcessIsNotOurs) {
    ::setenv("NOTIFY_SOCKET", "/nowhere", 1);
    ::setenv("WATCHDOG_USEC", "3000000", 1);
    ::setenv("WATCHDOG_PID", "1", 1);
    EXPECT_FALSE(ServiceNotify::take_environment().keep_alive_interval());
}

TEST_F(Notify, NobodyListeningHoldsNobodyUp) {
    const ServiceNotify to_nobody(directory_.path("nobody"));
    to_nobody.ready("x");
    ServiceNotify().ready("x");
    EXPECT_FALSE(ServiceNotify("vsock:2:3").is_wanted());
    EXPECT_FALSE(ServiceNotify("/" + std::string(200, 'x')).is_wanted());
}

// As systemd passes them: from descriptor 3 on, in a child of our own.
int with_passed(const std::vector<int>& sockets, const char* names,
                const std::function<int()>& checks) {
    return in_child([&] {
        for (std::size_t i = 0; i < sockets.size(); ++i) {
            const int copy = ::fcntl(sockets[i], F_DUPFD, 100);
            ::dup2(copy, 3 + static_cast<int>(i));
        }
        ::setenv("LISTEN_FDS", std::to_string(sockets.size()).c_str(), 1);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        ::setenv("LISTEN_FDNAMES", names, 1);
        return checks();
    });
}

TEST(PassedSockets, AreTakenWithTheirNames) {
    const TempDirectory directory;
    const auto first = listen_at(directory.path("a"));
    const auto second = listen_at(directory.path("b"));
    ASSERT_TRUE(first && second);
    const int failed = with_passed({first->get(), second->get()}, "nbd", [] {
        if (passed_socket_count() != 2)
            return 1;
        const auto taken = take_passed_sockets();
        if (!taken || taken->size() != 2)
            return 2;
        if ((*taken)[0].name != "nbd" || (*taken)[1].name != "unknown")
            return 3;
        if ((::fcntl((*taken)[1].fd.get(), F_GETFD) & FD_CLOEXEC) == 0)
            return 4;
        if ((::fcntl((*taken)[1].fd.get(), F_GETFL) & O_NONBLOCK) == 0)
            return 5;
        return passed_socket_count() == 0 && ::getenv("LISTEN_FDS") == nullptr ? 0 : 6;
    });
    EXPECT_EQ(failed, 0) << "check " << failed;
}

TEST(PassedSockets, ThatDoNotListenAreRefused) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const UniqueFd near(ends[0]);
    const UniqueFd far(ends[1]);
    EXPECT_EQ(with_passed({near.get()}, "", [] { return take_passed_sockets() ? 1 : 0; }), 0);
}

TEST(PassedSockets, OfAnotherProcessAreNotOurs) {
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_PID", "1", 1);
    EXPECT_EQ(passed_socket_count(), 0);
    const auto taken = take_passed_sockets();
    ASSERT_TRUE(taken);
    EXPECT_TRUE(taken->empty());
}

}  // namespace
}  // namespace signpost::test
