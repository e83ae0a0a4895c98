// SPDX-License-Identifier: BSD-3-Clause
//
// `doctor`: looks at everything that has to be right, and says how to mend what is not. Each check
// adds its findings; none stops the others, unless there is no catalog.

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <set>

#include "cli/doctor_machine.h"
#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/probe.h"
#include "cli/repair_plan.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kWalkTime{20};
constexpr std::int64_t kClockSlack = 60;  // seconds, and so the next
constexpr std::int64_t kStuck = 600;      // a job of which nobody has reported
constexpr std::int64_t kRecently = 24 * 60 * 60;
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
    Doctor(const Context& context, FederationView& view, std::vector<WishedCopies> wishes)
        : context_(context), view_(view), wishes_(std::move(wishes)) {}

    Outcome<Findings> examine();

   private:
    void check_catalog(const Catalog::Totals& totals);
    void check_servers(const std::vector<Server>& servers);
    void check_server(const Server& server, const ProbeResult& probe);
    Outcome<void> check_disks();
    void note_disk(const DiskRecord& disk);
    std::size_t good_copies(const DiskRecord& disk) const;
    void report_disks(bool all);
    void check_clock();
    Outcome<void> check_jobs();
    Outcome<void> choose_samples();
    std::string remedy(const Server& server, const Error& error) const;
    void check_sample(const Server& server, const ProbeResult& probe);
    void check_default_port();

    void add(Level level, std::string check, std::string message, std::string fix = "") {
        findings_.push_back({level, std::move(check), std::move(message), std::move(fix)});
    }

    const Context& context_;
    FederationView& view_;
    const std::vector<WishedCopies> wishes_;
    Findings findings_;
    std::map<std::string, std::string, std::less<>> samples_;  // an export of each server
    std::set<std::string, std::less<>> dead_;                  // servers that do not answer
    Troubled unreachable_;
    Troubled different_;
    Troubled damaged_;
    Troubled stale_;
    Troubled too_few_;
    std::int64_t now_ = 0;  // by the store's clock
    std::uint64_t seen_ = 0;
    std::uint64_t single_ = 0;
};

Outcome<Findings> Doctor::examine() {
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
    check_clock();
    if (const auto chosen = choose_samples(); !chosen) {
        return std::unexpected(chosen.error());
    }
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
    if (const auto checked = check_jobs(); !checked) {
        return std::unexpected(checked.error());
    }
    check_default_port();
    return std::move(findings_);
}

// A disk of each server, to ask it for: whether it is the server that it is taken for.
Outcome<void> Doctor::choose_samples() {
    const auto servers = view_.servers();
    std::map<std::string, ServerKind, std::less<>> wanted;
    for (const Server& server : **servers) {
        wanted.emplace(server.name, server.kind);
    }
    return view_.each_disk("", [&](const DiskRecord& disk) {
        for (const Location& location : disk.locations) {
            const auto server = wanted.find(location.server);
            if (location.state == LocationState::ready && server != wanted.end()) {
                samples_.emplace(location.server, own_export(disk.name, location, server->second));
                wanted.erase(server);
            }
        }
        return !wanted.empty();
    });
}

void Doctor::check_clock() {
    const std::int64_t ahead = ::time(nullptr) - now_;
    if (std::abs(ahead) > kClockSlack) {
        add(Level::warning, "clock",
            fmt::format("this machine's clock is {} s {} the catalog's", std::abs(ahead),
                        ahead > 0 ? "ahead of" : "behind"),
            "set both by NTP: timedatectl; certificates and tickets fail by a wrong clock");
    }
}

Outcome<void> Doctor::check_jobs() {
    const auto jobs = view_.catalog().jobs("");
    if (!jobs) {
        return std::unexpected(catalog_failure(jobs.error()));
    }
    for (const Job& job : *jobs) {
        const std::string what =
            fmt::format("{} of {} to {} ({})", to_string(job.kind), escaped(job.disk.str()),
                        escaped(job.target), job.id.substr(0, 8));
        if (!is_final(job.state) && now_ - job.updated > kStuck) {
            add(Level::warning, "jobs",
                fmt::format("{} has not moved for {}", what, age(job.updated, now_)),
                fmt::format("start server {}, which does it; or: signpost jobs cancel {}",
                            escaped(job.target), job.id.substr(0, 8)));
        } else if (job.state == JobState::failed && now_ - job.updated < kRecently) {
            add(Level::warning, "jobs",
                fmt::format("{} failed: {}", what, escaped(job.message, 300)),
                "mend that, and begin it again");
        }
    }
    return {};
}

