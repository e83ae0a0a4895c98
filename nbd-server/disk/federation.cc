// SPDX-License-Identifier: BSD-3-Clause
//
// How an export name becomes a disk. First this server's own image; then, unless the name says
// `local:`, the catalog's referral as a relay. An own image that is there but cannot be served (two
// files of one name, still being written, a refused header) does not silently become another
// server's: the operator reads why, and the client is served if it can be.

#include "nbd-server/disk/federation.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "catalog/point_search.h"
#include "nbd-server/disk/cached_disk.h"
#include "nbd-server/disk/described_disk.h"
#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/export_list.h"
#include "nbd-server/disk/federation_parts.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/disk/leaves_disk.h"
#include "nbd-server/disk/own_images.h"
#include "nbd-server/disk/relay_planning.h"
#include "nbd-server/disk/relay_services.h"
#include "nbd-server/disk/shared_disks.h"

namespace signpost {

namespace {

// Sessions with equal keys share a disk. Nothing in a key can hold a line feed.
std::string key_of(const OpenImage& image) {
    return fmt::format("own\n{}\n{}\n{}\n{}", image.name.str(), image.fingerprint, image.size,
                       image.writable);
}

std::string key_of(const RelayPlan& plan, const Asker& asker) {
    std::string key =
        fmt::format("relay\n{}\n{}\n{}", plan.disk.str(), plan.traits.read_only, asker.who);
    for (const Upstream& upstream : plan.upstreams) {
        const Location& location = upstream.location;
        key += fmt::format("\n{}\n{}\n{}\n{}", location.server, location.size, location.generation,
                           location.digest);
        for (const NbdUri& uri : upstream.uris) {
            key += '\n' + uri.str();
        }
    }
    return key;
}

// One session's disk, which is counted while the session has it.
class SessionDisk {
   public:
    SessionDisk(std::shared_ptr<Disk> disk, std::shared_ptr<std::atomic<unsigned>> count)
        : disk_(std::move(disk)), count_(std::move(count)) {
        ++*count_;
    }
    SessionDisk(const SessionDisk&) = delete;
    SessionDisk& operator=(const SessionDisk&) = delete;
    ~SessionDisk() { --*count_; }

   private:
    const std::shared_ptr<Disk> disk_;
    const std::shared_ptr<std::atomic<unsigned>> count_;
};

class LiveFederation final : public Federation {
   public:
    LiveFederation(FederationParts parts, Log& log)
        : log_(log),
          parts_(std::move(parts)),
          planner_(*parts_.catalog, parts_.server, parts_.site, parts_.liveness.get(),
                   std::make_shared<UntrueRows>()),
          own_images_(*parts_.repositories, parts_.publisher.get()) {}

    Result<std::shared_ptr<Disk>> open(const std::string& export_name, bool writable,
                                       const Asker& asker) override {
        auto disk = open_uncounted(export_name, writable, asker);
        if (!disk) {
            return disk;
        }
        Disk* const plain = disk->get();
        return std::shared_ptr<Disk>(
            std::make_shared<SessionDisk>(std::move(*disk), parts_.sessions), plain);
    }

    Result<Listing> exports(std::size_t limit, const std::string& after) override {
        const auto own = own_images_.get();
        auto listing = list_exports(
            {*parts_.catalog, parts_.server, parts_.site, parts_.liveness.get(), *own, after},
            limit);
        if (listing || own->empty()) {
            return listing;
        }
        log_.error(fmt::format("the export list has own images only: {}", listing.error().message));
        return list_own_exports(*own, limit, after);
    }

    RelayEngine& engine() override { return *parts_.engine; }
    Catalog& catalog() override { return *parts_.catalog; }

    FederationFigures figures() override {
        FederationFigures figures;
        figures.lookups = lookups_.read();
        figures.helpers = parts_.helpers ? parts_.helpers->running() : 0;
        figures.last_scan = parts_.publisher ? parts_.publisher->last_scan() : 0;
        if (parts_.cache) {
            const auto& commons = parts_.cache->commons();
            figures.has_cache = true;
            figures.cache_hit = commons.hit;
            figures.cache_fetched = commons.fetched;
            figures.cache_bytes = commons.bytes;
        }
        return figures;
    }

   private:
    Result<std::shared_ptr<Disk>> open_uncounted(const std::string& export_name, bool writable,
                                                 const Asker& asker) {
        const auto name = ExportName::parse(export_name);
        if (!name) {
            return std::unexpected(name.error());
        }
        if (name->digests) {
            return open_digests(name->disk);
        }
        auto disk = open_exactly(*name, writable && parts_.writable, asker);
        const bool missing = !disk && (disk.error().code == Errc::not_found ||
                                       disk.error().code == Errc::unavailable);
        return missing ? open_meant(*name, std::move(disk), writable && parts_.writable, asker)
                       : disk;
    }

