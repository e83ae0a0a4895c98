// SPDX-License-Identifier: BSD-3-Clause

#include "cli/captive_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <vector>

#include "cli/disk_door.h"
#include "cli/host_stubs.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/boot_firmware.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kStartTime{20};
constexpr std::chrono::milliseconds kLook{10};

NbdUri at_socket(const std::string& socket, std::string_view export_name) {
    NbdUri uri;
    uri.socket_path = socket;
    uri.export_name = export_name;
    return uri;
}

UniqueFd open_log(const std::string& path) {
    return UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
}

Outcome<ChildProcess> start_program(ChildCommand command, const std::string& log) {
    const UniqueFd to = open_log(log);
    if (!to) {
        return failure(ExitCode::failed, fmt::format("{}: {}", escaped(log), error_text(errno)));
    }
    command.output = command.errors = to.get();
    auto started = ChildProcess::start(command);
    if (!started) {
        return failure(ExitCode::failed, started.error().message);
    }
    return std::move(*started);
}

// QEMU's options are separated by commas; a comma in a value is said twice.
std::string qemu_value(std::string_view value) {
    std::string text;
    for (const char c : value) {
        text += c;
        if (c == ',') {
            text += c;
        }
    }
    return text;
}

Outcome<void> make_overlay_file(const std::string& file, std::uint64_t size,
                                const std::string& log) {
    auto made = start_program(
        {.words = {"qemu-img", "create", "-q", "-f", "qcow2", file, std::to_string(size)}}, log);
    if (!made) {
        return failure(ExitCode::failed,
                       fmt::format("{}; package qemu-utils has it", made.error().message));
    }
    const auto status = made->wait(kStartTime);
    if (!status || *status != 0) {
        return failure(ExitCode::failed,
                       fmt::format("qemu-img cannot make {}: {}", escaped(file), last_line(log)));
    }
    return {};
}

}  // namespace

Outcome<void> wait_serving(ChildProcess& process, const std::string& socket,
                           const std::string& label, const std::string& log) {
    const auto end = Clock::now() + kStartTime;
    while (Clock::now() < end) {
        if (PeerConnection::connect(at_socket(socket, ""), {})) {
            return {};
        }
        if (const auto status = process.wait(kLook)) {
            return failure(ExitCode::failed, fmt::format("{} ended with status {}: {}", label,
                                                         *status, last_line(log)));
        }
    }
    return failure(ExitCode::failed, fmt::format("{} does not serve after {} s: {}", label,
                                                 kStartTime.count(), last_line(log)));
}

std::string qemu_options_of(const NbdUri& disk, const std::string& prefix) {
    const std::string server =
        disk.is_unix() ? fmt::format("{0}server.type=unix,{0}server.path={1}", prefix,
                                     qemu_value(disk.socket_path))
                       : fmt::format("{0}server.type=inet,{0}server.host={1},{0}server.port={2}",
                                     prefix, qemu_value(disk.host), disk.port);
    return fmt::format("{0}driver=nbd,{1},{0}export={2}", prefix, server,
                       qemu_value(disk.export_name));
}

Outcome<CaptiveServer> CaptiveServer::start(const Context& context,
                                            const ScratchDirectory& scratch) {
    const auto program = find_own_program("signpostd");
    if (!program) {
        return failure(ExitCode::failed, program.error().message);
    }
    const std::string socket = scratch.file("nbd.sock");
    const std::string log = scratch.file("signpostd.log");
    ChildCommand command{
        .words = {*program, "--listen=unix:" + socket, "--state=" + scratch.file("state"),
                  fmt::format("--server=captive-{}", ::getpid()), "--tls=off"},
        // Not a word on its command line: a URL may have a password.
        .environment = {"SIGNPOST_CATALOG=" + context.options.catalog},
        .forgotten = {"SIGNPOST_", "LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_",
                      "STATE_DIRECTORY=", "RUNTIME_DIRECTORY="}};
    const PeerTls& tls = context.options.tls;
    if (!tls.certificates.empty()) {
        command.words.push_back("--peer-tls-certificates=" + tls.certificates);
    }
    if (!tls.psk_file.empty()) {
        command.words.push_back("--peer-tls-psk=" + tls.psk_file);
    }
    if (!tls.username.empty()) {
        command.words.push_back("--tls-username=" + tls.username);
    }
    if (!tls.certificates.empty() || !tls.psk_file.empty()) {
        command.words.emplace_back("--peer-tls=on");
    }
    auto process = start_program(std::move(command), log);
    if (!process) {
        return std::unexpected(process.error());
    }
    if (const auto serving = wait_serving(*process, socket, "signpostd", log); !serving) {
        return std::unexpected(serving.error());
    }
    return CaptiveServer(std::move(*process), socket, log);
}

NbdUri CaptiveServer::uri(const DiskName& disk) const {
    return at_socket(socket_, disk.str());
}

