// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/pool_sync.h"

#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "catalog/disk_name.h"
#include "libvirt-pool/machine_references.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::milliseconds kPause{20};

// The directory itself is what passes lock.
class PassLock {
   public:
    static Result<PassLock> take(const PoolDirectory& directory) {
        const auto end = std::chrono::steady_clock::now() + kPatience;
        while (::flock(directory.descriptor(), LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() > end) {
                return fail(Errc::unavailable,
                            fmt::format("pool directory {}: another signpost-pool is at work in it "
                                        "and does not end; try again",
                                        escaped(directory.path())));
            }
            std::this_thread::sleep_for(kPause);
        }
        return PassLock(directory.descriptor());
    }
    PassLock(PassLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    PassLock& operator=(PassLock&&) = delete;
    ~PassLock() {
        if (descriptor_ >= 0) {
            ::flock(descriptor_, LOCK_UN);
        }
    }

   private:
    explicit PassLock(int descriptor) : descriptor_(descriptor) {}

    int descriptor_;
};

// HOST null: nobody can tell, so each file counts as referred to.
Result<void> mark_referenced(const SyncTerms& terms, const LibvirtHost* host,
                             const PoolDirectory& directory, std::vector<PresentVolume>& present) {
    if (host == nullptr) {
        for (PresentVolume& volume : present) {
            volume.referenced = true;
        }
        return {};
    }
    const auto machines = host->machines();
    if (!machines) {
        return std::unexpected(machines.error());
    }
    const auto referenced = referenced_files(*machines, terms.pool, directory, present);
    if (!referenced) {
        return std::unexpected(referenced.error());
    }
    for (PresentVolume& volume : present) {
        volume.referenced = referenced->contains(volume.file);
    }
    return {};
}

Result<PoolPlan> make_plan(const SyncTerms& terms, const PoolSettings& settings, Catalog& catalog,
                           const LibvirtHost* host, const PoolDirectory& directory) {
    auto wanted = terms.wanted != nullptr
                      ? *terms.wanted
                      : select_volumes(catalog, settings.selection, settings.via);
    if (!wanted) {
        return std::unexpected(wanted.error());
    }
    auto present = directory.list();
    if (!present) {
        return std::unexpected(present.error());
    }
    if (const auto marked = mark_referenced(terms, host, directory, *present); !marked) {
        return std::unexpected(marked.error());
    }
    return plan_pool(std::move(*wanted), std::move(*present));
}

Result<SyncReport> pass(const SyncTerms& terms, const PoolSettings& settings, Catalog& catalog,
                        const LibvirtHost* host, const PoolDirectory& directory) {
    const auto lock = PassLock::take(directory);
    if (!lock) {
        return std::unexpected(lock.error());
    }
    auto plan = make_plan(terms, settings, catalog, host, directory);
    if (!plan) {
        return std::unexpected(plan.error());
    }
    SyncReport report{std::move(*plan), {}, false, host == nullptr};
    if (terms.dry_run) {
        return report;
    }
    directory.remove_leftovers();
    const auto planned = std::exchange(report.plan.actions, {});
    std::size_t done = 0;
    for (const PoolPlan::Action& action : planned) {
        if (const auto applied = directory.apply(action)) {
            report.plan.actions.push_back(action);
        } else {
            report.failed.push_back({action.file, applied.error().message});
            if (applied.error().code == Errc::full) {
                report.failed.back().message += "; make room, and sync again";
                break;  // for all others would fail, too
            }
        }
        if (terms.progress) {
            terms.progress(++done, planned.size());
        }
    }
    if (host != nullptr && (!report.plan.actions.empty() || terms.refresh_always)) {
        const auto refreshed = host->refresh_pool(terms.pool);
        if (!refreshed) {
            return std::unexpected(refreshed.error());
        }
        report.refreshed = true;
    }
    return report;
}

}  // namespace

Result<SyncReport> sync_pool(const SyncTerms& terms, const PoolSettings& settings, Catalog& catalog,
                             const LibvirtHost& host, const PoolDirectory& directory) {
    return pass(terms, settings, catalog, &host, directory);
}

Result<SyncReport> sync_pool_offline(const SyncTerms& terms, const PoolSettings& settings,
                                     Catalog& catalog, const PoolDirectory& directory) {
    return pass(terms, settings, catalog, nullptr, directory);
}

}  // namespace signpost