    // The disk of just that name.
    Result<std::shared_ptr<Disk>> open_exactly(const ExportName& name, bool wish,
                                               const Asker& asker) {
        auto own = open_own(name, wish, asker);
        if (name.local_only || (own && !is_damaged_here(name.disk))) {
            return own;
        }
        if (own) {
            return elsewhere_or(std::move(*own), name.disk, asker);
        }
        auto relayed = open_relayed(name.disk, wish, asker);
        if (own.error().code == Errc::not_found) {
            return relayed;
        }
        if (!relayed) {
            return own;
        }
        log_.error(fmt::format("{}; disk '{}' is relayed instead", own.error().message,
                               escaped(name.disk.str())));
        return relayed;
    }

    // What NAME means where there is no disk of that name, but REFUSED: this server's image of that
    // path, whose name says a date or is that of a chain; else the newest restore point.
    Result<std::shared_ptr<Disk>> open_meant(const ExportName& name,
                                             Result<std::shared_ptr<Disk>> refused, bool writable,
                                             const Asker& asker) {
        if (const auto exact = parts_.catalog->find(name.disk);
            exact && *exact && !name.local_only) {
            return refused;  // it is what is meant, and cannot be had
        }
        if (auto image = parts_.repositories->open_by_path(name.disk)) {
            if (asker.may_open && !asker.may_open(image->name)) {
                return refused;
            }
            return open_own(name, std::move(image), writable, asker);
        }
        const PointWish wish = PointWish::of(name.disk);
        const auto points = points_of(wish.disk, name.local_only);
        const NamedPoint* const newest = newest_meant(wish, points);
        if (newest == nullptr && refused.error().code == Errc::unavailable) {
            return refused;  // that there is none is never said from memory
        }
        if (newest == nullptr) {
            return std::unexpected(no_such_point(name.disk, wish, points, refused.error()));
        }
        if (newest->name == name.disk || (asker.may_open && !asker.may_open(newest->name))) {
            return refused;
        }
        log_.info(fmt::format("disk '{}': its newest point, {}, is opened",
                              escaped(name.disk.str()), escaped(newest->name.str())));
        auto disk = open_exactly({newest->name, name.local_only, false}, false, asker);
        if (!disk) {
            return disk;
        }
        auto description = describe_point(newest->name.str(), (*disk)->traits().description);
        return make_described_disk(std::move(*disk), std::move(description), true);
    }

    // Those known here, and those that the catalog has; of this server only, when OWN_ONLY.
    std::vector<NamedPoint> points_of(const std::string& disk, bool own_only) {
        std::vector<NamedPoint> points = own_images_.points_of(disk);
        auto others = signpost::points_of(*parts_.catalog, disk, [&](const DiskRecord& record) {
            return !own_only || std::ranges::find(record.locations, parts_.server,
                                                  &Location::server) != record.locations.end();
        });
        if (others) {
            std::ranges::move(*others, std::back_inserter(points));
        }
        return points;
    }

    Result<std::shared_ptr<Disk>> open_own(const ExportName& name, bool writable,
                                           const Asker& asker) {
        return open_own(name, parts_.repositories->open_image(name.disk), writable, asker);
    }

    Result<std::shared_ptr<Disk>> open_own(const ExportName& name, Result<OpenImage> image,
                                           bool writable, const Asker& asker) {
        if (!image) {
            return std::unexpected(image.error());
        }
        const DiskName disk_name = image->name;
        std::string description = describe_own_disk(image->size, image->format());
        if (name.local_only) {
            description = describe_with_fingerprint(description, image->fingerprint);
        }
        auto disk = share(std::move(*image));
        if (!disk) {
            return disk;
        }
        auto watch = name.local_only ? nullptr : watch_of(disk_name, (*disk)->traits().size);
        return guarded(make_described_disk(std::move(*disk), std::move(description), !writable,
                                           std::move(watch)),
                       {disk_name, parts_.server}, asker);
    }

    // Of a disk that a client has opened, not another server, which does that for its own clients.
    // What is known already stays.
    std::shared_ptr<BootWatch> watch_of(const DiskName& disk, std::uint64_t size) {
        if (!parts_.profiles.learned) {
            return nullptr;
        }
        return watches_.join(
            disk.str(), size,
            [profiles = parts_.profiles, &workers = parts_.engine->services().workers, disk,
             size](const BootProfile& seen) {
                workers.run([profiles, disk, size, text = seen.text()] {
                    const auto known = profiles.find(disk.str());
                    const auto profile = known ? BootProfile::parse(*known) : std::nullopt;
                    if (BootProfile::parse(text) && (!profile || profile->disk_size != size)) {
                        profiles.learned(disk.str(), text);
                    }
                });
            });
    }

    std::shared_ptr<Disk> guarded(std::shared_ptr<Disk> disk, Writers::Target target,
                                  const Asker& asker) {
        return parts_.writers && !disk->traits().read_only
                   ? parts_.writers->guard(std::move(disk), std::move(target), asker.identity)
                   : disk;
    }

