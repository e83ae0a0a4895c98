// SPDX-License-Identifier: BSD-3-Clause
//
// What `define` was told of a pool, kept in its directory, so that every later command needs the
// pool's name only: which disks it shows, and through which server.
//
// Values; threads: any.

#pragma once

#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/nbd_uri.h"
#include "libvirt-pool/pool_plan.h"

namespace signpost {

// Which disks a pool shows: all, or those that every rule given here lets through.
struct Selection {
    std::vector<std::string> patterns;  // globs, or prefixes that end with `/`; one of them
    std::string server;                 // that holds a copy
    std::uint64_t newest = 0;           // restore points of each disk; 0: all

    // But for `newest`, which looks at all that match.
    bool matches(const DiskRecord& disk) const;

    bool operator==(const Selection&) const = default;
};

struct PoolSettings {
    NbdUri via;           // the server that machines ask, without an export
    std::string catalog;  // URL; empty: the default
    Selection selection;

    bool operator==(const PoolSettings&) const = default;
};

// invalid: the record is not what write_settings() made; not_found: `define` was never run for this
// directory; else as read_state.
Result<PoolSettings> read_settings(int directory);
Result<void> write_settings(int directory, const PoolSettings& settings);
Result<void> remove_settings(int directory);

// What the volume of a disk is made of. A size is rounded up to whole sectors, as QEMU has it; what
// is behind the disk's end reads as zeroes.
VolumeTerms volume_terms(const DiskRecord& disk, const NbdUri& via);

// The disks of the selection as volumes behind VIA, in byte order. Errors of the catalog.
Result<std::vector<WantedVolume>> select_volumes(Catalog& catalog, const Selection& selection,
                                                 const NbdUri& via);

}  // namespace signpost
