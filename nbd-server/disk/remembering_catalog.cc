// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/remembering_catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/give_back.h"

namespace signpost {

namespace {

Result<std::int64_t> newest_heartbeat(Catalog& store) {
    const auto servers = store.servers();
    if (!servers) {
        return std::unexpected(servers.error());
    }
    std::int64_t newest = 0;
    for (const Server& server : *servers) {
        newest = std::max(newest, server.last_heartbeat);
    }
    return newest;
}

class RememberingCatalog final : public Catalog {
   public:
    RememberingCatalog(StubKeeperSettings settings, std::unique_ptr<Catalog> live,
                       std::unique_ptr<StubStore> store, Log& log)
        : own_(settings.server),
          log_(log),
          live_(std::move(live)),
          store_(std::move(store)),
          keeper_(std::move(settings), *live_, *store_, log) {}

    // Look-ups.

    Result<std::optional<DiskRecord>> find(const DiskName& name) override {
        auto found = look_up([&](Catalog& store) { return store.find(name); });
        if (!found.answer) {
            return std::move(found.answer);
        }
        if (!found.why) {
            *found.answer ? keeper_.learn(**found.answer) : keeper_.learn_none(name);
        } else if (*found.answer) {
            (**found.answer).as_of = found.as_of;
        } else {
            return fail(found.why->code,
                        fmt::format("disk {} was not known {}, and the catalog does not answer: {}",
                                    escaped(name.str()), as_of_for_people(found.as_of),
                                    found.why->message));
        }
        return std::move(found.answer);
    }

    Result<std::vector<DiskRecord>> list(std::string_view prefix, std::string_view after,
                                         std::size_t limit) override {
        return dated(look_up([&](Catalog& store) { return store.list(prefix, after, limit); }));
    }

    Result<std::vector<DiskRecord>> search(std::string_view text, std::string_view after,
                                           std::size_t limit) override {
        return dated(look_up([&](Catalog& store) { return store.search(text, after, limit); }));
    }

    Result<std::vector<Server>> servers() override {
        return look_up([](Catalog& store) { return store.servers(); }).answer;
    }

    Result<std::optional<Server>> find_server(std::string_view name) override {
        return look_up([&](Catalog& store) { return store.find_server(name); }).answer;
    }

    Result<std::vector<SiteCost>> site_costs() override {
        return look_up([](Catalog& store) { return store.site_costs(); }).answer;
    }

    // The stubs' clock is this machine's, which counts for nothing: the newest heartbeat in them is
    // the best that is known of the store's.
    Result<std::int64_t> now() override {
        return look_up([&](Catalog& store) -> Result<std::int64_t> {
                   return &store == live_.get() ? store.now() : newest_heartbeat(store);
               }).answer;
    }

    // What only the real one can say.

    Result<std::uint64_t> change_sequence() override {
        return ask([](Catalog& store) { return store.change_sequence(); });
    }

    std::chrono::milliseconds look_interval() const override { return live_->look_interval(); }
    std::shared_ptr<void> when_changed(std::function<void()> told) override {
        return live_->when_changed(std::move(told));
    }

    Result<Totals> totals() override {
        return ask([](Catalog& store) { return store.totals(); });
    }

    Result<std::vector<Job>> jobs(std::string_view target) override {
        return ask([&](Catalog& store) { return store.jobs(target); });
    }

    Result<std::optional<WriterLease>> writer(const DiskName& disk) override {
        return ask([&](Catalog& store) { return store.writer(disk); });
    }

    Result<std::optional<WriterLease>> last_writer(const DiskName& disk) override {
        return ask([&](Catalog& store) { return store.last_writer(disk); });
    }

    Result<std::optional<std::string>> boot_profile(const DiskName& disk) override {
        return ask([&](Catalog& store) { return store.boot_profile(disk); });
    }

    Result<std::uint64_t> newest_generation() override {
        return ask([](Catalog& store) { return store.newest_generation(); });
    }

    Result<void> check_integrity() override { return live_->check_integrity(); }
    int schema_version() const override { return live_->schema_version(); }
    std::uint64_t skipped_rows() const override { return live_->skipped_rows(); }
    std::string description() const override { return live_->description(); }

    // Changes.

    Result<PublishSummary> publish(std::string_view server, const Publication& change) override {
        if (server != own_) {
            return live_->publish(server, change);
        }
        if (change.complete) {
            give_own_back(change.images);
        }
        auto published = live_->publish(server, change);
        if (published && change.complete) {
            keeper_.set_own_told(true);
        } else if (!published && published.error().code == Errc::not_found) {
            keeper_.set_own_told(false);
        }
        if (published && *published != PublishSummary()) {
            look_again_at(change);
        }
        return published;
    }

    Result<void> put_server(const Server& server) override {
        if (server.name == own_) {
            keeper_.set_own_told(false);
        }
        return live_->put_server(server);
    }

    Result<void> mark_changed(const DiskName& disk, std::string_view server) override {
        return live_->mark_changed(disk, server);
    }

    Result<void> record_digest(const DigestRecord& record) override {
        auto recorded = live_->record_digest(record);
        if (recorded) {
            keeper_.look_again(record.disk);
        }
        return recorded;
    }

