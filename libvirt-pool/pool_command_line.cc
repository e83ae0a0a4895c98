// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/pool_command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>

namespace signpost {

namespace {

constexpr const char* kAbout =
    "Shows the disks of a Signpost federation as a libvirt storage pool, and brings lost machines\n"
    "back from them.";

constexpr const char* kFooter =
    "\nExamples:\n"
    "  signpost-pool define\n"
    "  signpost-pool sync\n"
    "  signpost-pool recover web01/vda --name web01 --isolated\n"
    "  signpost-pool hydrate web01\n"
    "\n"
    "Exit status: 0 ok, 1 failed, 2 usage, 3 no such disk, machine or pool, 4 server or libvirt\n"
    "unreachable, 5 catalog unreachable, 6 problems found, 7 denied, 8 conflict, 130 interrupted.";

// Where the words go before they are checked.
struct Words {
    std::string via, color, disk, rate;
    std::vector<std::string> disks;
    PoolOptions options;
    DefineVerb define;
    SyncVerb sync;
    RepairVerb repair;
    std::string machine;
    AttachVerb attach{{}, *DiskName::parse("x"), {}, "virtio", false, false, false};
    RecoverVerb recover;
    HydrateVerb hydrate;
    CommitVerb commit;
    AbandonVerb abandon;
    ResumeVerb resume;
    WatchVerb watch;
};

CLI::App* verb(CLI::App& app, const char* name, const char* summary, const char* examples) {
    CLI::App* sub = app.add_subcommand(name, summary);
    sub->fallthrough();
    sub->footer(fmt::format("\nExamples:\n{}", examples));
    return sub;
}

void add_options(CLI::App& app, Words& words) {
    PoolOptions& options = words.options;
    app.set_help_flag("-h,--help", "show this, or of a verb: signpost-pool VERB --help");
    app.set_version_flag("--version", "signpost-pool " SIGNPOST_VERSION, "show the version");
    app.add_option("--pool", options.pool, "the storage pool's name")
        ->type_name("NAME")
        ->capture_default_str();
    app.add_option("--via", words.via,
                   "the server that machines ask for all disks (default: what `define` was told, "
                   "else nbd+unix:///?socket=/run/signpost/nbd.sock)")
        ->type_name("NBD-URI");
    app.add_option("--path", options.path,
                   "the pool's directory (default: as libvirt knows it; for define: "
                   "/var/lib/libvirt/images/signpost/NAME)")
        ->type_name("DIR");
    app.add_option("--catalog", options.catalog,
                   "the catalog: sqlite:PATH (or SIGNPOST_CATALOG; signpost(1) has the default)")
        ->type_name("URL");
    app.add_option("-c,--connect", options.connect,
                   "the hypervisor, as virsh has it (or LIBVIRT_DEFAULT_URI)")
        ->type_name("URI");
    app.add_flag("--json", options.json, "machine-readable");
    app.add_flag("--dry-run", options.dry_run, "say what would be done, and change nothing");
    app.add_flag("--yes", options.yes, "do not ask");
    app.add_option("--color", words.color, "auto (default), always or never")->type_name("WHEN");
}

void add_pool_verbs(CLI::App& app, Words& words) {
    CLI::App* define =
        verb(app, "define", "make the pool, with a volume for each disk, and start it",
             "  signpost-pool define\n"
             "  signpost-pool define --pool web --match 'web*/vda' --match db01/\n"
             "  signpost-pool define --pool backup --server beta --newest 3\n"
             "  signpost-pool define --pool lab --via nbd://127.0.0.1:10809");
    define
        ->add_option("--match", words.define.patterns,
                     "only disks of that name, prefix (with / at the end) or pattern; may be "
                     "repeated")
        ->type_name("GLOB");
    define->add_option("--server", words.define.server, "only disks that this server holds")
        ->type_name("NAME");
    define
        ->add_option("--newest", words.define.newest,
                     "of a disk's restore points (DISK@TIME), only the N newest")
        ->type_name("N")
        ->check(CLI::Range(1, 16'000));
    verb(app, "sync", "make the pool's volumes equal to the catalog's disks",
         "  signpost-pool sync\n"
         "  signpost-pool sync --pool web --dry-run")
        ->add_flag("--offline", words.sync.offline,
                   "without libvirt, before it runs: only make what is missing");
    verb(app, "watch",
         "keep the pool equal to the catalog, and let machines go on that an outage has stopped",
         "  signpost-pool watch\n"
         "  signpost-pool watch --pool web --interval 10")
        ->add_option("--interval", words.watch.interval_s, "seconds between looks")
        ->type_name("S")
        ->check(CLI::Range(1, 3600))
        ->capture_default_str();
    verb(app, "status", "say of each volume what it is: pristine, overlay, orphan, damaged",
         "  signpost-pool status\n"
         "  signpost-pool status --json | jq '.volumes[] | select(.state != \"pristine\")'");
    verb(app, "repair", "make damaged volumes anew; what was there is kept under another name",
         "  signpost-pool repair\n"
         "  signpost-pool repair web01%2Fvda.qcow2")
        ->add_option("VOLUME", words.repair.volumes);
}

void add_recovery_verbs(CLI::App& app, Words& words) {
    RecoverVerb& terms = words.recover;
    CLI::App* recover =
        verb(app, "recover", "bring a lost machine back: volumes, machine, start",
             "  signpost-pool recover web01/vda web01/vdb --name web01 --xml web01.xml\n"
             "  signpost-pool recover web01/vda --name web01-test --memory 4096 --isolated");
    recover->add_option("DISK", words.disks)->required();
    recover->add_option("--name", terms.machine, "the machine's name")->type_name("VM")->required();
    recover
        ->add_option("--xml", terms.xml,
                     "the lost machine's XML; the disks are named in its order (default: made of "
                     "what follows)")
        ->type_name("FILE");
    recover->add_option("--memory", terms.memory_mib)
        ->type_name("MIB")
        ->check(CLI::Range(16, 1 << 24))
        ->capture_default_str();
    recover->add_option("--cpus", terms.cpus)
        ->type_name("N")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str();
    recover->add_option("--bus", terms.bus, "of the disks: sata, virtio, scsi, usb")
        ->type_name("BUS")
        ->check(CLI::IsMember({"sata", "virtio", "scsi", "usb"}))
        ->capture_default_str();
    recover->add_option("--firmware", terms.firmware, "auto (as the disk wants it), bios or efi")
        ->type_name("KIND")
        ->check(CLI::IsMember({"auto", "bios", "efi"}))
        ->capture_default_str();
    recover->add_option("--type", terms.type, "kvm, or qemu where there is no KVM")
        ->type_name("TYPE")
        ->check(CLI::IsMember({"kvm", "qemu"}))
        ->capture_default_str();
    recover->add_option("--network", terms.network, "libvirt's network to be in (default: none)")
        ->type_name("NAME");
    recover->add_flag("--isolated", terms.isolated, "no network, whatever the XML says");
    recover->add_flag("--live", terms.live,
                      "on the disks themselves: what the machine writes goes to the server");
    CLI::App* hydrate =
        verb(app, "hydrate", "copy a running machine's disks home, until it needs no server",
             "  signpost-pool hydrate web01\n"
             "  signpost-pool hydrate web01 --rate 50");
    hydrate->add_option("VM", words.machine)->required();
    hydrate
        ->add_option("--rate", words.rate,
                     "MiB a second at most (default: what the guest leaves over)")
        ->type_name("MIB");
    CLI::App* commit =
        verb(app, "commit", "write what a machine has written back into its disks on the server",
             "  signpost-pool commit web01\n"
             "  signpost-pool commit web01 --target vdb");
    commit->add_option("VM", words.machine)->required();
    commit->add_option("--target", words.commit.target, "only that disk")->type_name("DEV");
    verb(app, "abandon", "throw a machine away that `recover` made, with all that it has written",
         "  signpost-pool abandon web01-test\n"
         "  signpost-pool abandon web01-test --yes")
        ->add_option("VM", words.machine)
        ->required();
}

void add_machine_verbs(CLI::App& app, Words& words) {
    CLI::App* attach = verb(app, "attach", "give a machine a disk, running or not",
                            "  signpost-pool attach rescue web01/vda --readonly\n"
                            "  signpost-pool attach rescue web01/vda --print");
    attach->add_option("VM", words.machine)->required();
    attach->add_option("DISK", words.disk)->required();
    attach->add_option("--target", words.attach.target, "as the machine knows it (default: free)")
        ->type_name("DEV");
    attach->add_option("--bus", words.attach.bus, "virtio, sata, scsi, usb or ide")
        ->type_name("BUS")
        ->capture_default_str();
    attach->add_flag("--readonly", words.attach.read_only, "the machine cannot write to it");
    attach->add_flag("--live", words.attach.live,
                     "the disk itself: what the machine writes goes to the server");
    attach->add_flag("--print", words.attach.print, "print the XML, and attach nothing");
    CLI::App* resume = verb(app, "resume", "let a machine go on that was stopped by a disk's error",
                            "  signpost-pool resume web01\n"
                            "  signpost-pool resume web01 --timeout 600");
    resume->add_option("VM", words.machine)->required();
    resume->add_option("--timeout", words.resume.patience_s, "seconds to go on trying")
        ->type_name("S")
        ->capture_default_str();
}

Outcome<void> check_color(const std::string& text, ColorMode& mode) {
    if (text == "always") {
        mode = ColorMode::always;
    } else if (text == "never") {
        mode = ColorMode::never;
    } else if (!text.empty() && text != "auto") {
        return failure(ExitCode::usage,
                       fmt::format("--color {}: use auto, always or never", escaped(text)));
    }
    return {};
}

Outcome<std::vector<DiskName>> disks_of(const std::vector<std::string>& texts) {
    std::vector<DiskName> disks;
    for (const std::string& text : texts) {
        auto disk = DiskName::parse(text);
        if (!disk) {
            return failure(ExitCode::usage,
                           fmt::format("{}; `signpost ls` lists the names", disk.error().message));
        }
        disks.push_back(std::move(*disk));
    }
    return disks;
}

// In bytes a second.
Outcome<std::uint64_t> rate_of(const std::string& text) {
    constexpr std::uint64_t kMiB = 1024 * 1024;
    std::uint64_t rate = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
    if (!text.empty() && (error != std::errc{} || end != text.data() + text.size() || rate == 0 ||
                          rate > (std::uint64_t{1} << 40) / kMiB)) {
        return failure(ExitCode::usage,
                       fmt::format("--rate {}: use MiB a second, 1 to 1048576", escaped(text)));
    }
    return rate * kMiB;
}

Outcome<PoolVerb> verb_of(const CLI::App& app, Words& words) {
    const std::string name = app.get_subcommands().front()->get_name();
    if (name == "define") {
        return words.define;
    }
    if (name == "sync") {
        return words.sync;
    }
    if (name == "status") {
        return PoolStatusVerb{};
    }
    if (name == "repair") {
        return words.repair;
    }
    if (name == "watch") {
        return words.watch;
    }
    if (name == "recover") {
        auto disks = disks_of(words.disks);
        if (!disks) {
            return std::unexpected(disks.error());
        }
        words.recover.disks = std::move(*disks);
        return words.recover;
    }
    if (name == "hydrate") {
        auto rate = rate_of(words.rate);
        if (!rate) {
            return std::unexpected(rate.error());
        }
        return HydrateVerb{words.machine, *rate};
    }
    if (name == "commit") {
        words.commit.machine = words.machine;
        return words.commit;
    }
    if (name == "abandon") {
        return AbandonVerb{words.machine};
    }
    if (name == "resume") {
        words.resume.machine = words.machine;
        return words.resume;
    }
    auto disk = disks_of({words.disk});
    if (!disk) {
        return std::unexpected(disk.error());
    }
    words.attach.machine = words.machine;
    words.attach.disk = std::move(disk->front());
    return words.attach;
}

Outcome<PoolInvocation> check(const CLI::App& app, Words& words) {
    if (!words.via.empty()) {
        auto via = NbdUri::parse(words.via);
        if (!via) {
            return failure(ExitCode::usage, fmt::format("--via: {}", via.error().message));
        }
        words.options.via = std::move(*via);
    }
    if (const auto color = check_color(words.color, words.options.color); !color) {
        return std::unexpected(color.error());
    }
    auto verb = verb_of(app, words);
    if (!verb) {
        return std::unexpected(verb.error());
    }
    return PoolInvocation{std::move(words.options), std::move(*verb)};
}

}  // namespace

Outcome<std::variant<PoolInvocation, std::string>> parse_pool_command_line(
    const std::vector<std::string>& words) {
    Words raw;
    CLI::App app(kAbout, "signpost-pool");
    app.require_subcommand(1);
    app.footer(kFooter);
    add_options(app, raw);
    add_pool_verbs(app, raw);
    add_recovery_verbs(app, raw);
    add_machine_verbs(app, raw);
    try {
        app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
    } catch (const CLI::CallForHelp&) {
        return app.help();
    } catch (const CLI::CallForVersion& version) {
        return fmt::format("{}\n", version.what());
    } catch (const CLI::ParseError& error) {
        return failure(ExitCode::usage,
                       fmt::format("{}; see signpost-pool --help", escaped(error.what(), 400)));
    }
    auto invocation = check(app, raw);
    if (!invocation) {
        return std::unexpected(invocation.error());
    }
    return std::move(*invocation);
}

}  // namespace signpost
