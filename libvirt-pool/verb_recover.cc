// SPDX-License-Identifier: BSD-3-Clause
//
// `recover`: a machine that runs, from the names of its disks. Each step looks first whether it has
// been taken already, so that the command may be repeated after whatever ended it. What cannot be
// done is undone, so far as this call did it.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>

#include "catalog/point_search.h"
#include "libvirt-pool/disk_start.h"
#include "libvirt-pool/machine_xml.h"
#include "libvirt-pool/pool_verbs.h"
#include "libvirt-pool/recovery.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uintmax_t kMaxXml = 4 * 1024 * 1024;
constexpr std::chrono::seconds kFirstRead{20};
constexpr std::chrono::milliseconds kLook{50};

Outcome<std::string> read_xml(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text;
    if (file) {
        text.assign(std::istreambuf_iterator<char>(file), {});
    }
    if (!file || text.size() > kMaxXml) {
        return failure(
            ExitCode::usage,
            fmt::format("--xml {}: cannot be read, or is larger than 4 MiB", escaped(path)));
    }
    return text;
}

bool is_running(const Machine& machine) {
    const auto facts = machine.facts();
    return facts && facts->state == MachineFacts::State::running;
}

class Recovering {
   public:
    Recovering(const PoolContext& context, const OpenPool& pool, const RecoverVerb& verb)
        : context_(context), pool_(pool), verb_(verb) {}

    PoolResult run();

   private:
    Outcome<void> plan();
    Outcome<DiskRecord> disk_to_recover(Catalog& catalog, const DiskName& name,
                                        const DiskName* before) const;
    Outcome<std::vector<std::string>> targets() const;
    Outcome<void> check_servers() const;
    Outcome<std::string> new_xml() const;
    Outcome<void> bring_up(const std::string& xml);
    Outcome<void> make_volumes();
    Outcome<Machine> define(const std::string& xml);
    void undo() const;
    std::vector<DiskDevice> devices() const;
    Outcome<void> start(const Machine& machine) const;
    int directory() const { return pool_.directory.descriptor(); }

    const PoolContext& context_;
    const OpenPool& pool_;
    const RecoverVerb& verb_;
    std::string given_xml_;
    Recovery recovery_;
    bool begun_ = false;    // by an earlier call
    bool defined_ = false;  // by this one, as are:
    std::vector<std::string> volumes_;
};

Failure xml_failure(const RecoverVerb& verb, const Error& error) {
    return {ExitCode::usage, fmt::format("--xml {}: {}; `virsh dumpxml` writes what is needed",
                                         escaped(verb.xml), error.message)};
}

// Where each disk goes: as the given XML has it, else one behind the other.
Outcome<std::vector<std::string>> Recovering::targets() const {
    std::vector<std::string> names;
    if (!given_xml_.empty()) {
        auto given = disk_targets(given_xml_, DriveKind::disk);
        if (!given) {
            return std::unexpected(xml_failure(verb_, given.error()));
        }
        names = std::move(*given);
    }
    while (names.size() < verb_.disks.size()) {
        names.push_back(free_target(names, verb_.bus));
    }
    return names;
}

// What NAME means: perhaps a restore point, and then the one that an earlier call has taken
// (BEFORE; null: there was none), although there may be a newer one by now.
Outcome<DiskRecord> Recovering::disk_to_recover(Catalog& catalog, const DiskName& name,
                                                const DiskName* before) const {
    Result<DiskName> meant = name;
    const auto point = before == nullptr ? std::nullopt : RestorePoint::of(*before);
    if (point && newest_meant(PointWish::of(name), {NamedPoint{*point, *before}}) != nullptr) {
        meant = *before;
    } else {
        meant = meant_disk(catalog, name);
    }
    if (!meant && meant.error().code == Errc::not_found) {
        return failure(ExitCode::no_such_disk,
                       fmt::format("{}; `signpost find` looks for names", meant.error().message));
    }
    const auto found = meant ? catalog.find(*meant) : std::unexpected(meant.error());
    if (!found) {
        return std::unexpected(catalog_failure(found.error()));
    }
    if (!*found) {
        return failure(ExitCode::no_such_disk,
                       fmt::format("no server has disk {} any more; `signpost find` looks for "
                                   "names",
                                   escaped(meant->str())));
    }
    if (*meant != name) {
        context_.console.note(fmt::format("signpost-pool: {}: its newest point, {}",
                                          escaped(name.str()), escaped(meant->str())));
    }
    return std::move(**found);
}

