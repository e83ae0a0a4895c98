// SPDX-License-Identifier: BSD-3-Clause
//
// Copier carries out the jobs of the catalog that are this server's. Of a copy or move that is to
// come here: it pulls the disk from the servers that have it, into a file that nobody sees, proves
// it, moves it to its place in one step, and publishes it with its digest. Of a move that goes from
// here: it gives the image up, once it has itself read from the target that the content is there.
//
// It sees jobs for itself, so a command only has to put them, and a server that was started again
// goes on where it was. One job at a time; one whose sources are away waits, and others go first. A
// job in the catalog is not trusted: all that it can do is to bring a disk of the federation here
// under its own name, or to take one away that is proven to be elsewhere.
//
// Lifetime: one thread, stopped and joined by the destructor; the parts outlive it. Threads: any.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "catalog/catalog.h"
#include "nbd-server/disk/digest_store.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/relayed_disk.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

struct CopierParts {
    Catalog& catalog;
    const RepositorySet& repositories;
    Log& log;
    std::string server;
    std::string site;
    bool accepts = true;  // false: no copy is made here; what is here may still be given up

    std::function<std::shared_ptr<Disk>(RelayPlan)> relay;
    // The same, but with what a cache of this server has already. Empty: there is none.
    std::function<std::shared_ptr<Disk>(RelayPlan)> relay_with_cache = {};
    std::function<Result<std::shared_ptr<Disk>>(OpenImage)> serve;  // own images, to be read
    std::function<bool(const DiskName&)> being_written;             // by clients of ours, now
    DigestStore* digests = nullptr;  // of own images: a copy leaves there what it has computed
};

struct CopierTimes {
    std::chrono::milliseconds look{0};       // for new jobs; 0: as the catalog likes it
    std::chrono::milliseconds report{1000};  // of progress
    std::chrono::milliseconds retry{2000};   // at first; grows to
    std::chrono::milliseconds slowest{60000};
};

class Copier {
   public:
    Copier() = default;
    Copier(const Copier&) = delete;
    Copier& operator=(const Copier&) = delete;
    virtual ~Copier() = default;
};

std::unique_ptr<Copier> start_copier(CopierParts parts, CopierTimes times = {});

}  // namespace signpost