void Doctor::check_catalog(const Catalog::Totals& totals) {
    Catalog& catalog = view_.catalog();
    const std::string name = escaped(catalog.description(), 400);
    if (const auto sound = catalog.check_integrity(); !sound) {
        add(Level::failure, "catalog", sound.error().message,
            "keep a copy of the file, then make a new catalog; servers publish into it again");
        return;
    }
    // Forgets what nobody has said: the smallest of changes.
    const SiteCost nothing{"signpost-doctor", "signpost-doctor-other", -1};
    if (const auto changed = catalog.put_site_cost(nothing); !changed) {
        add(Level::warning, "catalog",
            fmt::format("it can be read, but not be changed: {}", changed.error().message),
            "until then servers publish nothing: look at its owner and file system (findmnt -T "
            "DIR), and, for PostgreSQL, whether only a standby is left: promote it");
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
        const auto sample = samples_.find(server.name);
        targets.push_back(
            {server.uris, sample != samples_.end() ? std::optional(sample->second) : std::nullopt});
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
    if (probe.answered && probe.error) {
        check_sample(server, probe);
        return;
    }
    if (probe.error) {
        dead_.insert(server.name);
        const std::string since =
            beats ? fmt::format("; last heartbeat {} ago", age(server.last_heartbeat, now)) : "";
        add(Level::failure, "server",
            fmt::format("{}: {}{}", server.name, escaped(probe.error->message, 400), since),
            remedy(server, *probe.error));
        return;
    }
    if (server.draining) {
        add(Level::warning, "draining",
            fmt::format("{} is being drained: clients are sent elsewhere", server.name),
            fmt::format("when it is to take clients again: signpost servers drain {} --off",
                        server.name));
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

// It answers, but not as the server that the catalog takes it for.
void Doctor::check_sample(const Server& server, const ProbeResult& probe) {
    const std::string& text = probe.error->message;
    if (text.find("TLS") != text.npos) {
        dead_.insert(server.name);
        add(Level::failure, "server", fmt::format("{}: {}", server.name, escaped(text, 400)),
            remedy(server, *probe.error));
        return;
    }
    add(Level::warning, "identity",
        fmt::format("{} answers at {}, but not for a disk that it holds: {}", server.name,
                    probe.uri ? probe.uri->endpoint() : "its URI", escaped(text, 400)),
        fmt::format("is that server {0}? else correct its URI; its access rules may hide the disk "
                    "from here, too: signpost where DISK --check --server {0}",
                    server.name));
}

std::string Doctor::remedy(const Server& server, const Error& error) const {
    const std::string& text = error.message;
    const auto says = [&](std::string_view word) { return text.find(word) != text.npos; };
    if (says("did not start TLS") || says("refused TLS")) {
        return fmt::format(
            "its URI says nbds, but it has no TLS: give it certificates, or: "
            "signpost servers add {} nbd://HOST",
            server.name);
    }
    if (says("refused")) {
        return fmt::format(
            "start the server on {0}: systemctl start signpostd; or forget it: "
            "signpost servers rm {0}",
            server.name);
    }
    if (says("is a TLS server")) {
        return fmt::format("give doctor --tls-certificates DIR or --tls-psk FILE, to ask {}",
                           server.name);
    }
    if (says("expired")) {
        return fmt::format("renew the certificate on {}, then: systemctl reload signpostd",
                           server.name);
    }
    if (says("certificate")) {
        return fmt::format(
            "the certificate of {} must be of the authority in ca-cert.pem, and "
            "name the host of its URI",
            server.name);
    }
    if (says("TLS")) {
        return fmt::format(
            "it wants TLS: register it by nbds://HOST, and give doctor "
            "--tls-certificates DIR or --tls-psk FILE ({})",
            server.name);
    }
    if (says("no NBD greeting")) {
        return fmt::format(
            "it accepts and says nothing: it hangs, or something else has its port; "
            "on {} see: ss -tlnp, systemctl restart signpostd",
            server.name);
    }
    if (says("magic")) {
        return fmt::format("something else has its port: on {} see ss -tlnp; or correct its URI",
                           server.name);
    }
    if (error.code == Errc::invalid) {
        return fmt::format("give doctor what {} wants, or correct its URI", server.name);
    }
    return fmt::format(
        "is {0} up, and the way there open? ping it; or forget it: signpost servers "
        "rm {0}",
        server.name);
}

std::size_t Doctor::good_copies(const DiskRecord& disk) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(disk.locations, [&](const Location& location) {
            return location.state == LocationState::ready && !dead_.contains(location.server);
        }));
}

void Doctor::note_disk(const DiskRecord& disk) {
    ++seen_;
    single_ += disk.locations.size() == 1 ? 1 : 0;
    bool usable = false;
    const Location* first = nullptr;
    bool differs = false;
    bool damaged = false;
    bool stale = false;
    for (const Location& location : disk.locations) {
        const bool ready = location.state == LocationState::ready;
        damaged = damaged || location.state == LocationState::damaged;
        stale = stale || location.state == LocationState::stale;
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
    if (damaged) {
        damaged_.add(disk.name);
    }
    if (stale) {
        stale_.add(disk.name);
    }
    const auto wish = std::ranges::find_if(wishes_, [&](const WishedCopies& each) {
        return matches_pattern(each.disks, disk.name.str());
    });
    if (wish != wishes_.end() && good_copies(disk) < wish->copies) {
        too_few_.add(disk.name);
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
    if (damaged_.count > 0) {
        add(Level::failure, "damaged",
            fmt::format("{} with a damaged copy: {}", counted(damaged_.count, "disk"),
                        damaged_.text()),
            "restore it from a good copy: signpost repair DISK --copies N");
    }
    if (stale_.count > 0) {
        add(Level::warning, "state",
            fmt::format("{} with a stale copy: {}", counted(stale_.count, "disk"), stale_.text()),
            "see: signpost info DISK; publish the image again, or forget the copy");
    }
    if (too_few_.count > 0) {
        add(Level::warning, "wished",
            fmt::format("{} with fewer good copies than the configuration wishes: {}",
                        counted(too_few_.count, "disk"), too_few_.text()),
            "signpost repair");
    }
    if (unreachable_.count == 0 && different_.count == 0) {
        add(Level::ok, "disks",
            fmt::format("{}{} looked at, {} with one copy only", all ? "" : "the first ",
                        counted(seen_, "disk"), single_));
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

std::uint64_t count(const Findings& findings, Level level) {
    return static_cast<std::uint64_t>(std::ranges::count(findings, level, &Finding::level));
}

void print(const Context& context, const Findings& findings) {
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

namespace {

// What the catalog says, and whether that is so.
void examine_federation(const Context& context, const ServerFile& file, Findings& findings) {
    const auto opened =
        open_catalog(context.options.catalog, OpenMode::read_only, CatalogUser::person);
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        findings.push_back({Level::failure, "catalog", view.error().message,
                            opened ? "" : catalog_remedy(opened.error())});
        return;
    }
    auto found = Doctor(context, *view, file.copies).examine();
    if (!found) {
        findings.push_back({Level::failure, "catalog", found.error().message,
                            "mend that first: what else there is was not looked at"});
        return;
    }
    std::ranges::move(*found, std::back_inserter(findings));
    examine_stubs(context, findings);
}

}  // namespace

VerbResult run(const Context& context, const DoctorVerb& verb) {
    const std::string path = verb.config.empty() ? kUsualServerFile : verb.config;
    Findings findings;
    examine_configuration(path, !verb.config.empty(), findings);
    const ServerFile file = ServerFile::read(path).value_or(ServerFile());
    examine_federation(context, file, findings);
    examine_directories(file, findings);
    examine_certificates(context, file, findings);
    examine_images(file, findings);
    examine_programs(findings);
    if (context.json()) {
        context.console.out(doctor_json(findings) + "\n");
    } else {
        print(context, findings);
    }
    return count(findings, Level::failure) > 0 ? ExitCode::problems_found : ExitCode::ok;
}

}  // namespace signpost
