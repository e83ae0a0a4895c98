// SPDX-License-Identifier: BSD-3-Clause
//
// `doctor`: looks at everything that has to be right, and says how to mend what is not. Each check
// adds its findings; none stops the others, unless there is no catalog.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>

#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/probe.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kWalkTime{20};
constexpr std::size_t kNamed = 3;  // disks that a finding names; of the others only the count

using Level = Finding::Level;

// Disks with the same trouble.
struct Troubled {
    std::uint64_t count = 0;
    std::vector<std::string> names;

    void add(const DiskName& name) {
        ++count;
        if (names.size() < kNamed) {
            names.push_back(escaped(name.str()));
        }
    }

    std::string text() const {
        std::string list;
        for (const std::string& name : names) {
            list += list.empty() ? name : ", " + name;
        }
        return count > names.size() ? fmt::format("{} and {} more", list, count - names.size())
                                    : list;
    }
};

class Doctor {
   public:
    Doctor(const Context& context, FederationView& view) : context_(context), view_(view) {}

    Outcome<std::vector<Finding>> examine();

   private:
    void check_catalog(const Catalog::Totals& totals);
    void check_servers(const std::vector<Server>& servers);
    void check_server(const Server& server, const ProbeResult& probe);
    Outcome<void> check_disks();
    void note_disk(const DiskRecord& disk);
    void report_disks(bool all);
    void check_programs();
    void check_default_port();

    void add(Level level, std::string check, std::string message, std::string fix = "") {
        findings_.push_back({level, std::move(check), std::move(message), std::move(fix)});
    }

    const Context& context_;
    FederationView& view_;
    std::vector<Finding> findings_;
    std::set<std::string, std::less<>> dead_;  // servers that do not answer
    Troubled unreachable_;
    Troubled different_;
    Troubled not_ready_;
    std::int64_t now_ = 0;  // by the store's clock
    std::uint64_t seen_ = 0;
    std::uint64_t single_ = 0;
};

Outcome<std::vector<Finding>> Doctor::examine() {
    const auto totals = view_.catalog().totals();
    if (!totals) {
        return std::unexpected(catalog_failure(totals.error()));
    }
    const auto servers = view_.servers();
    if (!servers) {
        return std::unexpected(servers.error());
    }
    const auto now = view_.now();
    if (!now) {
        return std::unexpected(now.error());
    }
    now_ = *now;
    check_catalog(*totals);
    check_servers(**servers);
    if (const auto checked = check_disks(); !checked) {
        return std::unexpected(checked.error());
    }
    if (const std::uint64_t skipped = view_.catalog().skipped_rows(); skipped > 0) {
        add(Level::failure, "rows",
            fmt::format("{} of the catalog break its rules and are not used",
                        counted(skipped, "row")),
            "find out who wrote them; rescan the servers with: signpost scan");
    }
    check_programs();
    check_default_port();
    return std::move(findings_);
}

void Doctor::check_catalog(const Catalog::Totals& totals) {
    Catalog& catalog = view_.catalog();
    const std::string name = escaped(catalog.description(), 400);
    if (const auto sound = catalog.check_integrity(); !sound) {
        add(Level::failure, "catalog", sound.error().message,
            "keep a copy of the file, then make a new catalog; servers publish into it again");
        return;
    }
    add(Level::ok, "catalog",
        fmt::format("{}, {}, {}", name, counted(totals.disks, "disk"),
                    counted(totals.locations, "location")));
}

void Doctor::check_servers(const std::vector<Server>& servers) {
    if (servers.empty()) {
        add(Level::warning, "server", "no server is registered",
            "start one with repository=DIR, or: signpost servers add NAME URI --foreign");
        return;
    }
    std::vector<ProbeTarget> targets;
    for (const Server& server : servers) {
        targets.push_back({server.uris, std::nullopt});
    }
    const auto results = probe_all(targets, {.tls = context_.options.tls});
    for (std::size_t i = 0; i < servers.size(); ++i) {
        check_server(servers[i], results[i]);
    }
}

void Doctor::check_server(const Server& server, const ProbeResult& probe) {
    const std::int64_t now = now_;
    const bool beats = server.kind == ServerKind::signpost && server.last_heartbeat != 0;
    const bool fresh = now - server.last_heartbeat <= kServerLease.count();
    if (server.uris.empty()) {
        add(Level::warning, "server", fmt::format("{} has no URI: nobody can ask it", server.name),
            fmt::format("start it with uri=nbd://HOST, or: signpost servers add {} nbd://HOST",
                        server.name));
        return;
    }
    if (probe.error) {
        dead_.insert(server.name);
        const std::string since =
            beats ? fmt::format("; last heartbeat {} ago", age(server.last_heartbeat, now)) : "";
        const bool settings = probe.error->code == Errc::invalid;
        add(Level::failure, "server",
            fmt::format("{}: {}{}", server.name, escaped(probe.error->message, 400), since),
            settings ? fmt::format("give doctor what {} wants, or correct its URI", server.name)
                     : fmt::format("start the server on {}, or forget it: signpost servers rm {}",
                                   server.name, server.name));
        return;
    }
    if (beats && !fresh) {
        add(Level::warning, "heartbeat",
            fmt::format("{} answers, but its last heartbeat was {} ago", server.name,
                        age(server.last_heartbeat, now)),
            fmt::format("look into the log of {}: can it write to the catalog?", server.name));
        return;
    }
    add(Level::ok, "server",
        fmt::format("{} answers in {}{}", server.name, duration_text(probe.latency),
                    beats ? ", heartbeat fresh" : ""));
}

