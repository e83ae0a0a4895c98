// SPDX-License-Identifier: BSD-3-Clause
//
// `drill`: boots disks in machines that can reach nothing, waits for a sign of life, and keeps what
// came of it. The guest is not trusted: it has no network, its QEMU is under seccomp and limits,
// and time is bounded.

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "catalog/restore_point.h"
#include "cli/captive_server.h"
#include "cli/drill_history.h"
#include "cli/federation_view.h"
#include "cli/guest_machine.h"
#include "cli/json_output.h"
#include "cli/qemu_monitor.h"
#include "nbd-server/disk/beneath.h"
#include "terminal/text.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kStart{20};
constexpr std::chrono::milliseconds kLook{500};
constexpr std::chrono::seconds kStandsStill{20};  // a screen that has come to rest
constexpr unsigned kScreens = 4;                  // that a machine shows on its way there
constexpr std::uint64_t kMostWritten = std::uint64_t{8} << 30;
constexpr std::size_t kMostSerial = 256 << 10;  // bytes that are kept of it
constexpr int kNiceness = 10;
constexpr std::string_view kLogin = "login:";
constexpr std::string_view kDeadSigns[] = {"Kernel panic", "UEFI Interactive Shell",
                                           "No bootable device", "grub rescue>"};

std::string drills_directory() {
    return default_state_directory() + "/drills";
}

