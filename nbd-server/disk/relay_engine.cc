// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/relay_engine.h"

#include <pthread.h>

#include <csignal>
#include <thread>

#include "nbd-server/disk/relay_services.h"

namespace signpost {

namespace {

class LoopThreadEngine final : public RelayEngine {
   public:
    LoopThreadEngine(RelaySettings settings, std::shared_ptr<const TlsCredentials> credentials,
                     Log& log)
        : services_(std::move(settings), std::move(credentials), log) {
        // The process's signals belong to its main thread.
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        thread_ = std::thread([this] { services_.loop.run(); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    ~LoopThreadEngine() override {
        services_.loop.stop();
        thread_.join();
    }

    RelayServices& services() override { return services_; }

   private:
    RelayServices services_;
    std::thread thread_;
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
    return std::make_unique<LoopThreadEngine>(std::move(settings), std::move(credentials), log);
}

}  // namespace signpost
