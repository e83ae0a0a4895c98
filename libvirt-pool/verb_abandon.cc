// SPDX-License-Identifier: BSD-3-Clause
//
// `abandon`: a machine that `recover` made goes, with all that it has written. The record of it
// goes last, so that what was interrupted can be done again.

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libvirt-pool/pool_verbs.h"
#include "libvirt-pool/recovery.h"
#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

std::uint64_t written_by(const OpenPool& pool, const Recovery& recovery) {
    std::uint64_t bytes = 0;
    for (const RecoveredDisk& disk : recovery.disks) {
        const auto facts = inspect_volume(pool.directory.descriptor(), recovery.file(disk));
        bytes += facts && facts->state != VolumeState::pristine ? facts->allocated : 0;
    }
    return bytes;
}

Outcome<void> remove_machine(const LibvirtHost& host, const std::string& name) {
    const auto machine = host.machine(name);
    if (!machine) {
        return machine.error().code == Errc::not_found
                   ? Outcome<void>{}
                   : std::unexpected(pool_failure(machine.error()));
    }
    // What is refused may have been done just now, for an earlier call that has died.
    const auto is_off = [&] {
        const auto facts = machine->facts();
        return facts && facts->state == MachineFacts::State::off;
    };
    const auto is_gone = [&] {
        const auto there = host.machine(name);
        return !there && there.error().code == Errc::not_found;
    };
    if (!is_off()) {
        const auto stopped = machine->stop();
        if (!stopped && !is_off() && !is_gone()) {
            return std::unexpected(pool_failure(stopped.error()));
        }
    }
    if (const auto gone = machine->undefine(); !gone && !is_gone()) {
        return std::unexpected(pool_failure(gone.error()));
    }
    return {};
}

}  // namespace

PoolResult run(const PoolContext& context, const AbandonVerb& verb) {
    const PoolOptions& options = context.options;
    const auto pool = open_pool(options);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    const int directory = pool->directory.descriptor();
    const auto recovery = read_recovery(pool->directory.records(), verb.machine);
    if (!recovery) {
        Failure why = pool_failure(recovery.error());
        if (recovery.error().code == Errc::not_found) {
            why.message = fmt::format(
                "machine {} was not brought back by `signpost-pool recover` "
                "in pool {}, and stays; `virsh undefine {}` removes any machine",
                escaped(verb.machine), escaped(options.pool), escaped(verb.machine));
        }
        return std::unexpected(std::move(why));
    }
    const std::string loss =
        fmt::format("machine {} and the {} that it has written", escaped(verb.machine),
                    size_for_people(written_by(*pool, *recovery)));
    if (options.dry_run) {
        context.console.note(fmt::format("would throw away {}", loss));
        return ExitCode::ok;
    }
    if (!options.yes && !context.console.ask(fmt::format("Throw away {}?", loss))) {
        return failure(ExitCode::failed, "nothing was thrown away; --yes does it without asking");
    }
    if (const auto gone = remove_machine(pool->host, verb.machine); !gone) {
        return std::unexpected(gone.error());
    }
    for (const RecoveredDisk& disk : recovery->disks) {
        const std::string file = recovery->file(disk);
        if (::unlinkat(directory, file.c_str(), 0) != 0 && errno != ENOENT) {
            return failure(ExitCode::failed,
                           fmt::format("volume {}: {}", escaped(file), std::strerror(errno)));
        }
    }
    if (const auto forgotten = remove_recovery(pool->directory.records(), verb.machine);
        !forgotten) {
        return std::unexpected(pool_failure(forgotten.error()));
    }
    return ExitCode::ok;
}

}  // namespace signpost