    // What the catalog has about this server's own copy. One that cannot be asked says nothing.
    bool is_damaged_here(const DiskName& disk) {
        if (parts_.publisher == nullptr || parts_.writable) {
            return false;
        }
        const auto record = parts_.catalog->find(disk);
        return record && *record &&
               std::ranges::any_of((*record)->locations, [this](const Location& location) {
                   return location.server == parts_.server &&
                          location.state == LocationState::damaged;
               });
    }

    // A good copy of another server is better than OWN, which is damaged; that is better than none.
    Result<std::shared_ptr<Disk>> elsewhere_or(std::shared_ptr<Disk> own, const DiskName& disk,
                                               const Asker& asker) {
        auto relayed = open_relayed(disk, false, asker);
        log_.error(fmt::format("disk '{}' is damaged on this server; {}", escaped(disk.str()),
                               relayed ? "it is relayed from another"
                                       : "no other server can be asked, so it is served"));
        return relayed ? relayed : own;
    }

    // Of the image as it is now; only while nobody can write to it.
    Result<std::shared_ptr<Disk>> open_digests(const DiskName& name) {
        auto image = parts_.repositories->open_image(name);
        if (!image) {
            return std::unexpected(image.error());
        }
        Result<std::optional<DigestStore::Entry>> entry = std::nullopt;
        if (parts_.digests && !image->writable) {
            entry = parts_.digests->find({name, image->fingerprint, image->size});
        }
        if (!entry) {
            return std::unexpected(entry.error());
        }
        if (!*entry || (*entry)->digest.empty()) {
            return fail(Errc::not_found, fmt::format("disk '{}' has no chunk digests here, or not "
                                                     "yet",
                                                     escaped(name.str())));
        }
        return make_leaves_disk(*parts_.digests, **entry, image->size);
    }

    Result<std::shared_ptr<Disk>> share(OpenImage image) {
        const std::string key = key_of(image);
        if (auto open = disks_.find(key)) {
            return open;
        }
        auto before_first_write = [this, disk = image.name] {
            return tell_before_write(*parts_.catalog, disk, parts_.server);
        };
        auto disk = parts_.serve_image(std::move(image), std::move(before_first_write));
        if (!disk) {
            return disk;
        }
        return disks_.add(key, std::move(*disk));
    }

    Result<std::shared_ptr<Disk>> open_relayed(const DiskName& disk, bool writable,
                                               const Asker& asker) {
        const auto began = std::chrono::steady_clock::now();
        auto plan = planner_.plan(disk, writable, asker);
        lookups_.count_shared(std::chrono::steady_clock::now() - began);
        if (!plan) {
            return std::unexpected(plan.error());
        }
        const std::string key = key_of(*plan, asker);
        Writers::Target target{plan->disk, plan->leased_for};
        auto relayed = disks_.find(key);
        if (!relayed) {
            auto made = parts_.verifier ? relay_verified(std::move(*plan))
                                        : Result<std::shared_ptr<Disk>>(relay(std::move(*plan)));
            if (!made) {
                return made;
            }
            relayed = disks_.add(key, std::move(*made));
        }
        const DiskTraits traits = relayed->traits();
        auto watch =
            parts_.cache || !traits.read_only ? nullptr : watch_of(target.disk, traits.size);
        if (watch) {
            relayed =
                make_described_disk(std::move(relayed), traits.description, true, std::move(watch));
        }
        return guarded(std::move(relayed), std::move(target), asker);
    }

    Result<std::shared_ptr<Disk>> relay_verified(RelayPlan plan) {
        const std::string digest = digest_to_hold(plan);
        if (!digest.empty()) {
            const DiskName disk = plan.disk;
            const bool alone = may_be_served_alone(plan);
            std::function<bool()> checks;
            auto verified = make_verified_disk(*parts_.verifier, std::move(plan), digest, &checks);
            return parts_.cache ? make_cached_disk(*parts_.cache, disk, std::move(verified), digest,
                                                   std::move(checks), alone)
                                : verified;
        }
        const std::string name = escaped(plan.disk.str());
        const std::string_view why = plan.traits.read_only
                                         ? "no copy of it that is not written has been verified"
                                         : "it may be written to";
        if (parts_.verify == Verify::require) {
            return fail(Errc::unavailable,
                        fmt::format("disk '{}' is not relayed, because it cannot be checked: {}; "
                                    "run signpost verify {}, or say verify=relay",
                                    name, why, name));
        }
        log_.info(fmt::format("disk '{}' is relayed without being checked: {}", name, why));
        return relay(std::move(plan));
    }

    std::shared_ptr<Disk> relay(RelayPlan plan) {
        return parts_.cache && plan.traits.read_only
                   ? make_cached_disk(*parts_.cache, std::move(plan), parts_.relay)
                   : parts_.relay(std::move(plan));
    }

    Log& log_;
    FederationParts parts_;
    const RelayPlanner planner_;
    OwnImages own_images_;
    SharedDisks disks_;
    BootWatches watches_;
    Histogram lookups_;
};

}  // namespace

std::unique_ptr<Federation> make_federation(FederationParts parts, Log& log) {
    return std::make_unique<LiveFederation>(std::move(parts), log);
}

}  // namespace signpost
