// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/helper_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <semaphore>

#include "nbd-server/disk/helper_sandbox.h"
#include "nbd-server/disk/private_directory.h"
#include "nbd-server/disk/process_keeper.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/programs.h"

namespace signpost::test {
namespace {

using namespace std::chrono_literals;

bool has_landlock() {
    return static_cast<bool>(make_ruleset({}, false, "/bin/sh"));
}

std::string status_field(pid_t pid, const std::string& field) {
    const std::string text = read_whole_file(fmt::format("/proc/{}/status", pid));
    const std::size_t begin = text.find("\n" + field + ":\t") + field.size() + 3;
    return text.substr(begin, text.find('\n', begin) - begin);
}

// A helper that is a shell script or "sleep": what it may and may not do.
class HelperProcess : public testing::Test {
   protected:
    HelperProcess() {
        write_file(directory_.path("image"), "content of the image\n");
        write_file(directory_.path("other"), "content of another file\n");
        image_.reset(::open(directory_.path("image").c_str(), O_RDONLY | O_CLOEXEC));
        listener_ = std::move(*listen_at(directory_.path("socket")));
    }

    ProcessKeeper::Start order(const std::string& program, const Words& arguments) {
        ProcessKeeper::Start start;
        start.command.program = *find_program(program);
        start.command.arguments = arguments;
        start.command.listener = listener_.get();
        start.command.files = {image_.get()};
        start.label = "test helper";
        return start;
    }

    // What the script says on its standard error, behind its exit status.
    std::string run_script(const std::string& script) {
        auto process = keeper_.start(order("sh", {"-c", script}));
        EXPECT_TRUE(process) << process.error().message;
        return process ? keeper_.wait_ended(*process, 10s) : "";
    }

    ProcessKeeper::ProcessPtr sleep() {
        auto process = keeper_.start(order("sleep", {"600"}));
        EXPECT_TRUE(process) << process.error().message;
        return process ? *process : nullptr;
    }

    // Once exec is through; fork alone is too early to look at it.
    pid_t sleeper() {
        for (int tries = 0; tries < 100'000; ++tries) {
            const auto found = children_called("sleep", ::getpid());
            if (!found.empty()) {
                return found.front();
            }
            ::sched_yield();
        }
        ADD_FAILURE() << "no helper is running";
        return -1;
    }