std::string history_file() {
    return default_state_directory() + "/drills.jsonl";
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// What makes a machine one that may be lost: its writes go nowhere, and it reaches nothing.
std::vector<std::string> isolated_words(const GuestMachine& machine, const CaptiveDisk& disk,
                                        const ScratchDirectory& scratch) {
    return {"-display",
            "none",
            "-no-reboot",
            "-boot",
            "reboot-timeout=2000",
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            "-drive",
            "if=none,id=disk,snapshot=on,format=raw," + qemu_options_of(disk.uri, "file."),
            "-device",
            qemu_disk_device(machine, "disk"),
            "-serial",
            "stdio",
            "-monitor",
            "none",
            "-qmp",
            fmt::format("unix:{},server=on,wait=off", scratch.file("qmp.sock")),
            "-device",
            "virtio-serial",
            "-chardev",
            fmt::format("socket,id=agent,path={},server=on,wait=off", scratch.file("agent.sock")),
            "-device",
            "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            "-device",
            "pvpanic"};
}

// What one machine shows while it boots.
class BootWatch {
   public:
    BootWatch(const DrillVerb& verb, const ScratchDirectory& scratch)
        : verb_(verb), scratch_(scratch) {}

    Outcome<void> start(const CaptiveDisk& disk, const std::string& accel);
    void wait();

    std::string sign;
    std::string reason;  // why there is none
    std::chrono::duration<double> took{};
    bool timed_out = false;

   private:
    void look_at_serial();
    void look_at_screen();
    void ask_agent();
    void look_at_machine();
    bool listens_to(std::string_view kind) const {
        return verb_.sign == "auto" || verb_.sign == kind;
    }

    const DrillVerb& verb_;
    const ScratchDirectory& scratch_;
    std::optional<ChildProcess> machine_;
    std::optional<QemuMonitor> monitor_;
    UniqueFd serial_;
    UniqueFd agent_;
    std::string said_;
    std::string screen_;
    unsigned screens_ = 0;
    Clock::time_point begun_;
    Clock::time_point screen_since_;
};

Outcome<void> BootWatch::start(const CaptiveDisk& disk, const std::string& accel) {
    const GuestMachine machine{.name = machine_name(disk.name.str()),
                               .memory = verb_.memory,
                               .cpus = 1,
                               .efi = disk.efi,
                               .bus = verb_.bus,
                               .accel = accel};
    if (machine.efi && efi_firmware().empty()) {
        return failure(ExitCode::failed,
                       "the disk boots with UEFI, and the firmware is not installed: apt install "
                       "ovmf");
    }
    int ends[2];
    const UniqueFd log(
        ::open(scratch_.file("qemu.log").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!log || ::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return failure(ExitCode::failed, error_text(errno));
    }
    serial_.reset(ends[0]);
    const UniqueFd serial_in(ends[1]);
    ChildCommand command{.words = qemu_words(machine),
                         .environment = {"TMPDIR=" + scratch_.path()},
                         .forgotten = {},
                         .output = serial_in.get(),
                         .errors = log.get(),
                         .background = true,
                         .without_network = true,
                         .largest_file = kMostWritten,
                         .niceness = kNiceness};
    const auto socket = [&](const char* name) { return scratch_.file(name); };
    ::unlink(socket("qmp.sock").c_str());
    ::unlink(socket("agent.sock").c_str());
    const auto more = isolated_words(machine, disk, scratch_);
    command.words.insert(command.words.end(), more.begin(), more.end());
    begun_ = screen_since_ = Clock::now();
    auto started = ChildProcess::start(command);
    if (!started) {
        return failure(ExitCode::failed,
                       fmt::format("{}; package qemu-system-x86 has it", started.error().message));
    }
    machine_.emplace(std::move(*started));
    auto monitor = QemuMonitor::connect(socket("qmp.sock"), kStart);
    if (monitor) {
        monitor_.emplace(std::move(*monitor));
        agent_ = connect_to(socket("agent.sock"));
    } else {
        reason = fmt::format("QEMU does not start: {}", last_line(scratch_.file("qemu.log")));
    }
    return {};
}

void BootWatch::look_at_serial() {
    char bytes[4096];
    for (ssize_t got = 0; (got = ::read(serial_.get(), bytes, sizeof bytes)) > 0;) {
        said_.append(bytes, static_cast<std::size_t>(got));
    }
    if (said_.size() > kMostSerial) {
        said_.erase(0, said_.size() - kMostSerial);
    }
    const std::string_view wanted = verb_.expect.empty() ? kLogin : verb_.expect;
    if (listens_to("serial") && said_.find(wanted) != said_.npos) {
        sign = "serial";
        return;
    }
    for (const std::string_view dead : kDeadSigns) {
        if (said_.find(dead) != said_.npos) {
            reason = fmt::format("it says: {}", dead);
        }
    }
}

// The weakest sign: pictures that changed, and then one that stays.
void BootWatch::look_at_screen() {
    const std::string file = scratch_.file("screen.png");
    if (!monitor_->take_screenshot(file)) {
        return;
    }
    std::string picture = read_file(file);
    if (picture != screen_) {
        screen_ = std::move(picture);
        screen_since_ = Clock::now();
        ++screens_;
    }
    if (listens_to("screen") && screens_ >= kScreens &&
        Clock::now() - screen_since_ > kStandsStill) {
        sign = "screen";
    }
}

void BootWatch::ask_agent() {
    constexpr std::string_view kPing = "{\"execute\":\"guest-ping\"}\n";
    char bytes[1024];
    if (!agent_ || !listens_to("agent")) {
        return;
    }
    ::send(agent_.get(), kPing.data(), kPing.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    const ssize_t got = ::recv(agent_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0 && std::string_view(bytes, static_cast<std::size_t>(got)).find("\"return\"") !=
                       std::string_view::npos) {
        sign = "agent";
    }
}

void BootWatch::look_at_machine() {
    if (const auto ended = machine_->status()) {
        reason = *ended == 0 ? "the machine was reset or switched itself off: nothing to boot?"
                             : fmt::format("QEMU ended with status {}: {}", *ended,
                                           last_line(scratch_.file("qemu.log")));
        return;
    }
    const auto status = monitor_->status();
    if (!status || *status == "internal-error" || *status == "io-error") {
        reason = status ? "QEMU stopped it: " + *status : status.error().message;
    } else if (*status == "guest-panicked" || *status == "paused") {
        reason = "the guest has panicked";
    }
}

void BootWatch::wait() {
    const auto end = begun_ + verb_.timeout;
    while (sign.empty() && reason.empty() && Clock::now() < end) {
        pollfd serial{serial_.get(), POLLIN, 0};
        ::poll(&serial, 1, static_cast<int>(kLook.count()));
        look_at_serial();
        if (sign.empty()) {
            ask_agent();
        }
        if (sign.empty()) {
            look_at_screen();
        }
        if (sign.empty() && reason.empty()) {
            look_at_machine();
        }
    }
    took = Clock::now() - begun_;
    timed_out = sign.empty() && reason.empty();
    if (timed_out) {
        reason = fmt::format("no sign of life within {} s", verb_.timeout.count());
    }
    if (monitor_ && !machine_->status()) {
        static_cast<void>(monitor_->take_screenshot(scratch_.file("screen.png")));
        monitor_->quit();
    }
    machine_->end(std::chrono::milliseconds(2000));
}

// The picture of a disk's last drill replaces that of the one before.
std::string keep_screenshot(const std::string& disk, const std::string& from) {
    std::error_code error;
    fs::create_directories(drills_directory(), error);
    const std::string kept = fmt::format("{}/{}-{:08x}.png", drills_directory(), machine_name(disk),
                                         std::hash<std::string>()(disk) & 0xffffffff);
    fs::copy_file(from, kept, fs::copy_options::overwrite_existing, error);
    return error ? "" : kept;
}

Outcome<DrillRecord> drill_disk(const Context& context, const DrillVerb& verb,
                                const DiskName& name) {
    const auto scratch = ScratchDirectory::make();
    if (!scratch) {
        return failure(ExitCode::failed, scratch.error().message);
    }
    DrillRecord record{.disk = name.str(), .when = ::time(nullptr)};
    const auto disk = CaptiveDisk::open(context, *scratch, name);
    if (!disk) {
        if (disk.error().code != ExitCode::peer_unreachable) {
            return std::unexpected(disk.error());
        }
        record.point = name.str();
        record.reason = disk.error().message;
        return record;
    }
    record.point = disk->name.str();
    const bool may_kvm = verb.accel != "tcg" && ::access("/dev/kvm", R_OK | W_OK) == 0;
    std::vector<std::string> accels;
    if (verb.accel == "kvm" || may_kvm) {
        accels.emplace_back("kvm");
    }
    if (verb.accel != "kvm") {
        accels.emplace_back("tcg");
    }
    for (const std::string& accel : accels) {
        context.console.progress(fmt::format("{}: booting ({})", escaped(name.str(), 60), accel));
        BootWatch watch(verb, *scratch);
        if (const auto started = watch.start(*disk, accel); !started) {
            return std::unexpected(started.error());
        }
        watch.wait();
        record.seconds = watch.took.count();
        record.sign = watch.sign;
        record.reason = watch.reason;
        record.accel = accel;
        // What KVM ends early may be KVM's fault: some hosts have one in which guests die.
        if (!watch.sign.empty() || watch.timed_out) {
            break;
        }
    }
    record.screenshot = keep_screenshot(record.disk, scratch->file("screen.png"));
    return record;
}

std::string line_of(const Console& console, const DrillRecord& record) {
    const std::string result =
        record.alive() ? console.toned(Tone::good, "alive") : console.toned(Tone::bad, "DEAD ");
    return fmt::format("{} {}  {:.1f} s ({})  {}{}\n", result, shown_name(console, record.point),
                       record.seconds, record.accel.empty() ? "-" : record.accel,
                       record.alive() ? "sign: " + record.sign : escaped(record.reason, 400),
                       record.screenshot.empty() ? "" : "  " + escaped(record.screenshot, 400));
}

VerbResult show_history(const Context& context, const DrillVerb& verb) {
    const auto records = read_drills(history_file());
    if (!records) {
        return failure(ExitCode::failed, records.error().message);
    }
    JsonList json(context.options.json == JsonMode::lines);
    for (const DrillRecord& record : *records) {
        const bool wanted =
            verb.disks.empty() || std::ranges::any_of(verb.disks, [&](const DiskName& name) {
                return name.str() == record.disk || name.str() == record.point;
            });
        if (wanted) {
            context.console.out(context.json() ? json.item(drill_json(record))
                                               : fmt::format("{}  {}", rfc3339(record.when),
                                                             line_of(context.console, record)));
        }
    }
    if (context.json()) {
        context.console.out(json.end());
    }
    return ExitCode::ok;
}

// The N disks whose last drill is the longest ago, or that never had one.
Outcome<std::vector<DiskName>> oldest_disks(const Context& context, unsigned count) {
    const auto records = read_drills(history_file());
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    std::map<std::string, std::int64_t, std::less<>> last;
    for (const DrillRecord& record : records ? *records : std::vector<DrillRecord>()) {
        last[record.disk] = record.when;
    }
    std::vector<std::pair<std::int64_t, DiskName>> disks;
    std::optional<std::string> previous;
    const auto walked = view->each_disk("", [&](const DiskRecord& disk) {
        const auto point = RestorePoint::of(disk.name);
        auto name = point ? DiskName::parse(point->disk) : Result<DiskName>(disk.name);
        if (name && previous != name->str()) {  // its points come one behind the other
            previous = name->str();
            const auto found = last.find(name->str());
            disks.emplace_back(found == last.end() ? 0 : found->second, std::move(*name));
        }
        return true;
    });
    if (!walked) {
        return std::unexpected(walked.error());
    }
    std::ranges::sort(disks);
    std::vector<DiskName> chosen;
    for (auto& [when, name] : disks) {
        if (chosen.size() < count && std::ranges::count(chosen, name) == 0) {
            chosen.push_back(std::move(name));
        }
    }
    return chosen;
}

}  // namespace

VerbResult run(const Context& context, const DrillVerb& verb) {
    if (verb.history) {
        return show_history(context, verb);
    }
    auto disks = verb.oldest == 0 ? Outcome<std::vector<DiskName>>(verb.disks)
                                  : oldest_disks(context, verb.oldest);
    if (!disks) {
        return std::unexpected(disks.error());
    }
    std::error_code ignored;
    fs::create_directories(default_state_directory(), ignored);
    JsonList json(context.options.json == JsonMode::lines);
    bool all_alive = true;
    for (const DiskName& name : *disks) {
        const auto record = drill_disk(context, verb, name);
        if (!record) {
            return std::unexpected(record.error());
        }
        all_alive = all_alive && record->alive();
        context.console.out(context.json() ? json.item(drill_json(*record))
                                           : line_of(context.console, *record));
        if (const auto kept = append_drill(history_file(), *record); !kept) {
            return failure(ExitCode::failed, fmt::format("the drill is not in the history: {}",
                                                         kept.error().message));
        }
    }
    if (context.json()) {
        context.console.out(json.end());
    }
    return all_alive ? ExitCode::ok : ExitCode::problems_found;
}

}  // namespace signpost
