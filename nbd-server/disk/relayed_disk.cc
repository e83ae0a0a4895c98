// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/relayed_disk.h"

#include "nbd-server/disk/relay_core.h"

namespace signpost {

namespace {

class RelayedDisk final : public Disk {
   public:
    RelayedDisk(RelayServices& services, RelayPlan plan)
        : services_(services), core_(std::make_shared<RelayCore>(services, std::move(plan))) {
        ++services_.disks;
    }

    ~RelayedDisk() override {
        --services_.disks;
        // The core's state, and so its end, belongs to the loop's thread.
        services_.loop.post([core = std::move(core_)] { core->shut_down(); });
    }

    const DiskTraits& traits() const override { return core_->traits(); }
    EventLoop* home_loop() const override { return &services_.loop; }

    void reach(Told told) override {
        services_.loop.post(
            [core = core_, told = std::move(told)]() mutable { core->reach(std::move(told)); });
    }

   private:
    void start(Request& request) override { core_->accept(request); }

    RelayServices& services_;
    std::shared_ptr<RelayCore> core_;
};

}  // namespace

std::shared_ptr<Disk> make_relayed_disk(RelayEngine& engine, RelayPlan plan) {
    return std::make_shared<RelayedDisk>(engine.services(), std::move(plan));
}

}  // namespace signpost