namespace {

constexpr std::chrono::milliseconds kReadTime{30'000};  // it may dial several others in vain

// Whether its first bytes can be had: until then a relay has not dialled anybody.
Result<std::vector<std::byte>> read_start(PeerConnection& connection, const ExportFacts& facts) {
    std::vector<std::byte> bytes(std::min<std::uint64_t>(kDiskStart, facts.size));
    std::optional<int> error;
    if (bytes.empty()) {
        return bytes;
    }
    auto started = connection.start_read(bytes, 0, [&](int result) { error = result; });
    const auto end = Clock::now() + kReadTime;
    while (started && !error && Clock::now() < end) {
        started = connection.turn(std::chrono::milliseconds(100));
    }
    connection.close();
    if (!started) {
        return std::unexpected(started.error());
    }
    if (error.value_or(ETIMEDOUT) != 0) {
        return fail(Errc::unavailable, error_text(error.value_or(ETIMEDOUT)));
    }
    return bytes;
}

}  // namespace

Result<SeenDisk> look_at_disk(const NbdUri& uri, const PeerTls& tls) {
    auto connection = PeerConnection::connect(uri, {.tls = tls, .answer = kReadTime});
    if (!connection) {
        return std::unexpected(connection.error());
    }
    const auto facts = connection->open(uri.export_name);
    const auto start = facts ? read_start(*connection, *facts) : std::unexpected(facts.error());
    if (!start) {
        return std::unexpected(start.error());
    }
    return SeenDisk{facts->size, boots_with_efi(*start)};
}

namespace {

Failure cannot_be_had(const DiskName& name, const std::string& why) {
    return {ExitCode::peer_unreachable,
            fmt::format("disk {0} cannot be had: {1}; see: signpost where {0} --check",
                        escaped(name.str()), why)};
}

// TROUBLE: why the catalog cannot be asked.
Outcome<CaptiveDisk> disk_of_stubs(const Context& context, const DiskName& name,
                                   const Failure& trouble) {
    auto stubs = open_host_stubs(context.options);
    if (!stubs) {
        return std::unexpected(trouble);
    }
    auto view = FederationView::of(context.options, std::move(stubs->kept.rows));
    const auto disk = meant_disk(view, context.console, name);
    if (!disk) {
        return std::unexpected(trouble);
    }
    const auto door = disk_door(view, *disk);
    if (!door) {
        return std::unexpected(door.error());
    }
    context.console.note(
        fmt::format("signpost: {}; by the stubs of this machine server {} is asked",
                    trouble.message, escaped(door->server)));
    const auto seen = look_at_disk(door->uri, context.options.tls);
    if (!seen) {
        return std::unexpected(cannot_be_had(disk->name, seen.error().message));
    }
    return CaptiveDisk{disk->name, door->uri, seen->size, seen->efi, std::nullopt};
}

}  // namespace

Outcome<CaptiveDisk> CaptiveDisk::open(const Context& context, const ScratchDirectory& scratch,
                                       const DiskName& name) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    const auto disk =
        view ? meant_disk(*view, context.console, name) : std::unexpected(view.error());
    if (!disk) {
        return disk.error().code == ExitCode::catalog_unreachable
                   ? disk_of_stubs(context, name, disk.error())
                   : std::unexpected(disk.error());
    }
    auto server = CaptiveServer::start(context, scratch);
    if (!server) {
        return std::unexpected(server.error());
    }
    const NbdUri uri = server->uri(disk->name);
    const auto seen = look_at_disk(uri, {});
    if (!seen) {
        const std::string why = server->last_words();
        return std::unexpected(cannot_be_had(disk->name, why.empty() ? seen.error().message : why));
    }
    return CaptiveDisk{disk->name, uri, seen->size, seen->efi, std::move(*server)};
}

Outcome<WritableOverlay> WritableOverlay::start(const ScratchDirectory& scratch,
                                                const CaptiveDisk& below) {
    if (below.uri.tls) {
        return failure(ExitCode::failed,
                       fmt::format("--cow cannot be had of {} while the catalog is away",
                                   escaped(below.uri.str())));
    }
    const std::string file = scratch.file("overlay.qcow2");
    const std::string socket = scratch.file("overlay.sock");
    const std::string log = scratch.file("qemu-nbd.log");
    if (const auto made = make_overlay_file(file, below.size, log); !made) {
        return std::unexpected(made.error());
    }
    const std::string image =
        fmt::format("driver=qcow2,file.driver=file,file.filename={},backing.driver=raw,{}",
                    qemu_value(file), qemu_options_of(below.uri, "backing.file."));
    auto process =
        start_program({.words = {"qemu-nbd", "--socket=" + socket, "--persistent", "--shared=16",
                                 "--discard=unmap", "--cache=writeback",
                                 "--export-name=" + below.uri.export_name, "--image-opts", image}},
                      log);
    if (!process) {
        return std::unexpected(process.error());
    }
    if (const auto serving = wait_serving(*process, socket, "qemu-nbd", log); !serving) {
        return std::unexpected(serving.error());
    }
    return WritableOverlay(std::move(*process), at_socket(socket, below.uri.export_name));
}

}  // namespace signpost
