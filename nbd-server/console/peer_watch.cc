// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/console/peer_watch.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace signpost {

namespace {

constexpr int kLowWeight = 10;       // nice
constexpr std::size_t kAtOnce = 16;  // servers that are dialled at the same time
constexpr std::size_t kMaxServers = 10'000;

}  // namespace

PeerWatch::PeerWatch(Settings settings)
    : settings_(std::move(settings)), thread_([this] { run(); }) {}

PeerWatch::~PeerWatch() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

std::map<std::string, ProbeResult> PeerWatch::all() const {
    const std::lock_guard lock(mutex_);
    return results_;
}

void PeerWatch::run() {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowWeight);
    for (;;) {
        ask_all();
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, settings_.interval, [this] { return ending_; })) {
            return;
        }
    }
}

// What is known of servers stays while the catalog does not say which there are.
void PeerWatch::ask_all() {
    const auto servers = settings_.catalog.servers();
    if (!servers) {
        return;
    }
    std::map<std::string, ProbeResult> results;
    const std::size_t count = std::min(servers->size(), kMaxServers);
    for (std::size_t begin = 0; begin < count; begin += kAtOnce) {
        {
            const std::lock_guard lock(mutex_);
            if (ending_) {
                return;
            }
        }
        std::vector<ProbeTarget> targets;
        const std::size_t end = std::min(begin + kAtOnce, count);
        for (std::size_t i = begin; i < end; ++i) {
            targets.push_back({(*servers)[i].uris, std::nullopt});
        }
        auto answers = probe_all(targets, {.tls = settings_.tls});
        for (std::size_t i = begin; i < end; ++i) {
            results[(*servers)[i].name] = std::move(answers[i - begin]);
        }
    }
    const std::lock_guard lock(mutex_);
    results_ = std::move(results);
}

}  // namespace signpost
