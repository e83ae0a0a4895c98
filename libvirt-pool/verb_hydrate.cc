// SPDX-License-Identifier: BSD-3-Clause
//
// `hydrate`: brings what lies behind a running machine's disks into their own files, until it needs
// no server. What has been copied is the volume's for good, so whatever ends the command, or the
// copying, the next call goes on from there.
//
// At its end QEMU's job takes the name of what lies behind out of the image's header, while its
// tables of where the copied bytes lie may be in QEMU's memory only, until something is flushed
// (seen with 7.2: a machine whose guest does not write never does). If QEMU dies in between, the
// image reads as zeros wherever nobody but the job had written. So before a job begins, the
// machine's next start gets the whole chain spelled out, which then counts whatever the header
// says; and that is taken back only when QEMU has flushed.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "libvirt-pool/block_job.h"
#include "libvirt-pool/machine_xml.h"
#include "libvirt-pool/pool_verbs.h"

namespace signpost {

namespace {

using State = MachineFacts::State;

constexpr unsigned kTries = 30;
constexpr std::chrono::seconds kBetween{1};

class Hydrating {
   public:
    Hydrating(const PoolContext& context, const OpenMachine& open, std::uint64_t rate)
        : context_(context), open_(open), machine_(open.machine), rate_(rate) {}

    Outcome<void> bring_home(const MachineDisk& disk) const;

   private:
    std::string path_of(const MachineDisk& disk) const {
        return fmt::format("{}/{}", open_.pool.directory.path(), disk.file);
    }
    bool starts_with(const MachineFacts& facts, const MachineDisk& disk) const;
    Outcome<bool> needs_server(const std::string& target) const;
    Outcome<void> define(const Result<std::string>& xml) const;
    Outcome<void> keep_chain(const MachineDisk& disk) const;
    Outcome<void> pull(const MachineDisk& disk) const;
    Outcome<void> settle(const MachineDisk& disk) const;

    const PoolContext& context_;
    const OpenMachine& open_;
    const Machine& machine_;
    const std::uint64_t rate_;
};

Outcome<bool> Hydrating::needs_server(const std::string& target) const {
    const auto facts = machine_.facts();
    const auto disks = facts ? disks_in_pool(*facts, context_.options.pool, open_.pool.directory)
                             : Result<std::vector<MachineDisk>>(std::unexpected(facts.error()));
    if (!disks) {
        return std::unexpected(pool_failure(disks.error()));
    }
    return std::ranges::any_of(*disks, [&](const MachineDisk& disk) {
        return disk.target == target && disk.needs_server();
    });
}

// Whether the machine has this very disk at its next start, too.
bool Hydrating::starts_with(const MachineFacts& facts, const MachineDisk& disk) const {
    MachineFacts next = facts;
    next.xml = facts.next_xml;
    const auto disks = disks_in_pool(next, context_.options.pool, open_.pool.directory);
    return facts.persistent && disks && std::ranges::any_of(*disks, [&](const MachineDisk& other) {
               return other.target == disk.target && other.file == disk.file;
           });
}

Outcome<void> Hydrating::define(const Result<std::string>& xml) const {
    const auto defined =
        xml ? open_.pool.host.define_machine(*xml) : Result<Machine>(std::unexpected(xml.error()));
    if (!defined) {
        return std::unexpected(pool_failure(defined.error()));
    }
    return {};
}

Outcome<void> Hydrating::keep_chain(const MachineDisk& disk) const {
    const auto facts = machine_.facts();
    if (!facts) {
        return std::unexpected(pool_failure(facts.error()));
    }
    if (!starts_with(*facts, disk) ||
        chain_of(facts->next_xml, disk.target, facts->xml) == Chain::kept) {
        return {};
    }
    return define(with_chain(facts->next_xml, disk.target, path_of(disk), facts->xml));
}

// The job ends in silence when the server goes away under it; what it has done stays done.
Outcome<void> Hydrating::pull(const MachineDisk& disk) const {
    Progress progress(context_.console, fmt::format("{} {}", machine_.name(), disk.target),
                      disk.facts.terms.size);
    Error last{Errc::unavailable, "the copying ended early: is the server away?"};
    for (unsigned i = 0; i < kTries; ++i) {
        const auto needs = needs_server(disk.target);
        if (!needs || !*needs) {
            return needs ? Outcome<void>{} : std::unexpected(needs.error());
        }
        if (i > 0) {
            std::this_thread::sleep_for(kBetween);
        }
        auto job = machine_.job(disk.target);
        if (job && *job && !(*job)->pull) {
            return failure(ExitCode::conflict,
                           fmt::format("machine {}: something else is being done to {} (virsh "
                                       "blockjob {} {})",
                                       escaped(machine_.name()), disk.target,
                                       escaped(machine_.name()), disk.target));
        }
        if (job && !*job) {
            if (const auto pulled = machine_.pull(disk.target, rate_); !pulled) {
                last = pulled.error();
                continue;
            }
        }
        if (job) {
            job = JobWatch(machine_, disk.target, rate_, progress).wait();
        }
        if (!job) {
            return std::unexpected(pool_failure(job.error()));
        }
    }
    return std::unexpected(pool_failure(last));
}

// All that has been copied is on the disk, and the machine starts from its own file the next time.
Outcome<void> Hydrating::settle(const MachineDisk& disk) const {
    auto done = machine_.hold();
    const auto facts = machine_.facts();
    // One that a disk's error had stopped before is not stopped again, and so has not flushed.
    const bool flushed = facts && facts->state == State::held;
    if (done && flushed) {
        done = machine_.resume();
    }
    if (!done || !facts) {
        return std::unexpected(pool_failure(done ? facts.error() : done.error()));
    }
    if (!flushed) {
        return failure(ExitCode::conflict,
                       fmt::format("machine {} has stopped; `signpost-pool resume {}`, and hydrate "
                                   "it again",
                                   escaped(machine_.name()), escaped(machine_.name())));
    }
    if (!starts_with(*facts, disk) ||
        chain_of(facts->next_xml, disk.target, facts->xml) == Chain::none) {
        return {};
    }
    return define(without_chain(facts->next_xml, disk.target, path_of(disk), facts->xml));
}

Outcome<void> Hydrating::bring_home(const MachineDisk& disk) const {
    if (disk.needs_server()) {
        if (const auto kept = keep_chain(disk); !kept) {
            return kept;
        }
        if (const auto pulled = pull(disk); !pulled) {
            return pulled;
        }
    } else if (chain_of(open_.facts.next_xml, disk.target, open_.facts.xml) == Chain::none) {
        return {};
    }
    return settle(disk);
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
    if (const auto going = let_go(context, *open); !going) {
        return std::unexpected(going.error());
    }
    if (open->facts.state == State::paused) {
        return failure(ExitCode::conflict,
                       fmt::format("machine {} is paused: virsh resume {}", escaped(verb.machine),
                                   escaped(verb.machine)));
    }
    for (const MachineDisk& disk : open->disks) {
        if (context.options.dry_run) {
            context.console.note(
                fmt::format("{} {} {}", disk.target, escaped(disk.file),
                            disk.needs_server() ? "would be copied home" : "is home already"));
            continue;
        }
        const auto home = Hydrating(context, *open, verb.rate).bring_home(disk);
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
