// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/block_job.h"

#include <thread>

namespace signpost {

namespace {

constexpr std::chrono::milliseconds kLook{100};
constexpr std::chrono::seconds kGuestLook{1};
constexpr std::uint64_t kBesideTheGuest = 32 * 1024 * 1024;  // bytes a second
constexpr std::uint64_t kBusy = 10;                          // requests of the guest a second

}  // namespace

void JobWatch::make_way() {
    const auto now = Clock::now();
    if (rate_ != 0 || now - looked_ < kGuestLook) {
        return;
    }
    const bool first = looked_ == Clock::time_point{};
    looked_ = now;
    const auto requests = machine_.guest_requests(target_);
    if (!requests) {
        return;
    }
    const bool busy = !first && *requests - guest_requests_ > kBusy;
    guest_requests_ = *requests;
    // A job that ends meanwhile needs no other speed.
    if (busy != slowed_ && machine_.set_job_rate(target_, busy ? kBesideTheGuest : 0)) {
        slowed_ = busy;
    }
}

Result<std::optional<BlockJob>> JobWatch::wait() {
    while (true) {
        const auto job = machine_.job(target_);
        if (!job || !*job || (*job)->ready) {
            return job;
        }
        progress_.reached((*job)->done);
        make_way();
        std::this_thread::sleep_for(kLook);
    }
}

}  // namespace signpost
