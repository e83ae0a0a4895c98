// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/console/visible_catalog.h"

#include <algorithm>
#include <utility>

namespace signpost {

namespace {

using Disks = Result<std::vector<DiskRecord>>;

std::unexpected<Error> only_for_looking() {
    return fail(Errc::denied, "the console changes nothing");
}

class VisibleCatalog final : public Catalog {
   public:
    VisibleCatalog(Catalog& behind, std::function<bool(std::string_view)> may_see,
                   std::function<bool()> stopped)
        : behind_(behind), may_see_(std::move(may_see)), stopped_(std::move(stopped)) {}

    Result<std::optional<DiskRecord>> find(const DiskName& name) override {
        if (!sees(name)) {
            return std::nullopt;
        }
        return behind_.find(name);
    }

    Disks list(std::string_view prefix, std::string_view after, std::size_t limit) override {
        return visible(after, limit,
                       [&](const std::string& from) { return behind_.list(prefix, from, limit); });
    }

    Disks search(std::string_view text, std::string_view after, std::size_t limit) override {
        return visible(after, limit,
                       [&](const std::string& from) { return behind_.search(text, from, limit); });
    }

    Result<std::vector<Server>> servers() override { return behind_.servers(); }
    Result<std::optional<Server>> find_server(std::string_view name) override {
        return behind_.find_server(name);
    }
    Result<std::int64_t> now() override { return behind_.now(); }
    Result<std::vector<SiteCost>> site_costs() override { return behind_.site_costs(); }
    Result<std::uint64_t> newest_generation() override { return behind_.newest_generation(); }
    Result<std::uint64_t> change_sequence() override { return behind_.change_sequence(); }
    Result<Totals> totals() override { return behind_.totals(); }
    std::uint64_t skipped_rows() const override { return behind_.skipped_rows(); }
    int schema_version() const override { return behind_.schema_version(); }
    std::string description() const override { return behind_.description(); }

    Result<std::optional<WriterLease>> writer(const DiskName& disk) override {
        return sees(disk) ? behind_.writer(disk) : std::optional<WriterLease>();
    }
    Result<std::optional<WriterLease>> last_writer(const DiskName& disk) override {
        return sees(disk) ? behind_.last_writer(disk) : std::optional<WriterLease>();
    }
    Result<std::vector<Job>> jobs(std::string_view target) override {
        auto jobs = behind_.jobs(target);
        if (jobs) {
            std::erase_if(*jobs, [this](const Job& job) { return !sees(job.disk); });
        }
        return jobs;
    }
    Result<std::optional<std::string>> boot_profile(const DiskName& disk) override {
        return sees(disk) ? behind_.boot_profile(disk) : std::optional<std::string>();
    }

    Result<PublishSummary> publish(std::string_view, const Publication&) override {
        return only_for_looking();
    }
    Result<void> mark_changed(const DiskName&, std::string_view) override {
        return only_for_looking();
    }
    Result<void> record_digest(const DigestRecord&) override { return only_for_looking(); }
    Result<void> set_location_state(const DiskName&, std::string_view, std::uint64_t,
                                    LocationState) override {
        return only_for_looking();
    }
    Result<void> put_server(const Server&) override { return only_for_looking(); }
    Result<void> set_draining(std::string_view, bool) override { return only_for_looking(); }
    Result<void> remove_server(std::string_view) override { return only_for_looking(); }
    Result<void> heartbeat(std::string_view, std::string_view, std::uint32_t) override {
        return only_for_looking();
    }
    Result<void> put_site_cost(const SiteCost&) override { return only_for_looking(); }
    Result<void> put_job(const Job&) override { return only_for_looking(); }
    Result<void> report_job(const Job&) override { return only_for_looking(); }
    Result<WriterLease> take_writer(const DiskName&, std::string_view, std::string_view) override {
        return only_for_looking();
    }
    Result<void> release_writer(const WriterLease&) override { return only_for_looking(); }
    Result<void> put_boot_profile(const DiskName&, std::string_view) override {
        return only_for_looking();
    }
    Result<void> restore(const Restoration&) override { return only_for_looking(); }
    Result<void> begin_import() override { return only_for_looking(); }
    Result<void> end_import() override { return only_for_looking(); }

   private:
    bool sees(const DiskName& disk) const { return !may_see_ || may_see_(disk.str()); }

    // Pages of what is behind, until one of LIMIT visible disks is full or there are no more.
    template <class Next>
    Disks visible(std::string_view after, std::size_t limit, Next next) {
        std::vector<DiskRecord> seen;
        std::string from(after);
        for (;;) {
            if (stopped_ && stopped_()) {
                return fail(Errc::unavailable, "the server stops");
            }
            auto page = next(from);
            if (!page || !may_see_) {
                return page;
            }
            const bool last = page->size() < limit;
            from = page->empty() ? from : page->back().name.str();
            std::ranges::copy_if(std::move(*page), std::back_inserter(seen),
                                 [this](const DiskRecord& disk) { return sees(disk.name); });
            if (last || seen.size() >= limit) {
                seen.erase(seen.begin() + static_cast<std::ptrdiff_t>(std::min(seen.size(), limit)),
                           seen.end());
                return seen;
            }
        }
    }

    Catalog& behind_;
    const std::function<bool(std::string_view)> may_see_;
    const std::function<bool()> stopped_;
};

}  // namespace

std::unique_ptr<Catalog> make_visible_catalog(Catalog& behind,
                                              std::function<bool(std::string_view disk)> may_see,
                                              std::function<bool()> stopped) {
    return std::make_unique<VisibleCatalog>(behind, std::move(may_see), std::move(stopped));
}

}  // namespace signpost
