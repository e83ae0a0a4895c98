// SPDX-License-Identifier: BSD-3-Clause

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "libvirt-pool/disk_start.h"
#include "libvirt-pool/machine_references.h"
#include "libvirt-pool/machine_xml.h"
#include "libvirt-pool/pool_verbs.h"
#include "libvirt-pool/recovery.h"
#include "libvirt-pool/volume_name.h"

namespace signpost {

namespace {

constexpr std::array kBuses = {"virtio", "sata", "scsi", "usb", "ide"};

// Two machines on one volume would each see the other's writes as damage.
Outcome<std::string> free_volume(const PoolContext& context, const OpenPool& pool,
                                 const AttachVerb& verb) {
    auto file = volume_name(verb.disk);
    if (!file) {
        Failure why = pool_failure(file.error());
        why.message += "; --live gives a machine the disk itself";
        return std::unexpected(std::move(why));
    }
    const auto facts = inspect_volume(pool.directory.descriptor(), *file);
    if (!facts && facts.error().code == Errc::not_found) {
        return failure(ExitCode::no_such_disk,
                       fmt::format("pool {} has no volume of disk {}; `signpost-pool sync` makes "
                                   "what is missing, `signpost ls` lists the names",
                                   escaped(context.options.pool), escaped(verb.disk.str())));
    }
    if (!facts || facts->state == VolumeState::damaged) {
        return facts ? failure(ExitCode::conflict,
                               fmt::format("volume {} is no qcow2 any more; `signpost-pool repair` "
                                           "makes it anew",
                                           escaped(*file)))
                     : std::unexpected(pool_failure(facts.error()));
    }
    const auto machines = pool.host.machines();
    if (!machines) {
        return std::unexpected(pool_failure(machines.error()));
    }
    const auto used = referenced_files(*machines, context.options.pool, pool.directory, {});
    if (!used) {
        return std::unexpected(pool_failure(used.error()));
    }
    if (const auto owner = used->find(*file); owner != used->end()) {
        return failure(
            ExitCode::conflict,
            fmt::format("volume {} belongs to machine {} already; give this one a volume of its "
                        "own: virsh vol-create-as {} NAME.qcow2 SIZE --format qcow2 "
                        "--backing-vol {} --backing-vol-format qcow2",
                        escaped(*file), escaped(owner->second), escaped(context.options.pool),
                        escaped(*file)));
    }
    return fmt::format("{}/{}", pool.directory.path(), *file);
}

// A running machine opens the disk at once; QEMU's refusal would not say what to do.
Outcome<void> check_server(const OpenPool& pool, const AttachVerb& verb, const DiskDevice& device) {
    if (!device.uri) {
        const auto facts =
            inspect_volume(pool.directory.descriptor(), volume_name(verb.disk).value_or(""));
        if (facts && facts->terms.backing.empty()) {
            return {};  // it needs none any more
        }
    }
    const auto start = read_disk_start(pool.settings.via.with_export(verb.disk.str()));
    if (!start) {
        return std::unexpected(pool_failure(start.error()));
    }
    return {};
}

Outcome<void> check_words(const AttachVerb& verb) {
    if (std::ranges::find(kBuses, verb.bus) == kBuses.end()) {
        return failure(ExitCode::usage, fmt::format("--bus {}: use virtio, sata, scsi, usb or ide",
                                                    escaped(verb.bus)));
    }
    if (!verb.target.empty() && !check_target(verb.target)) {
        return failure(ExitCode::usage,
                       fmt::format("--target {}: use a name as machines have for disks: vda, sdb",
                                   escaped(verb.target)));
    }
    return {};
}

}  // namespace

PoolResult run(const PoolContext& context, const AttachVerb& verb) {
    if (const auto checked = check_words(verb); !checked) {
        return std::unexpected(checked.error());
    }
    const auto open = open_machine(context.options, verb.machine);
    if (!open) {
        return std::unexpected(open.error());
    }
    auto taken = disk_targets(open->facts.xml);
    auto taken_next = disk_targets(open->facts.next_xml);
    if (!taken || !taken_next) {
        return std::unexpected(pool_failure(taken ? taken_next.error() : taken.error()));
    }
    taken->insert(taken->end(), taken_next->begin(), taken_next->end());
    DiskDevice device{.target = verb.target.empty() ? free_target(*taken, verb.bus) : verb.target,
                      .bus = verb.bus,
                      .read_only = verb.read_only,
                      .reconnects = open->pool.host.knows_reconnect()};
    if (verb.live) {
        device.uri = open->pool.settings.via.with_export(verb.disk.str());
    } else {
        auto file = free_volume(context, open->pool, verb);
        if (!file) {
            return std::unexpected(file.error());
        }
        device.file = std::move(*file);
    }
    const std::string xml = disk_device_xml(device);
    if (verb.print || context.options.dry_run) {
        context.console.out(xml);
        return ExitCode::ok;
    }
    const bool off = open->facts.state == MachineFacts::State::off;
    if (const auto there = off ? Outcome<void>{} : check_server(open->pool, verb, device); !there) {
        return std::unexpected(there.error());
    }
    const auto attached = open->machine.attach(xml, off ? Machine::Reach::next_start
                                                    : open->facts.persistent ? Machine::Reach::both
                                                                             : Machine::Reach::now);
    if (!attached) {
        return std::unexpected(pool_failure(attached.error()));
    }
    context.console.note(fmt::format("{} has {} as {}{}", escaped(verb.machine),
                                     escaped(verb.disk.str()), device.target,
                                     off ? ", from its next start on" : ""));
    return ExitCode::ok;
}

}  // namespace signpost
