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

// The guest does not write until libvirt has noted what the disk is now: should the host die in
// between, either image is right.
Outcome<void> take_its_place(const Machine& machine, const std::string& target) {
    const auto facts = machine.facts();
    const bool runs = facts && facts->state == MachineFacts::State::running;
    auto completed = runs ? machine.hold() : Result<void>{};
    if (completed) {
        completed = machine.complete(target);
    }
    // QEMU may still have a word to say after the last byte.
    for (unsigned i = 0; !completed && i < kTries; ++i) {
        std::this_thread::sleep_for(kBetween);
        completed = machine.complete(target);
    }
    const auto going = runs ? machine.resume() : Result<void>{};
    if (!completed || !going) {
        return std::unexpected(pool_failure(completed ? going.error() : completed.error()));
    }
    return {};
}

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
    return take_its_place(machine, disk.target);
}

}  // namespace

PoolResult run(const PoolContext& context, const CommitVerb& verb) {
    const auto open = open_machine(context.options, verb.machine);
    if (!open) {
        return std::unexpected(open.error());
    }
    if (const auto going = let_go(context, *open); !going) {
        return std::unexpected(going.error());
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
