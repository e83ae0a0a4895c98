// SPDX-License-Identifier: BSD-3-Clause
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "nbd-server/server/audit_log.h"
#include "nbd-server/server/json_line.h"
#include "nbd-server/server/server_log.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/programs.h"

namespace signpost::test {
namespace {

using nlohmann::json;

TEST(JsonText, ReadsBackTheSame) {
    std::string text;
    for (int c = 0; c < 0x80; ++c) {
        text += static_cast<char>(c);
    }
    text += "\u00e9\u20ac\U0001f600\u202e\u2028\u0085";
    EXPECT_EQ(json::parse(json_quoted(text)).get<std::string>(), text);
}

TEST(JsonText, ShowsNothingThatMovesOrHidesText) {
    for (const unsigned char c : json_quoted("a\n\x1b[1m\x7f\u202e\u2066\u0085\u2028")) {
        EXPECT_TRUE(c >= 0x20 && c < 0x7f) << static_cast<int>(c);
    }
}

TEST(JsonText, ReplacesWhatIsNotUtf8) {
    EXPECT_EQ(json_quoted("a\xff\xc3"), "\"a\\ufffd\\ufffd\"");
}

// What a log at a pipe has written.
class LogLines : public testing::Test {
   protected:
    void SetUp() override {
        int ends[2];
        ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        in_.reset(ends[0]);
        out_.reset(ends[1]);
    }

    ServerLog::Options to_pipe(LogFormat format = LogFormat::text) {
        ServerLog::Options options;
        options.format = format;
        options.fd = out_.get();
        return options;
    }

    std::string written() {
        std::string text(65536, '\0');
        const ssize_t n = ::read(in_.get(), text.data(), text.size());
        text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return text;
    }

    UniqueFd in_;
    UniqueFd out_;
};

TEST_F(LogLines, HaveTimeLevelAndMessage) {
    ServerLog(to_pipe()).info("serving \"x\"\n2");
    const std::string line = written();
    EXPECT_EQ(line.substr(24), " level=info msg=\"serving \\\"x\\\"\\u000a2\"\n");
    EXPECT_EQ(line[10], 'T');
    EXPECT_EQ(line[23], 'Z');
}

TEST_F(LogLines, OfTheJournalHaveAPriorityAndNoTime) {
    auto options = to_pipe();
    options.journal = true;
    ServerLog log(options);
    log.error("bad");
    EXPECT_EQ(written(), "<3>level=error msg=\"bad\"\n");
    log.warning("odd");
    EXPECT_EQ(written(), "<4>level=warning msg=\"odd\"\n");
}

TEST_F(LogLines, OfJsonAreJson) {
    ServerLog(to_pipe(LogFormat::json)).error("disk a\xff is gone");
    const json line = json::parse(written());
    EXPECT_EQ(line["level"], "error");
    EXPECT_EQ(line["msg"], "disk a\ufffd is gone");
}

TEST_F(LogLines, OfDebuggingComeOnlyWhenAskedFor) {
    auto options = to_pipe();
    ServerLog(options).debug("quiet");
    EXPECT_EQ(written(), "");
    options.verbose = true;
    ServerLog(options).debug("loud");
    EXPECT_NE(written().find("level=debug msg=\"loud\""), std::string::npos);
}

TEST_F(LogLines, ThatAreVeryLongAreCut) {
    ServerLog(to_pipe()).error(std::string(20'000, 'x'));
    EXPECT_LT(written().size(), 9000U);
}

TEST_F(LogLines, ThatRepeatAreCutAndCounted) {
    ServerLog log(to_pipe());
    for (int i = 0; i < 1000; ++i) {
        log.error("accept failed");
    }
    log.error("something else");
    const std::string text = written();
    EXPECT_LE(std::ranges::count(text, '\n'), 3 * ServerLog::kBurst);
    EXPECT_NE(text.find("times more"), std::string::npos);
    EXPECT_NE(text.find("something else"), std::string::npos);
}

TEST_F(LogLines, ThatNobodyReadsAreLostAndCounted) {
    // Blocking, as standard error is.
    ASSERT_EQ(::fcntl(out_.get(), F_SETFL, 0), 0);
    ServerLog log(to_pipe());
    for (int i = 0; i < 5000; ++i) {
        log.info(std::to_string(i) + std::string(100, 'x'));
    }
    while (!written().empty()) {
    }
    log.info("at last");
    const std::string text = written();
    EXPECT_NE(text.find(" lines were lost, nobody read them"), std::string::npos) << text;
    EXPECT_NE(text.find("at last"), std::string::npos);
}

TEST_F(LogLines, KnowTheJournalByItsStream) {
    struct stat status {};
    ASSERT_EQ(::fstat(out_.get(), &status), 0);
    const std::string stream = std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
    ::setenv("JOURNAL_STREAM", stream.c_str(), 1);
    EXPECT_TRUE(ServerLog::to_journal(out_.get()));
    ::setenv("JOURNAL_STREAM", "1:1", 1);
    EXPECT_FALSE(ServerLog::to_journal(out_.get()));
    ::unsetenv("JOURNAL_STREAM");
    EXPECT_FALSE(ServerLog::to_journal(out_.get()));
}

class Audit : public testing::Test {
   protected:
    std::unique_ptr<AuditLog> opened() {
        auto audit = AuditLog::open(directory_.path("audit"), log_);
        EXPECT_TRUE(audit) << audit.error().message;
        return audit ? std::move(*audit) : nullptr;
    }

    std::vector<json> lines(const std::string& name = "audit") {
        std::istringstream text(read_whole_file(directory_.path(name)));
        std::vector<json> result;
        for (std::string line; std::getline(text, line);) {
            result.push_back(json::parse(line, nullptr, false));
            EXPECT_TRUE(result.back().is_object()) << line;
        }
        return result;
    }

    TempDirectory directory_;
    KeptLog log_;
};

TEST_F(Audit, LineSaysWhoAskedForWhatAndWhatCameOfIt) {
    ClientIdentity client;
    client.address = *IpAddress::parse("10.0.0.7");
    client.port = 4711;
    client.tls = true;
    client.dn = "CN=\"x\"";
    client.via = "alpha";
    AuditRecord record{.op = "deny", .session = 7, .client = &client};
    record.export_name = "a\nb\u202e\xff";
    record.rule = "signpost.toml:12";
    record.bytes_read = 5;
    record.duration = std::chrono::microseconds(9);
    record.reason = "denied";
    const std::string line = audit_line(record, 1'772'366'400'123, 42);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_EQ(json::parse(line),
              json::parse(R"({"time":"2026-03-01T12:00:00.123Z","monotonic_ms":42,"op":"deny",
                "session":7,"address":"10.0.0.7","port":4711,"tls":1,"dn":"CN=\"x\"",
                "via":"alpha","export":"a\nb\u202e\ufffd","rule":"signpost.toml:12",
                "bytes_read":5,"duration_us":9,"reason":"denied"})"));
}

TEST_F(Audit, LinesOfManyThreadsStayWhole) {
    auto audit = opened();
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&] {
                for (std::uint64_t i = 1; i <= 500; ++i) {
                    audit->write({.op = "go", .session = i});
                }
            });
        }
    }
    audit->flush();
    EXPECT_EQ(lines().size(), 2000U);
    EXPECT_EQ(audit->lost(), 0U);
}

