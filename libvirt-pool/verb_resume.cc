// SPDX-License-Identifier: BSD-3-Clause
//
// `resume`: a machine that was paused by a disk's error goes on. Where QEMU has to find its server
// again, the request that finds that out fails once more, and pauses the machine once more: so it
// is resumed until it runs on.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "libvirt-pool/disk_start.h"
#include "libvirt-pool/pool_verbs.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;
using State = MachineFacts::State;

constexpr std::chrono::milliseconds kLook{100};
constexpr std::chrono::seconds kProof{3};  // without another stop
constexpr std::chrono::seconds kBetween{1};

// Asked before the machine is: a server that lets requests wait would let the machine run for that
// long, and stop again.
bool servers_answer(const std::vector<MachineDisk>& disks) {
    return std::ranges::all_of(disks, [](const MachineDisk& disk) {
        const auto behind = NbdUri::parse(disk.facts.terms.backing);
        return !behind || read_disk_start(*behind).has_value();
    });
}

}  // namespace

PoolResult run(const PoolContext& context, const ResumeVerb& verb) {
    const auto open = open_machine(context.options, verb.machine);
    if (!open) {
        return std::unexpected(open.error());
    }
    const auto end = Clock::now() + std::chrono::seconds(verb.patience_s);
    unsigned resumed = 0;
    auto running_since = Clock::now();
    while (true) {
        const auto facts = open->machine.facts();
        if (!facts) {
            return std::unexpected(pool_failure(facts.error()));
        }
        if (facts->state == State::running) {
            if (resumed == 0 || Clock::now() - running_since > kProof) {
                context.console.note(fmt::format("{} runs{}", escaped(verb.machine),
                                                 resumed == 0 ? " already" : ""));
                return ExitCode::ok;
            }
            std::this_thread::sleep_for(kLook);
            continue;
        }
        if (facts->state == State::held) {
            if (const auto going = open->machine.resume(); !going) {
                return std::unexpected(pool_failure(going.error()));
            }
            continue;
        }
        if (facts->state != State::paused_by_error) {
            return failure(ExitCode::conflict,
                           fmt::format("machine {} was not stopped by a disk's error, and stays as "
                                       "it is",
                                       escaped(verb.machine)));
        }
        if (Clock::now() > end) {
            return failure(ExitCode::peer_unreachable,
                           fmt::format("machine {} cannot go on: the server of its disk is still "
                                       "away (virsh domblkerror {}); nothing is lost "
                                       "while it waits",
                                       escaped(verb.machine), escaped(verb.machine)));
        }
        if (servers_answer(open->disks)) {
            if (const auto going = open->machine.resume(); !going) {
                return std::unexpected(pool_failure(going.error()));
            }
            ++resumed;
            running_since = Clock::now();
        }
        std::this_thread::sleep_for(kBetween);
    }
}

}  // namespace signpost
