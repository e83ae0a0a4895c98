// SPDX-License-Identifier: BSD-3-Clause
//
// `resume`: a machine that was paused by a disk's error goes on. Where QEMU has to find its server
// again, the request that finds that out fails once more, and pauses the machine once more: so it
// is resumed until the request that stopped it has succeeded.

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "libvirt-pool/machine_xml.h"
#include "libvirt-pool/pool_verbs.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;
using State = MachineFacts::State;

constexpr std::chrono::milliseconds kLook{100};
constexpr std::chrono::seconds kProof{20};  // longer than any server lets a request wait
constexpr std::chrono::seconds kBetween{1};

// How many requests of the guest have succeeded: the one that failed is tried again first.
std::uint64_t requests_of(const Machine& machine, const MachineFacts& facts) {
    std::uint64_t sum = 0;
    for (const std::string& target : disk_targets(facts.xml).value_or(std::vector<std::string>())) {
        sum += machine.guest_requests(target).value_or(0);
    }
    return sum;
}

}  // namespace

PoolResult run(const PoolContext& context, const ResumeVerb& verb) {
    const auto host = LibvirtHost::connect(context.options.connect);
    if (!host) {
        return std::unexpected(pool_failure(host.error()));
    }
    const auto machine = host->machine(verb.machine);
    if (!machine) {
        return std::unexpected(pool_failure(machine.error()));
    }
    const auto end = Clock::now() + std::chrono::seconds(verb.patience_s);
    unsigned resumed = 0;
    auto running_since = Clock::now();
    std::uint64_t requests = 0;
    while (true) {
        const auto facts = machine->facts();
        if (!facts) {
            return std::unexpected(pool_failure(facts.error()));
        }
        if (facts->state == State::running) {
            if (resumed == 0 || requests_of(*machine, *facts) > requests ||
                Clock::now() - running_since > kProof) {
                context.console.note(fmt::format("{} runs{}", escaped(verb.machine),
                                                 resumed == 0 ? " already" : ""));
                return ExitCode::ok;
            }
            std::this_thread::sleep_for(kLook);
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
                           fmt::format("machine {} stops again and again: the server of its disk "
                                       "is still away (virsh domblkerror {}); nothing is lost "
                                       "while it waits",
                                       escaped(verb.machine), escaped(verb.machine)));
        }
        if (resumed++ > 0) {
            std::this_thread::sleep_for(kBetween);
        }
        requests = requests_of(*machine, *facts);
        if (const auto going = machine->resume(); !going) {
            return std::unexpected(pool_failure(going.error()));
        }
        running_since = Clock::now();
    }
}

}  // namespace signpost
