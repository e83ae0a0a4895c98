// SPDX-License-Identifier: BSD-3-Clause
//
// `repair`: volumes that are no qcow2 any more (`virsh vol-wipe`, `vol-upload`) are set aside under
// a name that libvirt shows too, and made anew by the next pass.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "libvirt-pool/pool_verbs.h"
#include "libvirt-pool/volume_name.h"

namespace signpost {

namespace {

// A name that no disk's volume has, so that no pass ever touches it.
Outcome<std::string> set_aside(const PoolDirectory& directory, const std::string& file) {
    const auto lock = lock_volume(directory.descriptor(), file);
    if (!lock) {
        return std::unexpected(pool_failure(lock.error()));
    }
    for (unsigned i = 1;; ++i) {
        std::string kept = fmt::format("{}.damaged-{}", file.substr(0, 200), i);
        if (::renameat2(directory.descriptor(), file.c_str(), directory.descriptor(), kept.c_str(),
                        RENAME_NOREPLACE) == 0) {
            return kept;
        }
        if (errno != EEXIST) {
            return failure(ExitCode::failed,
                           fmt::format("volume {}: {}", escaped(file), std::strerror(errno)));
        }
    }
}

}  // namespace

PoolResult run(const PoolContext& context, const RepairVerb& verb) {
    const auto pool = open_pool(context.options);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    const auto present = pool->directory.list();
    if (!present) {
        return std::unexpected(pool_failure(present.error()));
    }
    for (const std::string& file : verb.volumes) {
        const auto found = std::ranges::find(*present, file, &PresentVolume::file);
        if (found == present->end() || !disk_of_volume(file)) {
            return failure(ExitCode::no_such_disk,
                           fmt::format("no disk's volume {} is in the pool; `signpost-pool status` "
                                       "names them",
                                       escaped(file)));
        }
        if (found->facts.state != VolumeState::damaged) {
            return failure(
                ExitCode::conflict,
                fmt::format("volume {} is not damaged, and stays as it is", escaped(file)));
        }
    }
    for (const PresentVolume& volume : *present) {
        const bool chosen = verb.volumes.empty() ||
                            std::ranges::find(verb.volumes, volume.file) != verb.volumes.end();
        if (!chosen || volume.facts.state != VolumeState::damaged || !disk_of_volume(volume.file)) {
            continue;
        }
        if (context.options.dry_run) {
            context.console.note(
                fmt::format("would set {} aside, and make it anew", escaped(volume.file)));
            continue;
        }
        const auto kept = set_aside(pool->directory, volume.file);
        if (!kept) {
            return std::unexpected(kept.error());
        }
        context.console.note(
            fmt::format("{}: what was there is {} now", escaped(volume.file), escaped(*kept)));
    }
    return sync_and_report(context, *pool, true);
}

}  // namespace signpost
