// SPDX-License-Identifier: BSD-3-Clause
//
// Federation answers a client's export name with an open Disk: this server's own image first, else
// the catalog's referral, relayed. Disks are shared by the sessions that open the same content. It
// is what the nbdkit plugin and signpostd have in common.
//
// Lifetime: built by main or the plugin after any fork; outlives the disks. Threads: any.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "nbd-server/disk/cache_settings.h"
#include "nbd-server/disk/digest_settings.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/histogram.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/relay_engine.h"
#include "nbd-server/disk/repository.h"
#include "nbd-server/disk/writers.h"

namespace signpost {

struct FederationSettings {
    std::vector<std::string> repositories;  // directories
    RepositoryOptions repository_options;   // writable: images and relays alike
    std::string catalog_url;                // empty: default_catalog_url()
    std::string server;                     // empty: the host name
    std::string uri;                        // empty: serve, but publish no location
    std::string site;
    int priority = kDefaultPriority;
    bool copies = true;  // carry out jobs of the catalog: bring disks here, give them up
    PriorityClass priority_class = PriorityClass::site_normal;
    std::string instance;       // filled by check_federation; empty: made at start
    std::string known_trouble;  // of the catalog, filled by check_federation: told once
    RelaySettings relay;

    // Where servers of this machine keep what they know; empty: nothing is kept. This server's own
    // directory there is filled in by check_federation; empty: nothing can be kept.
    std::string state_directory;
    std::string own_state;
    std::chrono::seconds stub_lifetime{300};

    DigestSettings digests;
    Verify verify = Verify::off;  // of what is relayed
    CacheSettings cache;          // of what is relayed
    WriterSettings writers;
};

// One line of an export list.
struct ExportEntry {
    std::string name;
    std::string description;  // "40 GiB raw on beta, relayed"
};

// For whom a disk is opened, where that is to be told to the servers that hold it.
struct Asker {
    // Sessions share a relay only when these are equal; no line feed in it. Empty: the relay asks
    // for itself.
    std::string who;

    // By which clients are told apart when they write: of all of its sessions the same. Empty: one
    // that cannot be told from others of its kind.
    std::string identity;

    // A ticket for one connection to SERVER, of this kind of access; as Upstream::ticket.
    std::function<Result<std::string>(const std::string& server, const DiskName& disk, bool write)>
        ticket;

    // Asked before a restore point is opened for a name that only means it (its disk's newest
    // point): false refuses, as if there were none. Empty: true.
    std::function<bool(const DiskName& point)> may_open = {};
};

// What is counted below the sessions.
struct FederationFigures {
    DurationCounts lookups;  // where a disk is that is not this server's
    bool has_cache = false;
    std::uint64_t cache_hit = 0;  // bytes
    std::uint64_t cache_fetched = 0;
    std::uint64_t cache_bytes = 0;
    unsigned helpers = 0;
    std::int64_t last_scan = 0;  // when the repositories were looked through; 0: not yet, or none
};

class Federation {
   public:
    Federation() = default;
    Federation(const Federation&) = delete;
    Federation& operator=(const Federation&) = delete;
    virtual ~Federation() = default;

    // A name that no disk has may mean a restore point (restore_point.h), which is then served
    // read-only; the session stays on it when a newer one comes.
    // invalid: not a disk name; not_found; unavailable: the catalog is down and the disk is not
    // ours; or as RepositorySet::open_image. WRITABLE asks for a writable disk; what is granted is
    // in the disk's traits. With an ASKER who is to be told of, a foreign server's disk is never
    // writable: it would be written by a client of whom that server knows nothing.
    virtual Result<std::shared_ptr<Disk>> open(const std::string& export_name, bool writable,
                                               const Asker& asker = {}) = 0;

    // All disks of the federation whose names come after AFTER, at most LIMIT, own images included,
    // in byte order; `complete` says whether that was all. No peer is asked.
    struct Listing {
        std::vector<ExportEntry> entries;
        bool complete = true;
    };
    virtual Result<Listing> exports(std::size_t limit, const std::string& after = {}) = 0;

    // This server's way to the catalog, for looking: what it remembers when that is away.
    virtual Catalog& catalog() = 0;

    virtual FederationFigures figures() { return {}; }

    // Whose loops the relayed disks live on.
    virtual RelayEngine& engine() = 0;
};

// Errors that the operator should see before serving starts: bad directory, corrupt or newer
// catalog, a server name in use. Registers the server, and holds no thread or database handle when
// it returns: call it before a fork, start_federation after.
Result<FederationSettings> check_federation(FederationSettings settings, Log& log);

Result<std::unique_ptr<Federation>> start_federation(FederationSettings settings, Log& log);

}  // namespace signpost
