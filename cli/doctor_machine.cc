// SPDX-License-Identifier: BSD-3-Clause

#include "cli/doctor_machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "catalog/catalog.h"
#include "cli/certificate_facts.h"
#include "cli/child_process.h"
#include "cli/host_stubs.h"
#include "cli/scratch_directory.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/helper_process.h"
#include "nbd-server/disk/repository.h"
#include "terminal/text.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;
using Level = Finding::Level;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kCheckTime{30};
constexpr std::chrono::seconds kScanTime{10};
constexpr std::size_t kMostMistakes = 10;
constexpr std::int64_t kDay = 24 * 60 * 60;
constexpr std::int64_t kSoon = 30 * kDay;       // a certificate that ends before
constexpr std::int64_t kStaleStubs = 60 * 60;   // that nobody has brought up to date since
constexpr std::uint64_t kLeastRoom = 64 << 20;  // bytes
constexpr rlim_t kFewDescriptors = 4096;

void add(Findings& findings, Level level, std::string check, std::string message,
         std::string fix = "") {
    findings.push_back({level, std::move(check), std::move(message), std::move(fix)});
}

// A directory that the server writes to.
void examine_directory(const std::string& what, const std::string& path, Findings& findings) {
    struct statvfs room {};
    std::error_code error;
    if (!fs::is_directory(path, error)) {
        add(findings, Level::failure, what, fmt::format("{} is no directory", escaped(path)),
            fmt::format("install -d -o signpost -g signpost -m 0750 {}", escaped(path)));
    } else if (::statvfs(path.c_str(), &room) != 0 || (room.f_flag & ST_RDONLY) != 0 ||
               ::access(path.c_str(), W_OK) != 0) {
        add(findings, Level::failure, what, fmt::format("{} cannot be written to", escaped(path)),
            "run doctor as the server's user or root; else look at its owner, and at its file "
            "system with: findmnt -T DIR");
    } else if (const std::uint64_t bytes = room.f_bavail * room.f_frsize; bytes < kLeastRoom) {
        add(findings, Level::failure, what,
            fmt::format("{} has {} left", escaped(path), size_for_people(bytes)),
            fmt::format("make room: df -h {}", escaped(path)));
    } else {
        add(findings, Level::ok, what,
            fmt::format("{} has {} left", escaped(path), size_for_people(bytes)));
    }
}

void examine_certificate(const std::string& path, const std::string& host, Findings& findings) {
    const auto facts = certificate_facts(path, host);
    const std::int64_t now = ::time(nullptr);
    if (!facts) {
        add(findings, Level::failure, "tls", facts.error().message,
            "put a certificate in PEM form there; certtool(1) shows and makes them");
    } else if (facts->begins > now) {
        add(findings, Level::failure, "tls",
            fmt::format("{} is not valid before {}", escaped(path), rfc3339(facts->begins)),
            "look at this machine's clock: timedatectl");
    } else if (facts->ends <= now) {
        add(findings, Level::failure, "tls",
            fmt::format("{} ended on {}", escaped(path), rfc3339(facts->ends)),
            "renew it, then: systemctl reload signpostd");
    } else if (facts->ends - now < kSoon) {
        add(findings, Level::warning, "tls",
            fmt::format("{} ends in {}", escaped(path),
                        counted(static_cast<std::uint64_t>((facts->ends - now) / kDay), "day")),
            "renew it, then: systemctl reload signpostd");
    } else if (!host.empty() && !facts->names_host) {
        add(findings, Level::failure, "tls",
            fmt::format("{} does not name {}, at which this server is reached", escaped(path),
                        escaped(host)),
            "make one with that dns_name or ip_address, or correct `uri` in the configuration");
    } else {
        add(findings, Level::ok, "tls",
            fmt::format("{} is valid for {} more days", escaped(path), (facts->ends - now) / kDay));
    }
}

std::string first_of(const std::vector<std::string>& lines) {
    return lines.size() == 1 ? lines.front()
                             : fmt::format("{} (and {} more)", lines.front(), lines.size() - 1);
}

}  // namespace

