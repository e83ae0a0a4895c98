// SPDX-License-Identifier: BSD-3-Clause
//
// A client's live session, as the server tells of it: in the console, to `signpost sessions`, and
// summed up in the metrics.
//
// Values; pure. Threads: any.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"

namespace signpost {

inline constexpr unsigned kSampleSeconds = 5;
inline constexpr std::size_t kSamples = 60;  // the last five minutes

struct SessionReport {
    std::uint64_t id = 0;
    std::string disk;
    std::string export_name;  // as the client called it
    std::string client;
    bool tls = false;
    std::string route;  // "local", "relay", or "cache": relayed, and kept here
    std::string peer;   // that it is relayed from now; empty: none, or not known
    std::uint64_t read = 0;
    std::uint64_t written = 0;
    std::int64_t since = 0;                   // seconds since 1970
    std::vector<std::uint64_t> samples = {};  // bytes of both kinds a second; the oldest first

    // Bytes a second, of the last sample.
    std::uint64_t rate() const { return samples.empty() ? 0 : samples.back(); }
};

// `{"server": …, "sample_seconds": 5, "sessions": […]}`, in ASCII, indented.
std::string sessions_json(std::string_view server, const std::vector<SessionReport>& sessions);

// One session a line.
std::string session_lines(const std::vector<SessionReport>& sessions);

struct SessionsAnswer {
    std::string server;
    std::vector<SessionReport> sessions;
};

// Of what a server has said, which need not be one of ours: invalid.
Result<SessionsAnswer> parse_sessions(std::string_view json);

// The sentence of an answer that is an error; empty: it has none.
std::string error_of_answer(std::string_view json);

}  // namespace signpost
