// SPDX-License-Identifier: BSD-3-Clause
//
// What a Federation is put together from. start_federation() does it for the programs; tests put in
// parts of their own.
//
// Lifetime: the members end in the reverse of their order, so each may use those above it.

#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "nbd-server/disk/block_cache.h"
#include "nbd-server/disk/catalog_watch.h"
#include "nbd-server/disk/copier.h"
#include "nbd-server/disk/digest_store.h"
#include "nbd-server/disk/digester.h"
#include "nbd-server/disk/federation.h"
#include "nbd-server/disk/format_helper.h"
#include "nbd-server/disk/local_disk.h"
#include "nbd-server/disk/publisher.h"
#include "nbd-server/disk/relayed_disk.h"
#include "nbd-server/disk/verified_disk.h"

namespace signpost {

struct FederationParts {
    std::string server;
    std::string site;
    bool writable = false;

    std::unique_ptr<Catalog> catalog;
    std::unique_ptr<Liveness> liveness;  // null: the store's clock alone says who is there
    std::unique_ptr<RepositorySet> repositories;
    std::unique_ptr<RelayEngine> engine;
    std::unique_ptr<FormatHelpers> helpers;
    std::shared_ptr<std::atomic<unsigned>> sessions = std::make_shared<std::atomic<unsigned>>(0);
    std::unique_ptr<Publisher> publisher;  // null: nothing is published
    std::unique_ptr<Writers> writers;      // null: whoever may write does
    std::unique_ptr<CatalogWatch> watch;   // null: live disks do not notice the catalog's changes
    std::unique_ptr<DigestStore> digests;  // null: none are kept
    std::unique_ptr<VerifyServices> verifier;  // null: what is relayed is not checked
    Verify verify = Verify::off;
    std::unique_ptr<BlockCache> cache;  // null: what is relayed is not kept
    BootProfiles profiles;              // of disks that no cache keeps

    // The two ways in which a disk comes to be: from an image of ours, and from a plan.
    using BeforeFirstWrite = std::function<Result<void>()>;
    using ServeImage = std::function<Result<std::shared_ptr<Disk>>(OpenImage, BeforeFirstWrite)>;
    ServeImage serve_image;
    std::function<std::shared_ptr<Disk>(RelayPlan)> relay;

    std::unique_ptr<Copier> copier;      // null: the catalog's jobs are not looked at
    std::unique_ptr<Digester> digester;  // null: none; uses all of the above
};

std::unique_ptr<Federation> make_federation(FederationParts parts, Log& log);

}  // namespace signpost
