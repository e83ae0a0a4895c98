// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/writer_gate.h"

#include <cerrno>
#include <utility>

namespace signpost {

// A request that goes through while others could take the disk away: what it did counts only if
// the permit was still good when it ended.
struct WriterGate::Passage {
    WriterGate* gate;
    void (*done)(Request& request, int error);
    void* context;

    static void ended(Request& request, int error) {
        const std::unique_ptr<Passage> self(static_cast<Passage*>(request.context));
        request.done = self->done;
        request.context = self->context;
        const WritePermit& permit = *self->gate->permit();
        if (error == 0 && !permit.good(self->gate->writers_.now())) {
            error = permit.revoked() ? ESTALE : EIO;
        }
        request.done(request, error);
    }
};

WriterGate::WriterGate(Writers& writers, std::shared_ptr<Disk> disk, Writers::Target target,
                       std::string who)
    : writers_(writers), disk_(std::move(disk)), target_(std::move(target)), who_(std::move(who)) {}

WriterGate::~WriterGate() {
    writers_.left(*this);
}

void WriterGate::give(std::shared_ptr<WritePermit> permit) {
    keeps_ = std::move(permit);
    permit_.store(keeps_.get(), std::memory_order_release);
}

Disk::Now WriterGate::read_now(std::uint64_t offset, std::span<std::byte> to) {
    return disk_->read_now(offset, to);
}

Disk::Now WriterGate::locate_now(std::uint64_t offset, std::uint32_t length,
                                 std::vector<ReadPart>& parts) {
    return disk_->locate_now(offset, length, parts);
}

void WriterGate::start(Request& request) {
    const bool changes =
        request.op == Op::write || request.op == Op::trim || request.op == Op::write_zeroes;
    const WritePermit* const mine = permit();
    // Who has not written has nothing to lose by a flush.
    if (!changes && (request.op != Op::flush || mine == nullptr)) {
        disk_->submit(request);
    } else if (mine != nullptr && (mine->endless() || mine->good(writers_.now()))) {
        pass(request);
    } else {
        writers_.ask(*this, request);
    }
}

void WriterGate::pass(Request& request) {
    if (!permit()->endless()) {
        request.context = new Passage{this, request.done, request.context};
        request.done = &Passage::ended;
    }
    disk_->submit(request);
}

}  // namespace signpost
