// SPDX-License-Identifier: BSD-3-Clause
//
// ServerLog writes the disk layer's and the server's lines to standard error, one write each:
//
//     text   2026-03-01T12:00:00.123Z level=info msg="serving on [::]:10809"
//            or, under systemd's journal, <6>level=info msg="…" (the journal has the time)
//     json   {"time":"2026-03-01T12:00:00.123Z","level":"info","msg":"…"}
//
// What lies in a line is escaped: no control character, no half of a UTF-8 sequence gets out.
//
// A flood of one and the same line is cut: after kBurst in a second the rest of that second is
// counted, and the count is told. When nobody reads standard error, lines are lost and counted, for
// writing never waits. Threads: any.

#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "nbd-server/disk/log.h"
#include "nbd-server/server/configuration.h"

namespace signpost {

class ServerLog final : public Log {
   public:
    static constexpr unsigned kBurst = 20;

    struct Options {
        LogFormat format = LogFormat::text;
        bool verbose = false;  // else debug lines go nowhere
        bool journal = false;  // see to_journal()
        int fd = 2;            // stays open as long as the log lives
    };

    explicit ServerLog(Options options) : options_(options) {}

    void error(std::string_view line) override { write("error", 3, line); }
    void warning(std::string_view line) { write("warning", 4, line); }
    void info(std::string_view line) override { write("info", 6, line); }
    void debug(std::string_view line) override;

    bool verbose() const { return options_.verbose; }

    // True when FD is the stream that systemd's journal reads (JOURNAL_STREAM).
    static bool to_journal(int fd);

   private:
    void write(std::string_view level, int priority, std::string_view line);
    void put(std::string_view level, int priority, std::string_view line);
    bool try_write(std::string_view text);
    bool is_flood(std::string_view line);

    const Options options_;
    std::mutex mutex_;  // guards what follows
    std::string last_;
    std::chrono::steady_clock::time_point since_{};
    unsigned repeated_ = 0;
    std::uint64_t unread_ = 0;  // lines for which there was no room
};

// The line without its newline; TIME: milliseconds since 1970.
struct LogPart {
    std::string_view level;
    int priority;  // of syslog
    std::string_view text;
};
std::string log_line(const LogPart& part, const ServerLog::Options& options, std::int64_t time_ms);

// "2026-03-01T12:00:00.123Z"
std::string time_text(std::int64_t time_ms);

// CLOCK_REALTIME or another, in milliseconds.
std::int64_t clock_ms(int clock);

}  // namespace signpost