Outcome<void> Recovering::plan() {
    if (!verb_.xml.empty()) {
        auto xml = read_xml(verb_.xml);
        if (!xml) {
            return std::unexpected(xml.error());
        }
        given_xml_ = std::move(*xml);
    }
    const auto names = targets();
    const auto catalog = open_pool_catalog(pool_.settings);
    if (!names || !catalog) {
        return std::unexpected(names ? catalog.error() : names.error());
    }
    const auto begun = read_recovery(pool_.directory.records(), verb_.machine);
    if (!begun && begun.error().code != Errc::not_found) {
        return std::unexpected(pool_failure(begun.error()));
    }
    recovery_ = {verb_.machine, verb_.live, {}};
    for (std::size_t i = 0; i < verb_.disks.size(); ++i) {
        const DiskName* const before =
            begun && i < begun->disks.size() ? &begun->disks[i].disk : nullptr;
        auto found = disk_to_recover(**catalog, verb_.disks[i], before);
        if (!found) {
            return std::unexpected(found.error());
        }
        recovery_.disks.push_back(
            {found->name, (*names)[i], volume_terms(*found, pool_.settings.via)});
    }
    begun_ = begun.has_value();
    if (begun && *begun != recovery_) {
        return failure(ExitCode::conflict,
                       fmt::format("machine {} was brought back from other disks, or in another "
                                   "way, before: choose another --name, or `signpost-pool abandon "
                                   "{}` first",
                                   escaped(verb_.machine), escaped(verb_.machine)));
    }
    const auto there = pool_.host.machine(verb_.machine);
    if (!begun && (there || there.error().code != Errc::not_found)) {
        return there ? failure(ExitCode::conflict,
                               fmt::format("there is a machine {} already: choose another --name",
                                           escaped(verb_.machine)))
                     : std::unexpected(pool_failure(there.error()));
    }
    return {};
}

// Asked before anything is made: a machine whose disk's server is away would not start.
Outcome<void> Recovering::check_servers() const {
    for (const RecoveredDisk& disk : recovery_.disks) {
        const auto start = read_disk_start(pool_.settings.via.with_export(disk.disk.str()));
        if (!start) {
            return std::unexpected(pool_failure(start.error()));
        }
    }
    return {};
}

Outcome<void> Recovering::make_volumes() {
    if (const auto kept = write_recovery(pool_.directory.records(), recovery_); !kept) {
        return std::unexpected(making_failure(kept.error()));
    }
    for (const RecoveredDisk& disk : recovery_.disks) {
        if (recovery_.live) {
            break;
        }
        const std::string file = recovery_.file(disk);
        const auto made = write_volume(directory(), file, disk.terms);
        if (made) {
            volumes_.push_back(file);
        } else if (made.error().code != Errc::conflict) {
            return std::unexpected(making_failure(made.error()));
        } else if (!begun_) {
            return failure(ExitCode::conflict,
                           fmt::format("volume {} is there already, and may hold another machine's "
                                       "writes: choose another --name, or remove it (virsh "
                                       "vol-delete {} {})",
                                       escaped(file), escaped(file), context_.options.pool));
        }  // else it is this machine's, with what it has written by now
    }
    return {};
}

std::vector<DiskDevice> Recovering::devices() const {
    std::vector<DiskDevice> devices;
    for (const RecoveredDisk& disk : recovery_.disks) {
        DiskDevice device;
        device.target = disk.target;
        device.bus = verb_.bus;
        device.reconnects = pool_.host.knows_reconnect();
        if (recovery_.live) {
            device.uri = pool_.settings.via.with_export(disk.disk.str());
        } else {
            device.file = fmt::format("{}/{}", pool_.directory.path(), recovery_.file(disk));
        }
        devices.push_back(std::move(device));
    }
    return devices;
}

Outcome<std::string> Recovering::new_xml() const {
    if (!given_xml_.empty()) {
        auto adapted = adapt_machine(given_xml_, verb_.machine, devices(), verb_.isolated);
        if (!adapted) {
            return std::unexpected(xml_failure(verb_, adapted.error()));
        }
        return std::move(*adapted);
    }
    NewMachine machine;
    machine.name = verb_.machine;
    machine.memory_mib = verb_.memory_mib;
    machine.cpus = verb_.cpus;
    machine.type = verb_.type;
    machine.network = verb_.isolated ? "" : verb_.network;
    machine.disks = devices();
    machine.efi = verb_.firmware == "efi";
    if (verb_.firmware == "auto") {
        const auto start =
            read_disk_start(pool_.settings.via.with_export(recovery_.disks.front().disk.str()));
        if (!start) {
            return std::unexpected(pool_failure(start.error()));
        }
        machine.efi = boots_with_efi(*start);
    }
    return machine_xml(machine);
}