void examine_configuration(const std::string& file, bool must_be_there, Findings& findings) {
    if (!must_be_there && ::access(file.c_str(), F_OK) != 0) {
        return;
    }
    const auto program = find_own_program("signpostd");
    const auto scratch = ScratchDirectory::make();
    if (!program || !scratch) {
        return;
    }
    const std::string said = scratch->file("said");
    const UniqueFd log(::open(said.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    auto check = ChildProcess::start({.words = {*program, "--config", file, "--check-config"},
                                      .environment = {},
                                      .forgotten = {"SIGNPOST_", "LISTEN_"},
                                      .output = log.get(),
                                      .errors = log.get()});
    if (check && check->wait(kCheckTime) == 0) {
        add(findings, Level::ok, "config", fmt::format("{} is good", escaped(file)));
        return;
    }
    std::ifstream lines(said);
    std::string line;
    for (std::size_t i = 0; i < kMostMistakes && std::getline(lines, line); ++i) {
        add(findings, Level::failure, "config", escaped(line, 400),
            "correct the line; signpost.toml(5) has every key");
    }
}

void examine_directories(const ServerFile& file, Findings& findings) {
    const std::string state = file.state.empty() ? default_state_directory() : file.state;
    std::error_code error;
    if (!file.state.empty() || fs::exists(state, error)) {
        examine_directory("state", state, findings);
    }
    if (!file.cache.empty()) {
        examine_directory("cache", file.cache, findings);
    }
}

void examine_certificates(const Context& context, const ServerFile& file, Findings& findings) {
    const auto uri = NbdUri::parse(file.uri);
    const std::string host = uri ? uri->host : "";
    std::vector<std::string> seen;
    for (const std::string& directory :
         {file.certificates, file.peer_certificates, context.options.tls.certificates}) {
        if (directory.empty() || std::ranges::count(seen, directory) > 0) {
            continue;
        }
        seen.push_back(directory);
        for (const char* name : {"ca-cert.pem", "server-cert.pem", "client-cert.pem"}) {
            const std::string path = fmt::format("{}/{}", directory, name);
            const bool serves = std::string_view(name) == "server-cert.pem";
            if (::access(path.c_str(), F_OK) == 0) {
                examine_certificate(path, serves && directory == file.certificates ? host : "",
                                    findings);
            }
        }
    }
}

void examine_images(const ServerFile& file, Findings& findings) {
    std::vector<Repository> opened;
    for (const std::string& directory : file.repositories) {
        auto repository = Repository::open(directory, {});
        if (repository) {  // else signpostd --check-config has said so
            opened.push_back(std::move(*repository));
        }
    }
    if (opened.empty()) {
        return;
    }
    const RepositorySet repositories(std::move(opened));
    const auto end = Clock::now() + kScanTime;
    const auto scan = repositories.scan(
        {.settle = {}, .keep_going = [&] { return Clock::now() < end; }, .on_directory = {}});
    if (!scan.refusals.empty()) {
        add(findings, Level::warning, "images",
            fmt::format("{} cannot be served: {}", counted(scan.refusals.size(), "file"),
                        escaped(first_of(scan.refusals), 600)),
            "move such files away, or mend them; all are listed by: signpost scan DIR --dry-run");
    } else {
        add(findings, Level::ok, "images",
            fmt::format("{}{} can be served", scan.ended ? "" : "the first ",
                        counted(scan.images.size(), "image")));
    }
}

void examine_stubs(const Context& context, Findings& findings) {
    const std::int64_t now = ::time(nullptr);  // the clock that they were written by
    const auto stubs = open_host_stubs(context.options);
    if (!stubs) {
        if (stubs.error().code != Errc::not_found) {
            add(findings, Level::warning, "stubs", stubs.error().message,
                "restart the server: it begins them anew");
        }
        return;
    }
    const std::int64_t as_of = stubs->as_of(now);
    if (now - as_of > kStaleStubs) {
        add(findings, Level::warning, "stubs",
            fmt::format("what server {} would go by without the catalog is of {} ago",
                        escaped(stubs->server), age(as_of, now)),
            "is the server running, and does it reach the catalog? journalctl -u signpostd");
    } else {
        add(findings, Level::ok, "stubs", stubs_text(*stubs, now));
    }
}

void examine_programs(Findings& findings) {
    if (find_program("qemu-nbd")) {
        add(findings, Level::ok, "qemu-nbd",
            "is installed: qcow2, vmdk, vhdx and vdi images can be served");
    } else {
        add(findings, Level::warning, "qemu-nbd",
            "is not installed: only raw and read-only qcow2 images can be served from here",
            "apt install qemu-utils");
    }
    if (!find_program("grub-mount")) {
        add(findings, Level::warning, "grub-mount",
            "is not installed: no files out of XFS, btrfs, LVM and LUKS",
            "apt install grub-common");
    }
    if (::access("/dev/fuse", R_OK | W_OK) != 0) {
        add(findings, Level::warning, "fuse",
            fmt::format("/dev/fuse: {}: `signpost mount` and what needs GRUB's tools do not work",
                        error_text(errno)),
            "modprobe fuse; in a container, give it the device");
    }
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < kFewDescriptors) {
        add(findings, Level::warning, "limits",
            fmt::format("a program may have {} files open here: too few for many clients",
                        files.rlim_max),
            "start signpostd by its unit, or first: ulimit -Hn 524288");
    }
}

std::string catalog_remedy(const Error& error) {
    const std::string& text = error.message;
    const auto says = [&](std::string_view word) { return text.find(word) != text.npos; };
    switch (error.code) {
        case Errc::not_found:
            return "signpost catalog init makes it; or name the right one with --catalog or "
                   "SIGNPOST_CATALOG";
        case Errc::too_new:
            return "install the newer release of Signpost here, too";
        case Errc::corrupt:
            return "keep a copy of the file, then: signpost catalog rebuild";
        case Errc::denied:
            return "run signpost as a user who may, or give this one the right: for PostgreSQL the "
                   "owner runs `signpost catalog init`";
        case Errc::invalid:
            return "correct the URL: sqlite:PATH, or postgresql://USER@HOST/DATABASE";
        default:
            break;
    }
    if (says("password") || says("authentication")) {
        return "put the right password into ~/.pgpass, or PGPASSFILE: see postgresql.org, The "
               "Password File";
    }
    if (says("refused")) {
        return "start PostgreSQL there (systemctl start postgresql), or correct host and port";
    }
    if (says("lock") || says("busy")) {
        return "see who holds it: fuser -v on the catalog's file";
    }
    return "servers go on with what they know; mend the catalog's machine or the way to it, and "
           "run this again";
}

}  // namespace signpost
