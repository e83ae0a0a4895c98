// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/verified_disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/verified_core.h"

namespace signpost {

namespace {

constexpr std::size_t kMostSpare = 8;

// A read on its way. Gone when it has come back to the loop.
struct Flight {
    VerifyServices::Busy busy;  // first, so that it ends last
    Request request;
    std::shared_ptr<Disk> disk;
    EventLoop& loop;
    VerifyServices::ReadDone done;
};

void land(Request& request, int error) {
    std::unique_ptr<Flight> flight(static_cast<Flight*>(request.context));
    EventLoop& loop = flight->loop;
    loop.post([flight = std::move(flight), error] { flight->done(error); });
}

class VerifiedDisk final : public Disk {
   public:
    explicit VerifiedDisk(std::shared_ptr<VerifiedCore> core)
        : core_(std::move(core)), loop_(core_->loop()) {}

    ~VerifiedDisk() override {
        loop_.post(
            [busy = VerifyServices::Busy(core_->services()), core = core_] { core->close(); });
    }

    const DiskTraits& traits() const override { return core_->traits(); }
    EventLoop* home_loop() const override { return &loop_; }

    void reach(Told told) override {
        loop_.post(
            [core = core_, told = std::move(told)]() mutable { core->reach(std::move(told)); });
    }

   private:
    void start(Request& request) override {
        if (loop_.is_here()) {
            core_->take(request);
        } else {
            loop_.post([core = core_.get(), &request] { core->take(request); });
        }
    }

    const std::shared_ptr<VerifiedCore> core_;
    EventLoop& loop_;
};

}  // namespace

ChunkPool::Buffer ChunkPool::try_take() {
    {
        const std::lock_guard lock(mutex_);
        if (taken_ >= most_) {
            return nullptr;
        }
    }
    return take();
}

ChunkPool::Buffer ChunkPool::take() {
    Memory memory;
    {
        const std::lock_guard lock(mutex_);
        ++taken_;
        if (!spare_.empty()) {
            memory = std::move(spare_.back());
            spare_.pop_back();
        }
    }
    if (memory == nullptr) {
        memory = std::make_unique_for_overwrite<std::byte[]>(DigestTree::kChunkBytes);
    }
    return {memory.release(),
            [pool = shared_from_this()](std::byte* last) { pool->give_back(Memory(last)); }};
}

ChunkPool::Loan ChunkPool::lend(const Buffer& buffer) {
    {
        const std::lock_guard lock(mutex_);
        if (taken_ > most_ || 2 * (lent_ + 1) > most_) {
            return nullptr;
        }
        ++lent_;
    }
    return {buffer.get(), [pool = shared_from_this(), held = buffer](const std::byte*) mutable {
                held.reset();
                pool->end_loan();
            }};
}

void ChunkPool::end_loan() {
    const std::lock_guard lock(mutex_);
    --lent_;
}

void ChunkPool::give_back(Memory memory) {
    const std::lock_guard lock(mutex_);
    --taken_;
    if (spare_.size() < kMostSpare) {
        spare_.push_back(std::move(memory));
    }
}

VerifyServices::VerifyServices(Parts parts, Log& lines)
    : patience(parts.patience),
      log(lines),
      pool(std::make_shared<ChunkPool>(parts.chunks)),
      parts_(std::move(parts)),
      workers_(std::max(2U, std::thread::hardware_concurrency())) {}

VerifyServices::~VerifyServices() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return busy_ == 0; });
}

VerifyServices::Busy::Busy(VerifyServices& services) : services_(&services) {
    const std::lock_guard lock(services.mutex_);
    ++services.busy_;
}

VerifyServices::Busy::~Busy() {
    if (services_ != nullptr) {
        const std::lock_guard lock(services_->mutex_);
        if (--services_->busy_ == 0) {
            services_->idle_.notify_all();
        }
    }
}

void VerifyServices::read(EventLoop& loop, std::shared_ptr<Disk> disk, std::uint64_t offset,
                          std::uint64_t length, std::byte* to, ReadDone done) {
    auto flight = std::unique_ptr<Flight>(
        new Flight{Busy(*this), {}, std::move(disk), loop, std::move(done)});
    Request& request = flight->request;
    request.offset = offset;
    request.length = length;
    request.buffer = to;
    request.done = land;
    request.context = flight.get();
    flight.release()->disk->submit(request);
}

void VerifyServices::report_damage(const DiskName& disk, const Location& location) {
    workers_.run([this, disk, location, busy = Busy(*this)] {
        const auto marked = parts_.catalog.set_location_state(
            disk, location.server, location.generation, LocationState::damaged);
        if (!marked && marked.error().code != Errc::conflict) {
            log.error(
                fmt::format("disk '{}': the catalog could not be told that the copy on {} is "
                            "damaged: {}",
                            escaped(disk.str()), location.server, marked.error().message));
        }
    });
}

std::string digest_to_hold(const RelayPlan& plan) {
    if (!plan.traits.read_only || plan.traits.size > kMaxVerifiedBytes) {
        return "";
    }
    const auto found = std::ranges::find_if(plan.upstreams, [&](const Upstream& upstream) {
        return !upstream.location.digest.empty() && upstream.location.size == plan.traits.size;
    });
    return found == plan.upstreams.end() ? "" : found->location.digest;
}

std::shared_ptr<Disk> make_verified_disk(VerifyServices& services, RelayPlan plan,
                                         std::string digest, std::function<bool()>* checks) {
    auto core = std::make_shared<VerifiedCore>(services, std::move(plan), std::move(digest));
    if (checks != nullptr) {
        *checks = [core] { return core->checks(); };
    }
    return std::make_shared<VerifiedDisk>(std::move(core));
}

}  // namespace signpost
