// SPDX-License-Identifier: BSD-3-Clause

#include "cli/probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace signpost {

namespace {

constexpr std::size_t kProbesAtOnce = 16;

}  // namespace

ProbeResult probe(const ProbeTarget& target, const PeerSettings& settings) {
    ProbeResult result;
    result.error = Error{Errc::unavailable, "no address is registered for the server"};
    for (const NbdUri& uri : target.uris) {
        const auto start = std::chrono::steady_clock::now();
        auto connection = PeerConnection::connect(uri, settings);
        if (!connection) {
            result.error = connection.error();
            continue;
        }
        result.answered = true;
        result.uri = uri;
        result.latency = std::chrono::duration_cast<std::chrono::microseconds>(
            std::chrono::steady_clock::now() - start);
        result.error.reset();
        if (!target.export_name) {
            break;
        }
        auto facts = connection->info(*target.export_name);
        if (facts) {
            result.facts = std::move(*facts);
            break;
        }
        result.error = facts.error();
    }
    return result;
}

std::vector<ProbeResult> probe_all(std::span<const ProbeTarget> targets,
                                   const PeerSettings& settings) {
    std::vector<ProbeResult> results(targets.size());
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        for (std::size_t i = next++; i < targets.size(); i = next++) {
            results[i] = probe(targets[i], settings);
        }
    };
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < std::min(kProbesAtOnce, targets.size()); ++i) {
        threads.emplace_back(work);
    }
    threads.clear();  // joins
    return results;
}

std::string own_export(const DiskName& disk, const Location& location, ServerKind kind) {
    return kind == ServerKind::signpost ? fmt::format("{}{}", ExportName::kLocalPrefix, disk.str())
                                        : location.export_name;
}

}  // namespace signpost
