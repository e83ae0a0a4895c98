// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/machine.h"

#include <fmt/format.h>
#include <libvirt/libvirt.h>

#include "catalog/disk_name.h"
#include "libvirt-pool/libvirt_error.h"

namespace signpost {

namespace {

// libvirt keeps this with the running machine: it outlives libvirtd, and ends with QEMU.
constexpr const char* kHeld = "urn:signpost-pool:held";

bool is_marked(virDomain* machine) {
    return LibvirtText(virDomainGetMetadata(machine, VIR_DOMAIN_METADATA_ELEMENT, kHeld,
                                            VIR_DOMAIN_AFFECT_LIVE)) != nullptr;
}

int mark(virDomain* machine, const char* element) {
    return virDomainSetMetadata(machine, VIR_DOMAIN_METADATA_ELEMENT, element, "signpost", kHeld,
                                VIR_DOMAIN_AFFECT_LIVE);
}

MachineFacts::State state_of(virDomain* machine) {
    int state = VIR_DOMAIN_NOSTATE;
    int reason = 0;
    if (virDomainGetState(machine, &state, &reason, 0) != 0) {
        return MachineFacts::State::other;
    }
    switch (state) {
        case VIR_DOMAIN_RUNNING:
        case VIR_DOMAIN_BLOCKED:
            return MachineFacts::State::running;
        case VIR_DOMAIN_PAUSED:
            return reason == VIR_DOMAIN_PAUSED_IOERROR ? MachineFacts::State::paused_by_error
                   : is_marked(machine)                ? MachineFacts::State::held
                                                       : MachineFacts::State::paused;
        case VIR_DOMAIN_SHUTOFF:
            return MachineFacts::State::off;
        default:
            return MachineFacts::State::other;
    }
}

}  // namespace

void Machine::Free::operator()(_virDomain* machine) const {
    virDomainFree(machine);
}

Machine::Machine(_virDomain* machine) : machine_(machine), name_(virDomainGetName(machine)) {}

std::unexpected<Error> Machine::failed() const {
    return libvirt_failed(fmt::format("machine {}", escaped(name_)));
}

Result<void> Machine::done(int result) const {
    if (result < 0) {
        return failed();
    }
    return {};
}

Result<MachineFacts> Machine::facts() const {
    virDomain* const machine = machine_.get();
    MachineFacts facts;
    facts.name = name_;
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    virDomainGetUUIDString(machine, uuid);
    facts.uuid = uuid;
    facts.state = state_of(machine);
    facts.persistent = virDomainIsPersistent(machine) == 1;
    const LibvirtText now(virDomainGetXMLDesc(machine, VIR_DOMAIN_XML_SECURE));
    const LibvirtText next(
        virDomainGetXMLDesc(machine, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE));
    if (!now || !next) {
        return failed();
    }
    facts.xml = now.get();
    facts.next_xml = next.get();
    return facts;
}

Result<void> Machine::start() const {
    return done(virDomainCreate(machine_.get()));
}

Result<void> Machine::resume() const {
    const auto going = done(virDomainResume(machine_.get()));
    if (going && is_marked(machine_.get())) {
        return done(mark(machine_.get(), nullptr));
    }
    return going;
}

Result<void> Machine::hold() const {
    if (mark(machine_.get(), "<held/>") != 0) {
        return failed();
    }
    return done(virDomainSuspend(machine_.get()));
}

Result<void> Machine::stop() const {
    return done(virDomainDestroy(machine_.get()));
}

Result<void> Machine::undefine() const {
    return done(virDomainUndefineFlags(
        machine_.get(), VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_NVRAM |
                            VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                            VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA));
}

Result<void> Machine::attach(const std::string& device_xml, Reach reach) const {
    unsigned flags = 0;
    flags |= reach != Reach::next_start ? VIR_DOMAIN_AFFECT_LIVE : 0;
    flags |= reach != Reach::now ? VIR_DOMAIN_AFFECT_CONFIG : 0;
    return done(virDomainAttachDeviceFlags(machine_.get(), device_xml.c_str(), flags));
}

Result<void> Machine::pull(const std::string& target, std::uint64_t rate) const {
    return done(virDomainBlockPull(machine_.get(), target.c_str(), rate,
                                   VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES));
}

Result<void> Machine::commit(const std::string& target, std::uint64_t rate) const {
    return done(virDomainBlockCommit(
        machine_.get(), target.c_str(), nullptr, nullptr, rate,
        VIR_DOMAIN_BLOCK_COMMIT_ACTIVE | VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES));
}

Result<void> Machine::complete(const std::string& target) const {
    return done(
        virDomainBlockJobAbort(machine_.get(), target.c_str(), VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT));
}

Result<void> Machine::set_job_rate(const std::string& target, std::uint64_t rate) const {
    return done(virDomainBlockJobSetSpeed(machine_.get(), target.c_str(), rate,
                                          VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES));
}

Result<std::optional<BlockJob>> Machine::job(const std::string& target) const {
    virDomainBlockJobInfo info{};
    const int found = virDomainGetBlockJobInfo(machine_.get(), target.c_str(), &info, 0);
    if (found < 0) {
        return failed();
    }
    if (found == 0) {
        return std::nullopt;
    }
    const bool pull = info.type == VIR_DOMAIN_BLOCK_JOB_TYPE_PULL;
    // libvirt keeps the two apart until the job has said for itself that it is ready.
    return BlockJob{info.cur, info.end, pull, !pull && info.end > 0 && info.cur == info.end};
}

Result<std::uint64_t> Machine::guest_requests(const std::string& target) const {
    virDomainBlockStatsStruct stats{};
    if (virDomainBlockStats(machine_.get(), target.c_str(), &stats, sizeof stats) < 0) {
        return failed();
    }
    const auto count = [](long long value) {
        return value > 0 ? static_cast<std::uint64_t>(value) : 0;
    };
    return count(stats.rd_req) + count(stats.wr_req);
}

}  // namespace signpost
