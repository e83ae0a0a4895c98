// SPDX-License-Identifier: BSD-3-Clause
//
// `hydrate`: brings what lies behind a running machine's disks into their own files, until it needs
// no server. What has been copied is the volume's for good, so whatever ends the command, or the
// copying, the next call goes on from there.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "libvirt-pool/block_job.h"
#include "libvirt-pool/pool_verbs.h"

namespace signpost {

namespace {

constexpr unsigned kTries = 30;
constexpr std::chrono::seconds kBetween{1};

Result<bool> needs_server(const OpenPool& pool, const std::string& file) {
    const auto facts = inspect_volume(pool.directory.descriptor(), file);
    if (!facts) {
        return std::unexpected(facts.error());
    }
    return !facts->terms.backing.empty();
}

// The job ends in silence when the server goes away under it; what it has done stays done.
Outcome<void> bring_home(const PoolContext& context, const OpenPool& pool, const Machine& machine,
                         const MachineDisk& disk, std::uint64_t rate) {
    Progress progress(context.console, fmt::format("{} {}", machine.name(), disk.target),
                      disk.facts.terms.size);
    Error last{Errc::unavailable, "the copying ended early: is the server away?"};
    for (unsigned i = 0; i < kTries; ++i) {
        const auto needs = needs_server(pool, disk.file);
        if (!needs) {
            return std::unexpected(pool_failure(needs.error()));
        }
        if (!*needs) {
            return {};
        }
        if (i > 0) {
            std::this_thread::sleep_for(kBetween);
        }
        auto job = machine.job(disk.target);
        if (job && *job && !(*job)->pull) {
            return failure(ExitCode::conflict,
                           fmt::format("machine {}: something else is being done to {} (virsh "
                                       "blockjob {} {})",
                                       escaped(machine.name()), disk.target,
                                       escaped(machine.name()), disk.target));
        }
        if (job && !*job) {
            if (const auto pulled = machine.pull(disk.target, rate); !pulled) {
                last = pulled.error();
                continue;
            }
        }
        if (job) {
            job = JobWatch(machine, disk.target, rate, progress).wait();
        }
        if (!job) {
            return std::unexpected(pool_failure(job.error()));
        }
    }
    return std::unexpected(pool_failure(last));
}

}  // namespace

PoolResult run(const PoolContext& context, const HydrateVerb& verb) {
    const auto open = open_machine(context.options, verb.machine);
    if (!open) {
        return std::unexpected(open.error());
    }
    if (open->disks.empty()) {
        return failure(ExitCode::conflict,
                       fmt::format("machine {} has no disk in pool {}", escaped(verb.machine),
                                   escaped(context.options.pool)));
    }
    const bool needed = std::ranges::any_of(open->disks, &MachineDisk::needs_server);
    if (needed && open->facts.state == MachineFacts::State::off) {
        return failure(ExitCode::conflict,
                       fmt::format("machine {} is off, and QEMU does the copying: virsh start {}",
                                   escaped(verb.machine), escaped(verb.machine)));
    }
    for (const MachineDisk& disk : open->disks) {
        if (context.options.dry_run) {
            context.console.note(
                fmt::format("{} {} {}", disk.target, escaped(disk.file),
                            disk.needs_server() ? "would be copied home" : "is home already"));
            continue;
        }
        const auto home = bring_home(context, open->pool, open->machine, disk, verb.rate);
        if (!home) {
            return std::unexpected(home.error());
        }
    }
    if (!context.options.dry_run) {
        context.console.note(fmt::format("{} needs no server any more", escaped(verb.machine)));
    }
    return ExitCode::ok;
}

}  // namespace signpost