Outcome<Machine> Recovering::define(const std::string& xml) {
    auto there = pool_.host.machine(verb_.machine);
    if (there) {
        return std::move(*there);
    }
    auto machine = pool_.host.define_machine(xml);
    if (!machine) {
        // An earlier call's may have been under way in libvirt, whatever became of that call.
        there = pool_.host.machine(verb_.machine);
        if (there) {
            return std::move(*there);
        }
        Failure why = pool_failure(machine.error());
        why.message += given_xml_.empty() ? "" : "; it was made from --xml " + escaped(verb_.xml);
        return std::unexpected(std::move(why));
    }
    defined_ = true;
    return std::move(*machine);
}

Outcome<void> Recovering::bring_up(const std::string& xml) {
    if (const auto made = make_volumes(); !made) {
        return made;
    }
    const auto machine = define(xml);
    return machine ? start(*machine) : std::unexpected(machine.error());
}

void Recovering::undo() const {
    if (begun_) {
        return;  // what is there may be an earlier call's
    }
    // Only what libvirt is sure of: a call that it could not answer may have had its effect.
    const auto machine = pool_.host.machine(verb_.machine);
    const auto facts =
        machine ? machine->facts() : Result<MachineFacts>(std::unexpected(machine.error()));
    const bool unused = facts ? defined_ && facts->state == MachineFacts::State::off &&
                                    machine->undefine().has_value()
                              : facts.error().code == Errc::not_found;
    if (!unused) {
        return;
    }
    for (const std::string& file : volumes_) {
        ::unlinkat(directory(), file.c_str(), 0);
    }
    (void)remove_recovery(pool_.directory.records(), verb_.machine);
}

// Until the guest has read from its first disk: then it is booting from it.
Outcome<void> Recovering::start(const Machine& machine) const {
    const auto began = Clock::now();
    const auto facts = machine.facts();
    if (!facts) {
        return std::unexpected(pool_failure(facts.error()));
    }
    if (facts->state == MachineFacts::State::paused_by_error) {
        const auto going = signpost::run(context_, ResumeVerb{.machine = verb_.machine});
        return going ? Outcome<void>{} : std::unexpected(going.error());
    }
    if (facts->state != MachineFacts::State::running) {
        const bool off = facts->state == MachineFacts::State::off;
        const auto started = off ? machine.start() : machine.resume();
        // An earlier call's may have been under way in libvirt, whatever became of that call.
        if (!started && !is_running(machine)) {
            return std::unexpected(pool_failure(started.error()));
        }
    }
    const std::string& target = recovery_.disks.front().target;
    while (Clock::now() - began < kFirstRead) {
        const auto requests = machine.guest_requests(target);
        if (requests.value_or(0) > 0) {
            const auto passed =
                std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
            context_.console.note(fmt::format("{} runs, and has begun to read {} after {:.1f} s",
                                              escaped(verb_.machine), target,
                                              static_cast<double>(passed.count()) / 1000));
            return {};
        }
        std::this_thread::sleep_for(kLook);
    }
    context_.console.note(fmt::format(
        "{} runs, but has not read from {} yet; look at its screen: "
        "virsh console {}, virt-viewer {}",
        escaped(verb_.machine), target, escaped(verb_.machine), escaped(verb_.machine)));
    return {};
}

PoolResult Recovering::run() {
    if (const auto planned = plan(); !planned) {
        return std::unexpected(planned.error());
    }
    const bool there = begun_ && pool_.host.machine(verb_.machine).has_value();
    if (const auto served = there ? Outcome<void>{} : check_servers(); !served) {
        return std::unexpected(served.error());
    }
    const bool as_it_is = there && !context_.options.dry_run;
    const auto xml = as_it_is ? Outcome<std::string>{} : new_xml();
    if (!xml) {
        return std::unexpected(xml.error());
    }
    if (context_.options.dry_run) {
        context_.console.out(*xml);
        return ExitCode::ok;
    }
    if (const auto up = bring_up(*xml); !up) {
        undo();
        return std::unexpected(up.error());
    }
    if (!recovery_.live) {
        context_.console.note(
            fmt::format("`signpost-pool hydrate {}` copies its disks home while "
                        "it runs",
                        escaped(verb_.machine)));
    }
    return ExitCode::ok;
}

}  // namespace

PoolResult run(const PoolContext& context, const RecoverVerb& verb) {
    if (const auto named = check_machine_name(verb.machine); !named) {
        return failure(ExitCode::usage, "--name: " + named.error().message);
    }
    const auto pool = open_pool(context.options);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    return Recovering(context, *pool, verb).run();
}

}  // namespace signpost