    Result<void> set_location_state(const DiskName& disk, std::string_view server,
                                    std::uint64_t generation, LocationState state) override {
        return live_->set_location_state(disk, server, generation, state);
    }

    Result<void> set_draining(std::string_view server, bool draining) override {
        return live_->set_draining(server, draining);
    }

    Result<void> remove_server(std::string_view name) override {
        return live_->remove_server(name);
    }

    // A catalog that was put back from an older copy knows an instance of ours that is no more, and
    // images as they were then: to this server that is as if it were not registered.
    Result<void> heartbeat(std::string_view name, std::string_view instance,
                           unsigned sessions) override {
        auto alive = live_->heartbeat(name, instance, sessions);
        const bool conflict = !alive && alive.error().code == Errc::conflict;
        if (name != own_ || (!alive && !conflict)) {
            return alive;
        }
        if (keeper_.take_own_lost() || (conflict && keeper_.has_gone_back())) {
            return fail(
                Errc::not_found,
                fmt::format("the catalog has gone back to an older state of server {}", own_));
        }
        return alive;
    }

    Result<void> put_site_cost(const SiteCost& cost) override { return live_->put_site_cost(cost); }

    Result<void> put_job(const Job& job) override { return live_->put_job(job); }
    Result<void> report_job(const Job& job) override { return live_->report_job(job); }

    Result<WriterLease> take_writer(const DiskName& disk, std::string_view server,
                                    std::string_view writer) override {
        return live_->take_writer(disk, server, writer);
    }

    Result<void> put_boot_profile(const DiskName& disk, std::string_view profile) override {
        return live_->put_boot_profile(disk, profile);
    }

    Result<void> release_writer(const WriterLease& lease) override {
        return live_->release_writer(lease);
    }

    Result<void> restore(const Restoration& records) override { return live_->restore(records); }
    Result<void> begin_import() override { return live_->begin_import(); }
    Result<void> end_import() override { return live_->end_import(); }
    Result<std::vector<std::string>> grant_rights() override { return live_->grant_rights(); }

   private:
    template <class T>
    struct Recalled {
        Result<T> answer;
        std::optional<Error> why = std::nullopt;  // the catalog did not answer: this is from memory
        std::int64_t as_of = 0;
    };

    // At once when it is known not to answer.
    template <class Call>
    auto ask(Call call) -> decltype(call(std::declval<Catalog&>())) {
        if (auto trouble = keeper_.trouble()) {
            return std::unexpected(std::move(*trouble));
        }
        auto answer = call(*live_);
        if (!answer && answer.error().code != Errc::invalid) {
            keeper_.lost(answer.error());
        }
        return answer;
    }

    template <class Call>
    auto look_up(Call call)
        -> Recalled<typename decltype(call(std::declval<Catalog&>()))::value_type> {
        auto answer = ask(call);
        if (answer || answer.error().code == Errc::invalid) {
            return {std::move(answer)};
        }
        const auto stubs = store_->rows();
        if (stubs == nullptr) {
            return {std::move(answer)};
        }
        const std::int64_t as_of = keeper_.as_of();
        auto recalled = call(*stubs);
        if (!recalled) {
            return {std::move(answer)};
        }
        return {std::move(recalled), std::move(answer.error()), std::max<std::int64_t>(as_of, 1)};
    }

    static Result<std::vector<DiskRecord>> dated(Recalled<std::vector<DiskRecord>> page) {
        if (page.answer && page.why) {
            for (DiskRecord& disk : *page.answer) {
                disk.as_of = page.as_of;
            }
        }
        return std::move(page.answer);
    }

    void look_again_at(const Publication& change) {
        if (!change.complete) {
            for (const Image& image : change.images) {
                keeper_.look_again(image.name);
            }
            for (const DiskName& name : change.vanished) {
                keeper_.look_again(name);
            }
        }
        keeper_.hasten();
    }

    // Whatever goes wrong here: the publication that follows is right all the same, only that
    // digests have to be computed again.
    void give_own_back(const std::vector<Image>& images) {
        const auto stubs = store_->rows();
        if (stubs == nullptr) {
            return;
        }
        const auto given = give_back(*live_, *stubs, own_, images);
        if (!given) {
            log_.debug(fmt::format("what the catalog has lost of server '{}' is not given back: {}",
                                   own_, given.error().message));
        } else if (*given > 0) {
            log_.info(
                fmt::format("the catalog had lost {} images of server '{}': they are given "
                            "back with their generations and digests",
                            *given, own_));
        }
    }

    const std::string own_;
    Log& log_;
    const std::unique_ptr<Catalog> live_;
    const std::unique_ptr<StubStore> store_;
    StubKeeper keeper_;  // last: its thread uses the two above
};

}  // namespace

std::unique_ptr<Catalog> make_remembering_catalog(StubKeeperSettings settings,
                                                  std::unique_ptr<Catalog> live,
                                                  std::unique_ptr<StubStore> store, Log& log) {
    return std::make_unique<RememberingCatalog>(std::move(settings), std::move(live),
                                                std::move(store), log);
}

}  // namespace signpost
