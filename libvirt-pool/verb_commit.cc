// SPDX-License-Identifier: BSD-3-Clause
//
// `commit`: what a machine has written into its volume goes into the disk itself, on its server,
// which then takes the volume's place. Only for exports that can be written.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "libvirt-pool/block_job.h"
#include "libvirt-pool/pool_verbs.h"

namespace signpost {

namespace {

constexpr unsigned kTries = 50;
constexpr std::chrono::milliseconds kBetween{100};

Outcome<void> write_back(const PoolContext& context, const Machine& machine,
                         const MachineDisk& disk) {
    Progress progress(context.console, fmt::format("{} {}", machine.name(), disk.target),
                      disk.facts.allocated);
    const auto begun = machine.job(disk.target);
    if (begun && !*begun) {
        if (const auto committed = machine.commit(disk.target, 0); !committed) {
            Failure why = pool_failure(committed.error());
            why.message += "; only a disk that its server lets be written can take writes back";
            return std::unexpected(std::move(why));
        }
    }
    const auto job = JobWatch(machine, disk.target, 0, progress).wait();
    if (!job || !*job) {
        return job ? failure(ExitCode::failed,
                             fmt::format("machine {}: writing {} back ended early; its volume is "
                                         "as it was",
                                         escaped(machine.name()), disk.target))
                   : std::unexpected(pool_failure(job.error()));
    }
    // QEMU may still have a word to say after the last byte.
    for (unsigned i = 0;; ++i) {
        const auto completed = machine.complete(disk.target);
        if (completed) {
            return {};
        }
        if (i == kTries) {
            return std::unexpected(pool_failure(completed.error()));
        }
        std::this_thread::sleep_for(kBetween);
    }
}

}  // namespace

PoolResult run(const PoolContext& context, const CommitVerb& verb) {
    const auto open = open_machine(context.options, verb.machine);
    if (!open) {
        return std::unexpected(open.error());
    }
    unsigned committed = 0;
    for (const MachineDisk& disk : open->disks) {
        if ((!verb.target.empty() && disk.target != verb.target) || !disk.needs_server()) {
            continue;
        }
        ++committed;
        if (context.options.dry_run) {
            context.console.note(fmt::format("would write {} back into {}", escaped(disk.file),
                                             escaped(disk.facts.terms.backing)));
            continue;
        }
        if (const auto back = write_back(context, open->machine, disk); !back) {
            return std::unexpected(back.error());
        }
        context.console.note(fmt::format("{} has the disk itself as {} now; {} is left over",
                                         escaped(verb.machine), disk.target, escaped(disk.file)));
    }
    if (committed == 0) {
        return failure(ExitCode::conflict,
                       fmt::format("machine {} has no such volume with a disk behind it in pool {}",
                                   escaped(verb.machine), escaped(context.options.pool)));
    }
    return ExitCode::ok;
}

}  // namespace signpost
