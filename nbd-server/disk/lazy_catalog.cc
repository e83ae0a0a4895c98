// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/lazy_catalog.h"

#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "catalog/change_hints.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

class LazyCatalog final : public Catalog {
   public:
    LazyCatalog(LazyCatalogSettings settings, Log& log)
        : settings_(std::move(settings)), log_(log), trouble_(settings_.known_trouble) {
        // Trouble that is known is not waited for a second time: a call will see.
        if (settings_.known_trouble.empty()) {
            (void)acquire(Need::change);
        }
    }

    Result<std::optional<DiskRecord>> find(const DiskName& name) override {
        return with(Need::look_up, [&](Catalog& store) { return store.find(name); });
    }

    Result<std::vector<DiskRecord>> list(std::string_view prefix, std::string_view after,
                                         std::size_t limit) override {
        return with(Need::look_up,
                    [&](Catalog& store) { return store.list(prefix, after, limit); });
    }

    Result<std::vector<DiskRecord>> search(std::string_view text, std::string_view after,
                                           std::size_t limit) override {
        return with(Need::look_up,
                    [&](Catalog& store) { return store.search(text, after, limit); });
    }

    Result<PublishSummary> publish(std::string_view server, const Publication& change) override {
        return with(Need::change, [&](Catalog& store) { return store.publish(server, change); });
    }

    Result<void> mark_changed(const DiskName& disk, std::string_view server) override {
        return with(Need::change, [&](Catalog& store) { return store.mark_changed(disk, server); });
    }

    Result<void> record_digest(const DigestRecord& record) override {
        return with(Need::change, [&](Catalog& store) { return store.record_digest(record); });
    }

    Result<void> set_location_state(const DiskName& disk, std::string_view server,
                                    std::uint64_t generation, LocationState state) override {
        return with(Need::change, [&](Catalog& store) {
            return store.set_location_state(disk, server, generation, state);
        });
    }

    Result<void> set_draining(std::string_view server, bool draining) override {
        return with(Need::change,
                    [&](Catalog& store) { return store.set_draining(server, draining); });
    }

    Result<std::vector<SiteCost>> site_costs() override {
        return with(Need::look_up, [](Catalog& store) { return store.site_costs(); });
    }

    Result<void> put_site_cost(const SiteCost& cost) override {
        return with(Need::change, [&](Catalog& store) { return store.put_site_cost(cost); });
    }

    Result<void> put_job(const Job& job) override {
        return with(Need::change, [&](Catalog& store) { return store.put_job(job); });
    }

    Result<std::vector<Job>> jobs(std::string_view target) override {
        return with(Need::look_up, [&](Catalog& store) { return store.jobs(target); });
    }

    Result<void> report_job(const Job& job) override {
        return with(Need::change, [&](Catalog& store) { return store.report_job(job); });
    }

    Result<WriterLease> take_writer(const DiskName& disk, std::string_view server,
                                    std::string_view writer) override {
        return with(Need::change,
                    [&](Catalog& store) { return store.take_writer(disk, server, writer); });
    }

    Result<void> release_writer(const WriterLease& lease) override {
        return with(Need::change, [&](Catalog& store) { return store.release_writer(lease); });
    }

    Result<std::optional<WriterLease>> last_writer(const DiskName& disk) override {
        return with(Need::look_up, [&](Catalog& store) { return store.last_writer(disk); });
    }

    Result<std::optional<WriterLease>> writer(const DiskName& disk) override {
        return with(Need::look_up, [&](Catalog& store) { return store.writer(disk); });
    }

    Result<std::optional<std::string>> boot_profile(const DiskName& disk) override {
        return with(Need::look_up, [&](Catalog& store) { return store.boot_profile(disk); });
    }

    Result<void> put_boot_profile(const DiskName& disk, std::string_view profile) override {
        return with(Need::change,
                    [&](Catalog& store) { return store.put_boot_profile(disk, profile); });
    }

    Result<void> restore(const Restoration& records) override {
        return with(Need::change, [&](Catalog& store) { return store.restore(records); });
    }

    Result<std::uint64_t> newest_generation() override {
        return with(Need::look_up, [](Catalog& store) { return store.newest_generation(); });
    }

    Result<void> begin_import() override {
        return with(Need::change, [](Catalog& store) { return store.begin_import(); });
    }

    Result<void> end_import() override {
        return with(Need::change, [](Catalog& store) { return store.end_import(); });
    }

    std::chrono::milliseconds look_interval() const override {
        const std::lock_guard lock(mutex_);
        return store_ ? store_->look_interval() : Catalog::look_interval();
    }

    // Whatever store there is or will be.
    std::shared_ptr<void> when_changed(std::function<void()> told) override {
        return hints_.add(std::move(told));
    }

    Result<void> put_server(const Server& server) override {
        return with(Need::change, [&](Catalog& store) { return store.put_server(server); });
    }

