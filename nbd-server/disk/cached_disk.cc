// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/cached_disk.h"

#include <algorithm>
#include <utility>

#include "nbd-server/disk/cached_core.h"

namespace signpost {

namespace {

class CachedDisk final : public Disk {
   public:
    explicit CachedDisk(std::shared_ptr<CachedCore> core)
        : core_(std::move(core)), loop_(core_->loop()) {}

    ~CachedDisk() override {
        loop_.post([busy = BlockCache::Busy(core_->cache()), core = core_] { core->close(); });
    }

    const DiskTraits& traits() const override { return core_->traits(); }
    EventLoop* home_loop() const override { return &loop_; }
    bool is_near() const override { return core_->content() != nullptr; }

    Now read_now(std::uint64_t offset, std::span<std::byte> to) override {
        CachedContent* const content = core_->content();
        if (content == nullptr || !content->read_now(offset, to)) {
            return Now::would_wait;
        }
        note(*content, offset, to.size());
        return Now::done;
    }

    Now locate_now(std::uint64_t offset, std::uint32_t length,
                   std::vector<ReadPart>& parts) override {
        CachedContent* const content = core_->content();
        if (content == nullptr || !content->locate_now(offset, length, parts)) {
            return Now::would_wait;
        }
        note(*content, offset, length);
        return Now::done;
    }

    void reach(Told told) override {
        loop_.post(
            [core = core_, told = std::move(told)]() mutable { core->reach(std::move(told)); });
    }

   private:
    void note(CachedContent& content, std::uint64_t offset, std::uint64_t length) {
        if (const auto ahead = content.note(offset, length)) {
            loop_.post([busy = BlockCache::Busy(core_->cache()), core = core_, ahead = *ahead] {
                core->fetch_ahead(ahead);
            });
        }
    }

    void start(Request& request) override {
        if (loop_.is_here()) {
            core_->take(request);
        } else {
            loop_.post([core = core_.get(), &request] { core->take(request); });
        }
    }

    const std::shared_ptr<CachedCore> core_;
    EventLoop& loop_;
};

}  // namespace

bool may_be_served_alone(const RelayPlan& plan) {
    return std::ranges::none_of(
        plan.upstreams, [](const Upstream& upstream) { return upstream.ticket != nullptr; });
}

std::shared_ptr<Disk> make_cached_disk(BlockCache& cache, RelayPlan plan,
                                       const std::function<std::shared_ptr<Disk>(RelayPlan)>& relay,
                                       CacheUse use) {
    const bool keeps = use == CacheUse::take_and_keep;
    CachedCore::Terms terms{.name = plan.disk.str(), .opens_new = keeps};
    terms.alone = keeps && may_be_served_alone(plan);
    if (terms.alone) {
        terms.copies = copies_of_one_content(plan);
    }
    auto core = std::make_shared<CachedCore>(
        cache, std::move(terms), keeps ? std::function<bool()>() : [] { return false; });
    plan.reads_ahead = plan.reads_ahead && !keeps;
    plan.pinned = [weak = std::weak_ptr(core), before = std::move(plan.pinned)](
                      const Location& copy, const std::string& fingerprint) {
        if (before) {
            before(copy, fingerprint);
        }
        if (const auto held = weak.lock()) {
            held->pinned(copy, fingerprint);
        }
    };
    plan.held = [weak = std::weak_ptr(core)]() -> std::optional<Location> {
        const auto held = weak.lock();
        return held ? held->held() : std::nullopt;
    };
    core->begin(relay(std::move(plan)));
    return std::make_shared<CachedDisk>(std::move(core));
}

std::shared_ptr<Disk> make_cached_disk(BlockCache& cache, const DiskName& name,
                                       std::shared_ptr<Disk> verified, const std::string& digest,
                                       std::function<bool()> checks, bool alone) {
    auto core = std::make_shared<CachedCore>(
        cache, CachedCore::Terms{.name = name.str(), .granule = kCacheChunk, .alone = alone},
        std::move(checks));
    core->begin(std::move(verified));
    core->open({verified_content(digest, core->traits().size)});
    return std::make_shared<CachedDisk>(std::move(core));
}

}  // namespace signpost