TEST_F(Audit, DestructorWritesWhatIsQueued) {
    auto audit = opened();
    for (int i = 0; i < 1000; ++i) {
        audit->write({.op = "go"});
    }
    audit.reset();
    EXPECT_EQ(lines().size(), 1000U);
}

TEST_F(Audit, AppendsToWhatIsThere) {
    opened()->write({.op = "go"});
    opened()->write({.op = "close"});
    EXPECT_EQ(lines().size(), 2U);
}

TEST_F(Audit, ReopenFollowsAFileThatWasMovedAway) {
    auto audit = opened();
    audit->write({.op = "go"});
    audit->flush();
    std::filesystem::rename(directory_.path("audit"), directory_.path("audit.1"));
    ASSERT_TRUE(audit->reopen());
    audit->write({.op = "close"});
    audit->flush();
    EXPECT_EQ(lines("audit.1").size(), 1U);
    EXPECT_EQ(lines("audit").size(), 1U);
}

TEST_F(Audit, FileThatCannotBeOneIsRefused) {
    EXPECT_EQ(AuditLog::open(directory_.path("no/audit"), log_).error().code, Errc::not_found);
    EXPECT_FALSE(AuditLog::open(directory_.path(), log_));
    ASSERT_EQ(::mkfifo(directory_.path("fifo").c_str(), 0600), 0);
    EXPECT_FALSE(AuditLog::open(directory_.path("fifo"), log_));
}

// The limit on file sizes is a disk that is full, for this process alone.
class FileSizeLimit {
   public:
    explicit FileSizeLimit(rlim_t bytes) {
        ::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;
    ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

   private:
    rlimit before_{};
};

TEST_F(Audit, FullDiskLosesLinesAndTheFileSaysHowMany) {
    auto audit = opened();
    {
        const FileSizeLimit full(1000);
        for (int i = 0; i < 100; ++i) {
            audit->write({.op = "go"});
        }
        audit->flush();
        EXPECT_GT(audit->lost(), 80U);
        EXPECT_TRUE(log_.has("audit log"));
        EXPECT_EQ(log_.lines().size(), 1U);
    }
    audit->write({.op = "close"});
    audit->flush();
    const auto all = lines();
    ASSERT_GE(all.size(), 2U);
    EXPECT_EQ(all[all.size() - 2]["op"], "lost");
    EXPECT_EQ(all[all.size() - 2]["lines"], audit->lost());
    EXPECT_EQ(all.back()["op"], "close");
    EXPECT_EQ(all.size() - 2 + audit->lost(), 100U);
}

}  // namespace
}  // namespace signpost::test
