// SPDX-License-Identifier: BSD-3-Clause
//
// What comes to the console from outside and is taken apart by us: the Host header, the file of
// users, and what a server says of its sessions. The first byte says which.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "nbd-server/http/http_host.h"
#include "nbd-server/http/metrics_text.h"
#include "nbd-server/http/session_report.h"
#include "nbd-server/http/sign_in.h"

namespace {

void check(bool holds) {
    if (!holds) {
        std::abort();
    }
}

void look_at_host(std::string_view text) {
    const std::string host = signpost::host_of_header(text);
    check(host.size() <= text.size());
    check(host.find('/') == host.npos && host.find('@') == host.npos);
    // What is a host is one again, and an address only where it was one.
    if (host.find(':') == host.npos && !host.empty()) {
        check(signpost::host_of_header(host) == host);
    }
    check(!signpost::HostNames({"console.example"}).knows(text) || !host.empty());
}

void look_at_users(std::string_view text) {
    std::size_t skipped = 0;
    for (const auto& [name, hash] : signpost::parse_users(text, &skipped)) {
        check(!name.empty() && hash.starts_with('$'));
        check(text.find(name) != text.npos && text.find(hash) != text.npos);
    }
    check(skipped <= text.size());
}

void look_at_sessions(std::string_view text) {
    const auto answer = signpost::parse_sessions(text);
    if (answer) {
        const auto again =
            signpost::parse_sessions(signpost::sessions_json(answer->server, answer->sessions));
        check(again && again->sessions.size() == answer->sessions.size());
    }
    static_cast<void>(signpost::error_of_answer(text));
}

void look_at_labels(std::string_view text) {
    signpost::MetricsText metrics;
    metrics.family("test", signpost::MetricsText::Kind::gauge, "A test.");
    const auto before = metrics.str().size();
    metrics.sample({{"label", text}}, 1);
    const std::string line = metrics.str().substr(before);
    check(line.find('\n') == line.size() - 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    switch (data[0]) {
        case 'h':
            look_at_host(text);
            break;
        case 'u':
            look_at_users(text);
            break;
        case 's':
            look_at_sessions(text);
            break;
        default:
            look_at_labels(text);
    }
    return 0;
}
