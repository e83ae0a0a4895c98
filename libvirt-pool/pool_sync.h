// SPDX-License-Identifier: BSD-3-Clause
//
// One pass that makes a pool equal to the catalog: what the catalog has, what the directory has,
// what machines use; the plan; its actions, each checked again when its turn comes; and one refresh
// when anything has changed.
//
// A pass may be killed anywhere and run again: each action is whole by itself.
//
// Threads: any; two passes over one pool wait for each other.

#pragma once

#include <functional>
#include <string>
#include <vector>

#include "libvirt-pool/libvirt_host.h"
#include "libvirt-pool/pool_directory.h"
#include "libvirt-pool/pool_settings.h"

namespace signpost {

struct SyncTerms {
    std::string pool;
    bool dry_run = false;
    bool refresh_always = false;
    std::function<void(std::size_t done, std::size_t all)> progress = nullptr;
    // What the catalog has, if it was read just now.
    const std::vector<WantedVolume>* wanted = nullptr;
};

struct SyncReport {
    struct Failed {
        std::string file;
        std::string message;
    };

    PoolPlan plan;               // its actions: those that were taken; of a dry run, all
    std::vector<Failed> failed;  // actions that are still to be done
    bool refreshed = false;
    bool offline = false;  // libvirt was not asked what is a machine's
};

// Errors of the catalog and of libvirt; invalid: too many disks. unavailable: another pass is under
// way and does not end. Nothing has been changed then.
Result<SyncReport> sync_pool(const SyncTerms& terms, const PoolSettings& settings, Catalog& catalog,
                             const LibvirtHost& host, const PoolDirectory& directory);

// The same where libvirt does not run: it makes what is missing. Any file that is there may be a
// machine's, so all of them stay as they are.
Result<SyncReport> sync_pool_offline(const SyncTerms& terms, const PoolSettings& settings,
                                     Catalog& catalog, const PoolDirectory& directory);

}  // namespace signpost