    TempDirectory directory_;
    UniqueFd image_;
    UniqueFd listener_;
    KeptLog log_;
    ProcessKeeper keeper_{log_};
};

TEST_F(HelperProcess, IsToldOfItsSocketAsBySystemd) {
    EXPECT_EQ(run_script("test $LISTEN_PID = $$ && echo fds $LISTEN_FDS >&2; exit 5"),
              "status 5: fds 1");
}

TEST_F(HelperProcess, HasItsFilesFromDescriptorFourOnAndNoOthers) {
    EXPECT_EQ(run_script("read line <&4; echo $line >&2; (: <&5) 2>/dev/null || echo no five >&2"),
              "status 0: content of the image: no five");
}

TEST_F(HelperProcess, HasOnlyTheEnvironmentThatItNeeds) {
    ::setenv("SIGNPOST_SECRET", "x", 1);
    EXPECT_EQ(run_script("echo ${SIGNPOST_SECRET-none} >&2"), "status 0: none");
    ::unsetenv("SIGNPOST_SECRET");
}

TEST_F(HelperProcess, MayOpenItsFileAnewButNoOther) {
    if (!has_landlock()) {
        GTEST_SKIP() << "this kernel has no Landlock";
    }
    EXPECT_EQ(run_script("read line </proc/self/fd/4; echo $line >&2"),
              "status 0: content of the image");
    const std::string answer =
        run_script("read line <" + directory_.path("other") + "; echo $line >&2");
    EXPECT_EQ(answer.find("content"), std::string::npos) << answer;
    EXPECT_NE(run_script("read line </etc/passwd"), "status 0");
}

TEST_F(HelperProcess, MayNotWriteToAFileThatItShallRead) {
    if (!has_landlock()) {
        GTEST_SKIP() << "this kernel has no Landlock";
    }
    EXPECT_NE(run_script("echo overwritten >/proc/self/fd/4"), "status 0");
    EXPECT_EQ(read_whole_file(directory_.path("image")), "content of the image\n");
}

TEST_F(HelperProcess, HasNoNetwork) {
    const auto process = sleep();
    const std::string its = fmt::format("/proc/{}/ns/net", sleeper());
    std::error_code error;
    const auto its_network = std::filesystem::read_symlink(its, error);
    ASSERT_FALSE(error);
    if (its_network == std::filesystem::read_symlink("/proc/self/ns/net")) {
        ASSERT_NE(::unshare(CLONE_NEWNET), 0) << "it could have been taken away";
        GTEST_SKIP() << "this process may not make network namespaces";
    }
}

TEST_F(HelperProcess, StartsWithCleanSignals) {
    const auto before = ::signal(SIGPIPE, SIG_IGN);
    const auto process = sleep();
    const pid_t pid = sleeper();
    EXPECT_EQ(status_field(pid, "SigBlk"), "0000000000000000");
    EXPECT_EQ(status_field(pid, "SigIgn"), "0000000000000000");
    ::signal(SIGPIPE, before);
}

TEST_F(HelperProcess, HasASessionAndLimitsOfItsOwn) {
    const auto process = sleep();
    const pid_t pid = sleeper();
    EXPECT_EQ(::getsid(pid), pid);
    EXPECT_EQ(status_field(pid, "NoNewPrivs"), "1");
    const std::string limits = read_whole_file(fmt::format("/proc/{}/limits", pid));
    EXPECT_NE(limits.find("Max core file size        0 "), std::string::npos) << limits;
#ifndef __SANITIZE_ADDRESS__  // such a build has no limit on addresses
    EXPECT_NE(limits.find("Max address space         8589934592 "), std::string::npos) << limits;
#endif
}

TEST_F(HelperProcess, ThatCannotBeExecutedIsReported) {
    write_file(directory_.path("broken"), "#!/nowhere/interpreter\n");
    ::chmod(directory_.path("broken").c_str(), 0700);
    auto process = keeper_.start(order(directory_.path("broken"), {}));
    ASSERT_TRUE(process);
    EXPECT_EQ(keeper_.wait_ended(*process, 10s), "could not be executed");
}

TEST_F(HelperProcess, KeepsOnlyTheLastWordsOfATalker) {
    EXPECT_EQ(run_script("i=0; while test $i -lt 2000; do echo line $i >&2; i=$((i+1)); done"),
              "status 0: line 1996: line 1997: line 1998: line 1999");
}

TEST_F(HelperProcess, EscapesWhatItPrints) {
    EXPECT_EQ(run_script("printf 'a\\033[31mb\\n' >&2"), "status 0: a\\x1b[31mb");
}

TEST_F(HelperProcess, EndsAtItsTimeUnlessItIsHeld) {
    const auto process = sleep();
    keeper_.end(process, ProcessKeeper::Clock::now() + 1h);
    EXPECT_TRUE(keeper_.hold(process));
    keeper_.end(process);
    EXPECT_EQ(keeper_.wait_ended(process, 10s), "signal 9");
    EXPECT_FALSE(keeper_.hold(process));
    EXPECT_FALSE(keeper_.end(process));
}

TEST_F(HelperProcess, IsAskedPolitelyWhenItWrites) {
    std::binary_semaphore ended{0};
    std::atomic<bool> was_asked{false};
    auto start =
        order("sh", {"-c", "trap 'exit 7' TERM; echo ready >&4; while :; do sleep 1; done"});
    const std::string fifo = directory_.path("ready");
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    const UniqueFd ready(::open(fifo.c_str(), O_RDWR | O_CLOEXEC));
    start.command.files = {ready.get()};
    start.command.writes_files = true;
    start.polite = true;
    start.ended = [&](bool asked, const std::string&) {
        was_asked = asked;
        ended.release();
    };
    const auto process = keeper_.start(std::move(start));
    ASSERT_TRUE(process);
    char byte = 0;
    ASSERT_EQ(::read(ready.get(), &byte, 1), 1);
    keeper_.end(*process);
    EXPECT_EQ(keeper_.wait_ended(*process, 20s).substr(0, 8), "status 7");
    ASSERT_TRUE(ended.try_acquire_for(10s));
    EXPECT_TRUE(was_asked);
}

// The program that keeps a helper is itself killed in a way that it cannot notice.
TEST(HelperParent, ThatIsKilledTakesItsHelperWithIt) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd from_child(ends[0]);
    UniqueFd to_parent(ends[1]);
    const pid_t parent = ::fork();
    if (parent == 0) {
        KeptLog log;
        ProcessKeeper keeper(log);
        const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        ProcessKeeper::Start start;
        start.command.program = *find_program("sleep");
        start.command.arguments = {"600"};
        start.command.listener = null.get();
        const auto process = keeper.start(std::move(start));
        std::vector<pid_t> found;
        while (found.empty()) {
            found = children_called("sleep", ::getpid());
        }
        if (::write(to_parent.get(), &found[0], sizeof(found[0])) != sizeof(found[0])) {
            ::_exit(1);
        }
        ::pause();
        ::_exit(1);
    }
    to_parent.reset();
    pid_t helper = -1;
    ASSERT_EQ(::read(from_child.get(), &helper, sizeof(helper)), ssize_t{sizeof(helper)});
    ASSERT_EQ(::kill(helper, 0), 0);
    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);
    EXPECT_TRUE(wait_until_gone(helper));
}

