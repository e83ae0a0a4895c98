// SPDX-License-Identifier: BSD-3-Clause
//
// AuditLog keeps one JSON line for each decision about a client: who, from where, which disk, what
// was asked, what was answered and why. No secret is ever in a line, and every text is escaped.
//
// A line is handed to a writer thread through a bounded queue, so that a slow disk never holds up
// an event loop. When the queue is full, lines are dropped and counted; when a write fails (a full
// disk), the log is told once, writing is tried again with each line, and what was lost is stated
// in the audit file itself ({"op":"lost","lines":N}) as soon as a line can be written again.
// Serving goes on meanwhile: an operator who wants it otherwise watches for that line.
//
// Lifetime: the destructor writes what is queued, at most for kLastWords. Threads: any.

#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "nbd-server/disk/log.h"
#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/server/client_identity.h"

namespace signpost {

// What there is to say; empty texts and zeros are left out of the line.
struct AuditRecord {
    std::string_view op{};  // list, info, go, deny, relay, failover, close, ticket, reload …
    std::uint64_t session = 0;
    const ClientIdentity* client = nullptr;
    std::string_view export_name{};  // as asked for
    std::string_view disk{};         // what it meant
    std::string_view right{};        // what was granted
    std::string_view rule{};         // that decided
    std::string_view peer{};         // of a relay
    std::string_view nonce{};        // of a ticket
    std::string_view path{};         // of a file on the disk
    std::string_view writer{};       // to whom RIGHT says that the disk was given, or not
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
    std::chrono::microseconds duration{0};
    std::string_view reason{};
};

class AuditLog {
   public:
    static constexpr std::size_t kMaxQueued = 16384;  // lines
    static constexpr std::chrono::seconds kLastWords{2};

    // FILE: appended to, made with mode 0640 when it is missing; "-": standard error. Fails with
    // denied, not_found, invalid (not a regular file) or io.
    static Result<std::unique_ptr<AuditLog>> open(const std::string& file, Log& log);

    AuditLog(const AuditLog&) = delete;
    AuditLog& operator=(const AuditLog&) = delete;
    ~AuditLog();

    void write(const AuditRecord& record);

    // Opens the file anew, after somebody has moved it away; the old one is kept if that fails.
    Result<void> reopen();

    // Waits until everything that was queued has been written, or could not be.
    void flush();

    std::uint64_t lost() const;  // lines so far

   private:
    struct Missing {
        std::uint64_t lost = 0;    // now
        std::uint64_t unsaid = 0;  // and before, as far as the file does not state it
    };

    AuditLog(std::string file, UniqueFd fd, Log& log);

    void run();
    void write_batch(const std::deque<std::string>& lines, Missing& missing);
    bool write_line(std::string_view line);

    const std::string file_;
    Log& log_;

    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::condition_variable written_;
    std::deque<std::string> queue_;
    UniqueFd reopened_;
    bool writing_ = false;
    bool stopping_ = false;
    std::chrono::steady_clock::time_point deadline_{};  // when stopping
    std::uint64_t lost_ = 0;
    std::uint64_t unsaid_ = 0;  // of the lost ones, those that the file does not state yet

    UniqueFd fd_;  // the thread's own, as the next
    bool failing_ = false;
    std::thread thread_;
};

// The line itself, without a newline. TIME: milliseconds since 1970; MONOTONIC: since boot.
std::string audit_line(const AuditRecord& record, std::int64_t time_ms, std::int64_t monotonic_ms);

}  // namespace signpost
