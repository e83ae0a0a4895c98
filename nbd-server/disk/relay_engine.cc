// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/relay_engine.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <deque>
#include <thread>
#include <vector>

#include "nbd-server/disk/relay_services.h"

namespace signpost {

namespace {

class LoopThreads final : public RelayEngine {
   public:
    LoopThreads(RelaySettings settings, std::shared_ptr<const TlsCredentials> credentials, Log& log)
        : loops_(std::max(1U, settings.loops)),
          commons_(std::move(settings), std::move(credentials), log) {
        // The process's signals belong to its main thread.
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        for (EventLoop& loop : loops_) {
            pointers_.push_back(&loop);
            services_.emplace_back(loop, commons_);
            threads_.emplace_back([&loop] { loop.run(); });
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    ~LoopThreads() override {
        for (EventLoop& loop : loops_) {
            loop.stop();
        }
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }

    std::span<EventLoop* const> loops() override { return pointers_; }
    PipePool& pipes() override { return commons_.pipes; }
    void catalog_changed() override { ++commons_.news; }

    RelayServices& services() override {
        return *std::ranges::min_element(services_, {},
                                         [](const auto& one) { return one.disks.load(); });
    }

   private:
    std::deque<EventLoop> loops_;
    RelayCommons commons_;  // its workers post to the loops until they are joined
    std::deque<RelayServices> services_;
    std::vector<EventLoop*> pointers_;
    std::vector<std::thread> threads_;
};

}  // namespace

Result<std::unique_ptr<RelayEngine>> make_relay_engine(RelaySettings settings, Log& log) {
    std::shared_ptr<const TlsCredentials> credentials;
    const TlsSettings& tls = settings.tls;
    if (tls.mode != wire::TlsMode::off || !tls.certificates.empty() || !tls.psk_file.empty()) {
        auto loaded = load_tls_credentials(tls);
        if (!loaded) {
            return std::unexpected(loaded.error());
        }
        credentials = std::move(*loaded);
    }
    return std::make_unique<LoopThreads>(std::move(settings), std::move(credentials), log);
}

}  // namespace signpost
