// SPDX-License-Identifier: BSD-3-Clause
//
// WriterGate is a writable disk as one session has it: what changes the content passes only with a
// permit that Writers has given to the session's client. All else goes straight to the disk.
//
// Lifetime: Writers outlives it. Threads: as Disk.

#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "nbd-server/disk/writers.h"

namespace signpost {

class WriterGate final : public Disk {
   public:
    WriterGate(Writers& writers, std::shared_ptr<Disk> disk, Writers::Target target,
               std::string who);
    ~WriterGate() override;

    const Writers::Target& target() const { return target_; }
    const std::string& who() const { return who_; }
    const std::shared_ptr<Disk>& disk() const { return disk_; }
    bool said_farewell() const { return said_farewell_; }
    WritePermit* permit() const { return permit_.load(std::memory_order_acquire); }

    // Once; only Writers does.
    void give(std::shared_ptr<WritePermit> permit);

    // On its way to the disk; there is a permit, and it was good a moment ago.
    void pass(Request& request);

    const DiskTraits& traits() const override { return disk_->traits(); }
    EventLoop* home_loop() const override { return disk_->home_loop(); }
    Now read_now(std::uint64_t offset, std::span<std::byte> to) override;
    Now locate_now(std::uint64_t offset, std::uint32_t length,
                   std::vector<ReadPart>& parts) override;
    bool content_holds(std::span<const ReadRange> ranges) override {
        return disk_->content_holds(ranges);
    }
    void reach(Told told) override { disk_->reach(std::move(told)); }
    void farewell() override { said_farewell_ = true; }

   private:
    struct Passage;

    void start(Request& request) override;

    Writers& writers_;
    const std::shared_ptr<Disk> disk_;
    const Writers::Target target_;
    const std::string who_;
    std::atomic<bool> said_farewell_{false};
    std::shared_ptr<WritePermit> keeps_;  // written once, before permit_
    std::atomic<WritePermit*> permit_{nullptr};
};

}  // namespace signpost