void Doctor::note_disk(const DiskRecord& disk) {
    ++seen_;
    single_ += disk.locations.size() == 1 ? 1 : 0;
    bool usable = false;
    bool wrong_state = false;
    const Location* first = nullptr;
    bool differs = false;
    for (const Location& location : disk.locations) {
        const bool ready = location.state == LocationState::ready;
        wrong_state = wrong_state || location.state == LocationState::stale ||
                      location.state == LocationState::damaged;
        usable = usable || (ready && !dead_.contains(location.server));
        if (!ready) {
            continue;
        }
        const bool both_known =
            first != nullptr && !first->digest.empty() && !location.digest.empty();
        differs = differs || (first != nullptr && first->size != location.size) ||
                  (both_known && first->digest != location.digest);
        if (first == nullptr || first->digest.empty()) {
            first = &location;
        }
    }
    if (!usable) {
        unreachable_.add(disk.name);
    }
    if (differs) {
        different_.add(disk.name);
    }
    if (wrong_state) {
        not_ready_.add(disk.name);
    }
}

Outcome<void> Doctor::check_disks() {
    const auto end = std::chrono::steady_clock::now() + kWalkTime;
    bool all = true;
    const auto walked = view_.each_disk("", [&](const DiskRecord& disk) {
        note_disk(disk);
        all = std::chrono::steady_clock::now() < end;
        return all;
    });
    if (walked) {
        report_disks(all);
    }
    return walked;
}

void Doctor::report_disks(bool all) {
    if (unreachable_.count > 0) {
        add(Level::failure, "disks",
            fmt::format("{} without a copy on a server that answers: {}",
                        counted(unreachable_.count, "disk"), unreachable_.text()),
            "start one of the servers; see: signpost where DISK --check");
    }
    if (different_.count > 0) {
        add(Level::failure, "copies",
            fmt::format("{} whose copies differ in size or content: {}",
                        counted(different_.count, "disk"), different_.text()),
            "keep the right copy, and forget the other: signpost rm DISK --server NAME");
    }
    if (not_ready_.count > 0) {
        add(Level::warning, "state",
            fmt::format("{} with a stale or damaged copy: {}", counted(not_ready_.count, "disk"),
                        not_ready_.text()),
            "see: signpost info DISK; publish the image again, or forget the copy");
    }
    if (unreachable_.count == 0 && different_.count == 0) {
        add(Level::ok, "disks",
            fmt::format("{}{} looked at, {} with one copy only", all ? "" : "the first ",
                        counted(seen_, "disk"), single_));
    }
}

// Whether a program of that name can be run by this user.
bool is_on_path(std::string_view program) {
    const char* value = std::getenv("PATH");
    std::string_view path = value != nullptr ? value : "/usr/local/bin:/usr/bin:/bin";
    while (!path.empty()) {
        const auto colon = std::min(path.find(':'), path.size());
        const std::string candidate = fmt::format("{}/{}", path.substr(0, colon), program);
        if (::access(candidate.c_str(), X_OK) == 0) {
            return true;
        }
        path.remove_prefix(std::min(colon + 1, path.size()));
    }
    return false;
}

void Doctor::check_programs() {
    if (is_on_path("qemu-nbd")) {
        add(Level::ok, "qemu-nbd", "is installed: qcow2, vmdk, vhdx and vdi images can be served");
    } else {
        add(Level::warning, "qemu-nbd", "is not installed: only raw images can be served from here",
            "apt install qemu-utils");
    }
}

void Doctor::check_default_port() {
    if (view_.server(context_.options.own_server) != nullptr) {
        return;  // it was asked where it really listens
    }
    NbdUri local;
    local.host = "127.0.0.1";
    const std::array targets{ProbeTarget{{local}, std::nullopt}};
    const ProbeResult result = probe_all(targets, {}).front();
    if (result.answered) {
        add(Level::ok, "port", fmt::format("an NBD server answers on {}", local.endpoint()));
    } else {
        add(Level::ok, "port",
            fmt::format("nothing serves NBD on {} of this machine, and this "
                        "machine ({}) is no registered server",
                        local.endpoint(), escaped(context_.options.own_server)));
    }
}

Tone tone_of(Level level) {
    switch (level) {
        case Level::ok:
            return Tone::good;
        case Level::warning:
            return Tone::warning;
        case Level::failure:
            break;
    }
    return Tone::bad;
}

std::uint64_t count(const std::vector<Finding>& findings, Level level) {
    return static_cast<std::uint64_t>(std::ranges::count(findings, level, &Finding::level));
}

void print(const Context& context, const std::vector<Finding>& findings) {
    Console& console = context.console;
    for (const Finding& finding : findings) {
        const std::string level(to_string(finding.level));
        console.out(fmt::format("{}{} {:<10} {}\n", console.toned(tone_of(finding.level), level),
                                std::string(5 - level.size(), ' '), finding.check,
                                finding.message));
        if (!finding.fix.empty()) {
            console.out(fmt::format("      fix: {}\n", finding.fix));
        }
    }
    console.out(fmt::format("{}, {}\n", counted(count(findings, Level::failure), "failure"),
                            counted(count(findings, Level::warning), "warning")));
}

}  // namespace

VerbResult run(const Context& context, const DoctorVerb& /*verb*/) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    Outcome<std::vector<Finding>> findings =
        view ? Doctor(context, *view).examine() : std::unexpected(view.error());
    if (!findings) {
        findings = std::vector<Finding>{{Level::failure, "catalog", findings.error().message,
                                         "nothing else can be looked at without it"}};
    }
    if (context.json()) {
        context.console.out(doctor_json(*findings) + "\n");
    } else {
        print(context, *findings);
    }
    return count(*findings, Level::failure) > 0 ? ExitCode::problems_found : ExitCode::ok;
}

}  // namespace signpost
