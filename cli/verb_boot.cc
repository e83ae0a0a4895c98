// SPDX-License-Identifier: BSD-3-Clause
//
// `boot`: a machine from a disk, at once, wherever the disk is. What it writes goes into a qcow2
// file on this machine; the disk stays as it is. Without --start it only says how.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/captive_server.h"
#include "cli/disk_door.h"
#include "cli/federation_view.h"
#include "cli/guest_machine.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

constexpr const char* kUsualDirectory = "/var/lib/libvirt/images";
constexpr std::chrono::seconds kAsking{10};

struct BootPlan {
    DiskName disk;
    NbdUri uri;
    std::uint64_t size;
    GuestMachine machine;
    std::string overlay;
};

// The words of a program that make the overlay: it reads through to the disk at its server.
std::vector<std::string> overlay_words(const BootPlan& plan) {
    return {"qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            plan.uri.str(),
            plan.overlay,
            std::to_string(plan.size)};
}

std::vector<std::string> machine_words(const BootPlan& plan) {
    std::vector<std::string> words = qemu_words(plan.machine);
    words.insert(
        words.end(),
        {"-drive",
         fmt::format("if=none,id=disk,format=qcow2,werror=stop,rerror=stop,file={}", plan.overlay),
         "-device", qemu_disk_device(plan.machine, "disk"), "-display", "none", "-vnc",
         fmt::format("unix:{}.vnc", plan.overlay), "-serial", "mon:stdio"});
    return words;
}

// Whether a program with these words ends well; what it says is nobody's business.
bool succeeds(const std::vector<std::string>& words, const ScratchDirectory& scratch) {
    const std::ofstream made(scratch.file("said"));
    const UniqueFd log(::open(scratch.file("said").c_str(), O_WRONLY | O_CLOEXEC));
    auto asked = ChildProcess::start({.words = words,
                                      .environment = {},
                                      .forgotten = {},
                                      .output = log.get(),
                                      .errors = log.get()});
    return asked && asked->wait(kAsking) == 0;
}

// In the foreground, with the terminal; its exit status.
VerbResult hand_over(const Context& context, const std::vector<std::string>& words) {
    context.console.note("signpost: " + shell_line(words));
    auto program =
        ChildProcess::start({.words = words,
                             .environment = {"SIGNPOST_CATALOG=" + context.options.catalog},
                             .forgotten = {},
                             .background = false});
    if (!program) {
        return failure(ExitCode::failed, program.error().message);
    }
    return static_cast<ExitCode>(program->wait(std::chrono::milliseconds(-1)).value_or(1));
}

Outcome<BootPlan> plan_boot(const Context& context, const BootVerb& verb) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    auto disk = meant_disk(*view, context.console, verb.disk);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    auto door = disk_door(*view, *disk);
    if (!door) {
        return std::unexpected(door.error());
    }
    if (door->uri.tls) {
        return failure(ExitCode::failed,
                       fmt::format("{} wants TLS, which a machine's disk cannot have so: run a "
                                   "server here (signpost init), and name it with --server",
                                   escaped(door->uri.str())));
    }
    const auto seen = look_at_disk(door->uri, context.options.tls);
    if (!seen) {
        return std::unexpected(peer_failure(seen.error()));
    }
    std::error_code error;
    const std::string name = verb.machine.empty() ? machine_name(disk->name.str()) : verb.machine;
    const fs::path directory = !verb.directory.empty()                ? fs::path(verb.directory)
                               : ::access(kUsualDirectory, W_OK) == 0 ? fs::path(kUsualDirectory)
                                                                      : fs::path(".");
    const bool kvm = ::access("/dev/kvm", R_OK | W_OK) == 0;
    return BootPlan{.disk = disk->name,
                    .uri = door->uri,
                    .size = seen->size,
                    .machine = {.name = name,
                                .memory = verb.memory,
                                .cpus = 2,
                                .efi = seen->efi,
                                .bus = verb.bus,
                                .accel = verb.accel == "auto" ? (kvm ? "kvm" : "tcg") : verb.accel},
                    .overlay = (fs::absolute(directory, error) / (name + ".qcow2")).string()};
}

void print_plan(const Context& context, const BootPlan& plan) {
    context.console.out(
        fmt::format("{}\n{}\n", shell_line(overlay_words(plan)), shell_line(machine_words(plan))));
}

VerbResult start(const Context& context, const BootPlan& plan, const std::string& accel) {
    const auto scratch = ScratchDirectory::make();
    if (!scratch) {
        return failure(ExitCode::failed, scratch.error().message);
    }
    const auto pool = find_own_program("signpost-pool");
    if (pool && succeeds({"virsh", "pool-info", "signpost"}, *scratch)) {
        std::vector<std::string> words{*pool,
                                       "recover",
                                       plan.disk.str(),
                                       "--name",
                                       plan.machine.name,
                                       "--memory",
                                       std::to_string(plan.machine.memory)};
        if (accel != "auto") {
            words.insert(words.end(), {"--type", accel == "tcg" ? "qemu" : "kvm"});
        }
        return hand_over(context, words);
    }
    if (::access(plan.overlay.c_str(), F_OK) == 0) {
        return failure(ExitCode::conflict,
                       fmt::format("{} is there: an earlier machine may have written into it; give "
                                   "another name with --vm, or remove it",
                                   escaped(plan.overlay)));
    }
    if (!succeeds(overlay_words(plan), *scratch)) {
        return failure(ExitCode::failed,
                       fmt::format("qemu-img cannot make {}: {}", escaped(plan.overlay),
                                   last_line(scratch->file("said"))));
    }
    if (!succeeds({"virsh", "version"}, *scratch)) {
        return hand_over(context, machine_words(plan));
    }
    const std::string xml = scratch->file("machine.xml");
    std::ofstream(xml) << domain_xml(plan.machine, plan.overlay);
    if (!succeeds({"virsh", "create", xml}, *scratch)) {
        const std::string why = last_line(scratch->file("said"));
        ::unlink(plan.overlay.c_str());
        return failure(ExitCode::failed, fmt::format("libvirt: {}", why));
    }
    context.console.out(fmt::format("{} runs; what it writes goes into {}\n", plan.machine.name,
                                    escaped(plan.overlay)));
    return ExitCode::ok;
}

}  // namespace

VerbResult run(const Context& context, const BootVerb& verb) {
    const auto plan = plan_boot(context, verb);
    if (!plan) {
        return std::unexpected(plan.error());
    }
    if (verb.start) {
        return start(context, *plan, verb.accel);
    }
    if (verb.print_xml) {
        context.console.out(domain_xml(plan->machine, plan->overlay));
    } else {
        print_plan(context, *plan);
    }
    return ExitCode::ok;
}

}  // namespace signpost