TEST(HelperKeeper, EndsWhatItKeepsWhenItEnds) {
    KeptLog log;
    pid_t helper = -1;
    {
        ProcessKeeper keeper(log);
        const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        ProcessKeeper::Start start;
        start.command.program = *find_program("sleep");
        start.command.arguments = {"600"};
        start.command.listener = null.get();
        ASSERT_TRUE(keeper.start(std::move(start)));
        while (helper < 0) {
            const auto found = children_called("sleep", ::getpid());
            helper = found.empty() ? -1 : found.front();
        }
    }
    EXPECT_NE(::kill(helper, 0), 0);
}

TEST(PrivateDirectory, IsForItsUserAloneAndGoesAway) {
    std::string path;
    {
        const auto directory = PrivateDirectory::make("signpost-test");
        ASSERT_TRUE(directory) << directory.error().message;
        path = directory->path();
        struct stat status {};
        ASSERT_EQ(::stat(path.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 0777, 0700U);
        ASSERT_TRUE(listen_at(path + "/1"));
    }
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(PrivateDirectory, RemovesWhatAKilledProcessLeftButNotWhatIsInUse) {
    TempDirectory runtime;
    ::setenv("RUNTIME_DIRECTORY", runtime.path().c_str(), 1);
    std::filesystem::create_directory(runtime.path("signpost-test-left00"));
    write_file(runtime.path("signpost-test-left00/1"), "");
    std::filesystem::create_directory(runtime.path("unrelated"));
    {
        const auto first = PrivateDirectory::make("signpost-test");
        const auto second = PrivateDirectory::make("signpost-test");
        ASSERT_TRUE(first && second);
        EXPECT_TRUE(std::filesystem::exists(first->path()));
        EXPECT_TRUE(first->path().starts_with(runtime.path()));
    }
    ::unsetenv("RUNTIME_DIRECTORY");
    EXPECT_FALSE(std::filesystem::exists(runtime.path("signpost-test-left00")));
    EXPECT_TRUE(std::filesystem::exists(runtime.path("unrelated")));
}

TEST(FindProgram, LooksOnThePathForNamesOnly) {
    EXPECT_TRUE(find_program("sh"));
    EXPECT_FALSE(find_program("signpost-no-such-program"));
    EXPECT_TRUE(find_program("/bin/sh"));
    EXPECT_FALSE(find_program("/bin/signpost-no-such-program"));
}

}  // namespace
}  // namespace signpost::test
