// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/described_disk.h"

#include <utility>

#include "nbd-server/disk/disk_difference.h"

namespace signpost {

namespace {

class DescribedDisk final : public Disk, public OriginTeller {
   public:
    DescribedDisk(std::shared_ptr<Disk> disk, std::string description, bool read_only)
        : disk_(std::move(disk)), traits_(disk_->traits()) {
        traits_.description = std::move(description);
        traits_.read_only = traits_.read_only || read_only;
    }

    const DiskTraits& traits() const override { return traits_; }
    EventLoop* home_loop() const override { return disk_->home_loop(); }
    bool is_near() const override { return disk_->is_near(); }
    Now read_now(std::uint64_t offset, std::span<std::byte> to) override {
        return disk_->read_now(offset, to);
    }
    Now locate_now(std::uint64_t offset, std::uint32_t length,
                   std::vector<ReadPart>& parts) override {
        return disk_->locate_now(offset, length, parts);
    }
    bool content_holds(std::span<const ReadRange> ranges) override {
        return disk_->content_holds(ranges);
    }
    int origins(std::uint64_t offset, std::uint64_t length, std::vector<Origin>& found) override {
        return list_origins(*disk_, offset, length, found);
    }
    void reach(Told told) override { disk_->reach(std::move(told)); }
    void farewell() override { disk_->farewell(); }

   private:
    void start(Request& request) override { disk_->submit(request); }

    const std::shared_ptr<Disk> disk_;
    DiskTraits traits_;
};

}  // namespace

std::shared_ptr<Disk> make_described_disk(std::shared_ptr<Disk> disk, std::string description,
                                          bool read_only) {
    return std::make_shared<DescribedDisk>(std::move(disk), std::move(description), read_only);
}

}  // namespace signpost