    Result<void> remove_server(std::string_view name) override {
        return with(Need::change, [&](Catalog& store) { return store.remove_server(name); });
    }

    Result<std::vector<Server>> servers() override {
        return with(Need::look_up, [](Catalog& store) { return store.servers(); });
    }

    Result<std::optional<Server>> find_server(std::string_view name) override {
        return with(Need::look_up, [&](Catalog& store) { return store.find_server(name); });
    }

    Result<std::int64_t> now() override {
        return with(Need::look_up, [](Catalog& store) { return store.now(); });
    }

    Result<void> heartbeat(std::string_view name, std::string_view instance,
                           std::uint32_t sessions) override {
        return with(Need::change,
                    [&](Catalog& store) { return store.heartbeat(name, instance, sessions); });
    }

    Result<std::uint64_t> change_sequence() override {
        return with(Need::look_up, [](Catalog& store) { return store.change_sequence(); });
    }

    Result<Totals> totals() override {
        return with(Need::look_up, [](Catalog& store) { return store.totals(); });
    }

    std::uint64_t skipped_rows() const override {
        const std::lock_guard lock(mutex_);
        return store_ ? store_->skipped_rows() : 0;
    }

    std::string description() const override {
        const std::lock_guard lock(mutex_);
        if (store_) {
            return store_->description();
        }
        // A URL that has an authority part may carry a password.
        return settings_.url.substr(0, settings_.url.find("://"));
    }

   private:
    enum class Need { look_up, change };

    template <class Call>
    auto with(Need need, Call call) -> decltype(call(std::declval<Catalog&>())) {
        const auto store = acquire(need);
        if (!store) {
            return std::unexpected(store.error());
        }
        return call(**store);
    }

    bool serves(Need need) const { return store_ && (need == Need::look_up || writable_); }

    // The store, opened now if need be and if it is time. Opening is done without the lock held.
    Result<std::shared_ptr<Catalog>> acquire(Need need) {
        {
            const std::lock_guard lock(mutex_);
            if (serves(need) || opening_ || Clock::now() < next_attempt_) {
                return current();
            }
            opening_ = true;
        }
        Attempt attempt = open();
        report(attempt);
        const std::lock_guard lock(mutex_);
        opening_ = false;
        next_attempt_ = Clock::now() + settings_.retry;
        refusal_ = std::move(attempt.refusal);
        if (attempt.store && (attempt.writable || !store_)) {
            hinting_.reset();
            store_ = std::move(attempt.store);
            writable_ = attempt.writable;
            hinting_ = store_->when_changed([hints = hints_] { hints.tell(); });
        }
        return current();
    }

    Result<std::shared_ptr<Catalog>> current() const {
        if (store_) {
            return store_;
        }
        return std::unexpected(refusal_);
    }

    struct Attempt {
        std::unique_ptr<Catalog> store;
        bool writable = false;
        Error refusal{Errc::unavailable, ""};  // why there is no store, or why only for reading
    };

    Attempt open() const {
        Attempt attempt;
        auto store = open_as(OpenMode::create);
        if (store) {
            attempt.store = std::move(*store);
            attempt.writable = true;
            return attempt;
        }
        attempt.refusal = store.error();
        const Errc why = attempt.refusal.code;
        if (why == Errc::denied || why == Errc::full || why == Errc::io) {
            if (auto readable = open_as(OpenMode::read_only)) {
                attempt.store = std::move(*readable);
            }
        }
        return attempt;
    }

    Result<std::unique_ptr<Catalog>> open_as(OpenMode mode) const {
        return settings_.open ? settings_.open(settings_.url, mode)
                              : open_catalog(settings_.url, mode);
    }

    // Only by the thread that opens. The same trouble is told once.
    void report(const Attempt& attempt) {
        if (attempt.writable) {
            if (!trouble_.empty()) {
                log_.info(fmt::format("catalog {} is back", attempt.store->description()));
            }
            trouble_.clear();
        } else if (trouble_ != attempt.refusal.message) {
            trouble_ = attempt.refusal.message;
            log_.error(fmt::format("{}; {}", trouble_,
                                   attempt.store ? "it is read, and nothing is published in it"
                                                 : "own images are served all the same"));
        }
    }

    const LazyCatalogSettings settings_;
    Log& log_;
    std::string trouble_;       // the last one told; belongs to the thread that has set opening_
    mutable std::mutex mutex_;  // of all below; never held while a store is opened or called
    std::shared_ptr<Catalog> store_;
    bool writable_ = false;
    bool opening_ = false;
    ChangeHints hints_;
    std::shared_ptr<void> hinting_;  // of the store
    Error refusal_{Errc::unavailable, "the catalog is being opened"};
    Clock::time_point next_attempt_{};
};

}  // namespace

std::unique_ptr<Catalog> make_lazy_catalog(LazyCatalogSettings settings, Log& log) {
    return std::make_unique<LazyCatalog>(std::move(settings), log);
}

}  // namespace signpost
