// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/described_disk.h"

#include <utility>

#include "nbd-server/disk/disk_difference.h"

namespace signpost {

namespace {

class DescribedDisk final : public Disk, public OriginTeller {
   public:
    DescribedDisk(std::shared_ptr<Disk> disk, std::string description, bool read_only,
                  std::shared_ptr<BootWatch> watch)
        : disk_(std::move(disk)), traits_(disk_->traits()), watch_(std::move(watch)) {
        traits_.description = std::move(description);
        traits_.read_only = traits_.read_only || read_only;
    }

    const DiskTraits& traits() const override { return traits_; }
    EventLoop* home_loop() const override { return disk_->home_loop(); }
    bool is_near() const override { return disk_->is_near(); }
    Now read_now(std::uint64_t offset, std::span<std::byte> to) override {
        const Now now = disk_->read_now(offset, to);
        note(now == Now::done, offset, to.size());
        return now;
    }
    Now locate_now(std::uint64_t offset, std::uint32_t length,
                   std::vector<ReadPart>& parts) override {
        const Now now = disk_->locate_now(offset, length, parts);
        note(now == Now::done, offset, length);
        return now;
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
    void start(Request& request) override {
        note(request.op == Op::read, request.offset, request.length);
        disk_->submit(request);
    }

    void note(bool read, std::uint64_t offset, std::uint64_t length) {
        if (watch_ && read) {
            watch_->note(offset, length);
        }
    }

    const std::shared_ptr<Disk> disk_;
    DiskTraits traits_;
    const std::shared_ptr<BootWatch> watch_;
};

}  // namespace

std::shared_ptr<Disk> make_described_disk(std::shared_ptr<Disk> disk, std::string description,
                                          bool read_only, std::shared_ptr<BootWatch> watch) {
    return std::make_shared<DescribedDisk>(std::move(disk), std::move(description), read_only,
                                           std::move(watch));
}

}  // namespace signpost
