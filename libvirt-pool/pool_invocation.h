// SPDX-License-Identifier: BSD-3-Clause
//
// What the command line of signpost-pool asks for, checked.
//
// Values; no thread rule.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "catalog/disk_name.h"
#include "catalog/nbd_uri.h"
#include "terminal/console.h"

namespace signpost {

// What all verbs share.
struct PoolOptions {
    std::string pool = "signpost";
    std::optional<NbdUri> via;  // the server that machines ask; empty: as `define` was told
    std::string path;           // of the pool's directory; empty: as libvirt knows it
    std::string catalog;        // URL; empty: as `define` was told
    std::string connect;        // libvirt's URI
    bool json = false;
    bool yes = false;
    bool dry_run = false;
    ColorMode color = ColorMode::automatic;
};

struct DefineVerb {
    std::vector<std::string> patterns;
    std::string server;
    std::uint64_t newest = 0;  // restore points of each disk; 0: all
};

struct SyncVerb {
    bool offline = false;  // libvirt does not run yet
};

struct PoolStatusVerb {};

struct RepairVerb {
    std::vector<std::string> volumes;  // empty: all that are damaged
};

struct AttachVerb {
    std::string machine;
    DiskName disk;
    std::string target;  // empty: the next that is free
    std::string bus;
    bool read_only = false;
    bool live = false;   // the export itself, no volume
    bool print = false;  // the XML, and do nothing
};

struct RecoverVerb {
    std::vector<DiskName> disks;
    std::string machine;
    std::string xml;  // a file; empty: the machine is made from nothing but its disks
    std::uint64_t memory_mib = 2048;
    unsigned cpus = 2;
    std::string bus = "sata";
    std::string firmware = "auto";
    std::string type = "kvm";
    std::string network = {};
    bool isolated = false;
    bool live = false;
};

struct HydrateVerb {
    std::string machine;
    std::uint64_t rate = 0;  // bytes a second; 0: as fast as it goes beside the guest
};

struct CommitVerb {
    std::string machine;
    std::string target;  // empty: all
};

struct AbandonVerb {
    std::string machine;
};

struct WatchVerb {
    std::uint64_t interval_s = 2;
};

struct ResumeVerb {
    std::string machine;
    std::uint64_t patience_s = 60;
};

using PoolVerb =
    std::variant<DefineVerb, SyncVerb, WatchVerb, PoolStatusVerb, RepairVerb, AttachVerb,
                 RecoverVerb, HydrateVerb, CommitVerb, ResumeVerb, AbandonVerb>;

struct PoolInvocation {
    PoolOptions options;
    PoolVerb verb;
};

}  // namespace signpost
