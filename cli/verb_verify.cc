// SPDX-License-Identifier: BSD-3-Clause
//
// `verify`: reads every copy of a disk through its server and stores what it found. A digest is
// stored only if the copy is still the one whose reading began: same generation in the catalog, and
// at a Signpost server the same image file, by its fingerprint, before, after and in the catalog.
// From then on equal copies back each other up, so a wrong digest here would be a wrong byte later.
//
// A copy whose content is not what it was, although it still is the same image file, has rotted: it
// is marked damaged, and not chosen any more until a reading finds it right again. Where it differs
// is known when somebody has the chunk digests of what it was.

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>

#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/leaf_reading.h"
#include "cli/location_digest.h"
#include "cli/probe.h"
#include "cli/verbs.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "terminal/progress.h"
#include "terminal/text.h"

namespace signpost {

namespace {

using Ending = VerifiedLocation::Result;

VerifiedLocation ended(const Location& location, Ending result, std::string message) {
    VerifiedLocation verified;
    verified.server = location.server;
    verified.size = location.size;
    verified.result = result;
    verified.message = std::move(message);
    return verified;
}

VerifiedLocation ended(const Location& location, const Error& error) {
    const bool away = error.code == Errc::unavailable;
    return ended(location, away ? Ending::unreachable : Ending::failed, error.message);
}

// Whether what the server shows is the image that the catalog means; empty: it is.
std::string other_image(const Location& location, ServerKind kind, const ExportFacts& facts) {
    if (facts.size != location.size) {
        return fmt::format("has {} bytes there, and {} in the catalog", facts.size, location.size);
    }
    const auto fingerprint = fingerprint_in(facts.description);
    if (kind == ServerKind::signpost && fingerprint && *fingerprint != location.fingerprint) {
        return "is another image now; rescan it with: signpost scan";
    }
    return "";
}

// The first of the server's addresses that answers.
Result<PeerConnection> reach(const Server& server, const PeerSettings& settings) {
    Error last{Errc::unavailable, fmt::format("server {} has no URI", server.name)};
    for (const NbdUri& uri : server.uris) {
        auto connection = PeerConnection::connect(uri, settings);
        if (connection) {
            return connection;
        }
        last = connection.error();
    }
    return std::unexpected(std::move(last));
}

class Verification {
   public:
    Verification(const Context& context, FederationView& view, const VerifyVerb& verb)
        : context_(context), view_(view), verb_(verb), settings_{.tls = context.options.tls} {}

    VerifyReport disk(const DiskRecord& disk);

   private:
    VerifiedLocation location(const DiskRecord& disk, const Location& location);
    VerifiedLocation read(const DiskRecord& disk, const Location& location, const Server& server);
    bool has_rotted(const DiskRecord& disk, const Location& location, const Server& server,
                    const std::string& digest) const;
    VerifiedLocation damaged(const DiskRecord& disk, const Location& location,
                             const DigestReading& reading);
    std::string where_damaged(const DiskRecord& disk, const Location& location,
                              const DigestReading& reading);
    VerifiedLocation store(const DiskName& disk, const Location& location,
                           const DigestReading& reading);

    const Context& context_;
    FederationView& view_;
    const VerifyVerb& verb_;
    PeerSettings settings_;
};

VerifyReport Verification::disk(const DiskRecord& disk) {
    VerifyReport report{disk.name, {}, true, false};
    const VerifiedLocation* first = nullptr;
    report.locations.reserve(disk.locations.size());
    for (const Location& copy : disk.locations) {
        if (context_.options.server_given && copy.server != context_.options.own_server) {
            continue;
        }
        report.locations.push_back(location(disk, copy));
        const VerifiedLocation& verified = report.locations.back();
        if (verified.result != Ending::verified) {
            continue;
        }
        if (first == nullptr) {
            first = &verified;
        }
        report.copies_agree = report.copies_agree && first->digest == verified.digest;
        const Server* server = view_.server(copy.server);
        report.writable = report.writable || (!copy.read_only && server != nullptr &&
                                              server->kind == ServerKind::signpost);
    }
    report.copies_agree = report.copies_agree && first != nullptr;
    return report;
}

VerifiedLocation Verification::location(const DiskRecord& disk, const Location& location) {
    if (location.state != LocationState::ready && location.state != LocationState::damaged) {
        return ended(location, Ending::skipped, fmt::format("is {}", to_string(location.state)));
    }
    const Server* server = view_.server(location.server);
    if (server == nullptr) {
        return ended(location, Ending::failed, "the server is not registered any more");
    }
    return read(disk, location, *server);
}

VerifiedLocation Verification::read(const DiskRecord& disk, const Location& location,
                                    const Server& server) {
    const std::string name = own_export(disk.name, location, server.kind);
    auto connection = reach(server, settings_);
    if (!connection) {
        return ended(location, connection.error());
    }
    const auto facts = connection->open(name);
    if (!facts) {
        return ended(location, facts.error());
    }
    if (const std::string other = other_image(location, server.kind, *facts); !other.empty()) {
        return ended(location, Ending::changed, other);
    }
    Progress progress(context_.console,
                      fmt::format("{} on {}", escaped(disk.name.str()), server.name), facts->size);
    const auto reading = digest_export(
        *connection, {.facts = *facts,
                      .trust_map = verb_.trust_holes || server.kind == ServerKind::signpost,
                      .progress = [&](std::uint64_t bytes) { progress.reached(bytes); }});
    if (!reading) {
        return ended(location, reading.error());
    }
    connection->close();
    auto again = reach(server, settings_);
    const auto after = again ? again->info(name) : std::unexpected(again.error());
    if (!after) {
        return ended(location, after.error());
    }
    const bool same_image =
        fingerprint_in(after->description) == fingerprint_in(facts->description);
    if (!same_image || !other_image(location, server.kind, *after).empty()) {
        return ended(location, Ending::changed, "changed while it was read; verify it again");
    }
    return has_rotted(disk, location, server, reading->digest)
               ? damaged(disk, location, *reading)
               : store(disk.name, location, *reading);
}

// A Signpost server says when an image has changed. A foreign one does not, so what it has may be
// new; unless others have what it had.
bool Verification::has_rotted(const DiskRecord& disk, const Location& location,
                              const Server& server, const std::string& digest) const {
    if (location.digest.empty() || location.digest == digest) {
        return false;
    }
    if (server.kind == ServerKind::signpost) {
        return location.read_only;
    }
    return std::ranges::any_of(disk.locations, [&](const Location& other) {
        return other.server != location.server && other.digest == location.digest;
    });
}

VerifiedLocation Verification::damaged(const DiskRecord& disk, const Location& location,
                                       const DigestReading& reading) {
    const auto marked = view_.catalog().set_location_state(
        disk.name, location.server, location.generation, LocationState::damaged);
    VerifiedLocation verified = ended(location, Ending::damaged, "");
    verified.digest = reading.digest;
    verified.bytes_read = reading.bytes_read;
    if (!marked && marked.error().code == Errc::conflict) {
        verified.result = Ending::changed;
        verified.message = "changed while it was read; verify it again";
        return verified;
    }
    verified.message = where_damaged(disk, location, reading);
    if (!marked) {
        verified.message +=
            fmt::format("; the catalog could not be told: {}", marked.error().message);
    }
    return verified;
}

// Anybody may have the chunk digests of what the copy was: they are proven.
std::string Verification::where_damaged(const DiskRecord& disk, const Location& location,
                                        const DigestReading& reading) {
    for (const Location& other : disk.locations) {
        const Server* server = view_.server(other.server);
        if (other.digest != location.digest || server == nullptr ||
            server->kind != ServerKind::signpost) {
            continue;
        }
        auto connection = reach(*server, settings_);
        const auto leaves =
            connection ? read_leaves(*connection, disk.name, location.size, location.digest)
                       : std::unexpected(connection.error());
        if (leaves) {
            return fmt::format("{} are not what they were",
                               difference(reading.leaves, *leaves, location.size));
        }
    }
    return fmt::format("not what it was when it had {}", location.digest);
}

VerifiedLocation Verification::store(const DiskName& disk, const Location& location,
                                     const DigestReading& reading) {
    const auto stored =
        view_.catalog().record_digest({disk, location.server, location.generation, reading.digest});
    VerifiedLocation verified = ended(location, Ending::verified, "");
    verified.digest = reading.digest;
    verified.bytes_read = reading.bytes_read;
    if (!stored) {
        const bool changed = stored.error().code == Errc::conflict;
        verified.result = changed ? Ending::changed : Ending::failed;
        verified.message =
            changed ? "changed while it was read; verify it again" : stored.error().message;
    }
    return verified;
}

Tone tone_of(Ending result) {
    switch (result) {
        case Ending::verified:
            return Tone::good;
        case Ending::skipped:
            return Tone::faint;
        case Ending::unreachable:
        case Ending::failed:
        case Ending::changed:
        case Ending::damaged:
            break;
    }
    return Tone::bad;
}

// Says which copies agree; or, that they do not, and how.
std::string verdict(const VerifyReport& report) {
    std::vector<const VerifiedLocation*> read;
    for (const VerifiedLocation& location : report.locations) {
        if (location.result == Ending::verified) {
            read.push_back(&location);
        }
    }
    const std::string name = escaped(report.disk.str());
    const auto rotten =
        std::ranges::find(report.locations, Ending::damaged, &VerifiedLocation::result);
    if (rotten != report.locations.end()) {
        return fmt::format(
            "{}: the copy on {} is damaged and not used any more; put a good copy "
            "in its place, and verify it again",
            name, rotten->server);
    }
    if (read.empty()) {
        return fmt::format("{}: no copy could be verified; see: signpost where {} --check", name,
                           name);
    }
    if (report.copies_agree && read.size() == 1) {
        return fmt::format("{}: one copy", name);
    }
    if (report.copies_agree) {
        return fmt::format("{}: {} copies agree{}", name, read.size(),
                           report.writable ? "; a copy served writable backs no other up"
                                           : " and back each other up");
    }
    const bool sizes = std::ranges::adjacent_find(read, [](const auto* a, const auto* b) {
                           return a->size != b->size;
                       }) != read.end();
    return fmt::format(
        "{}: copies differ in {}; keep the right one, and forget the other with: "
        "signpost rm {} --server NAME",
        name, sizes ? "size" : "content", name);
}

void print_report(const Context& context, const VerifyReport& report) {
    Console& console = context.console;
    const std::string name = shown_name(console, report.disk.str());
    for (const VerifiedLocation& location : report.locations) {
        const std::string_view result = to_string(location.result);
        const std::string detail =
            location.message.empty() ? location.digest : escaped(location.message, 400);
        if (context.options.table.tabs) {
            console.out(fmt::format("{}\t{}\t{}\t{}\n", name, location.server, result, detail));
        } else {
            console.out(fmt::format("{}  {}  {}  {}\n", name, location.server,
                                    console.toned(tone_of(location.result), result), detail));
        }
    }
    const std::string text = verdict(report);
    if (!context.options.table.tabs) {
        console.out(text + "\n");
    }
}

// The worst of all: differing or changed copies before servers that were away.
ExitCode worse(ExitCode worst, const VerifyReport& report) {
    for (const VerifiedLocation& location : report.locations) {
        if (location.result == Ending::failed || location.result == Ending::changed ||
            location.result == Ending::damaged) {
            return ExitCode::problems_found;
        }
    }
    const auto is = [](Ending result) {
        return [result](const VerifiedLocation& location) { return location.result == result; };
    };
    const bool any_read = std::ranges::any_of(report.locations, is(Ending::verified));
    const bool any_away = std::ranges::any_of(report.locations, is(Ending::unreachable));
    if ((any_read && !report.copies_agree) || (!any_read && !any_away)) {
        return ExitCode::problems_found;
    }
    return any_away && worst == ExitCode::ok ? ExitCode::peer_unreachable : worst;
}

// Gives the disks of the command line to SEE, or all that there are. A disk is looked up just
// before its turn: hours may have passed since its page of the list was read.
Outcome<void> each_wanted(const FederationView& view, Console& console, const VerifyVerb& verb,
                          const std::function<void(const DiskRecord&)>& see) {
    std::vector<DiskName> names;
    for (const DiskName& name : verb.disks) {
        auto disk = meant_disk(view, console, name);
        if (!disk) {
            return std::unexpected(disk.error());
        }
        names.push_back(std::move(disk->name));
    }
    for (const DiskName& name : names) {
        const auto disk = view.disk(name);
        if (!disk) {
            return std::unexpected(disk.error());
        }
        see(*disk);
    }
    if (!verb.disks.empty()) {
        return {};
    }
    Outcome<void> looked_up;
    const auto seen = view.each_disk("", [&](const DiskRecord& listed) {
        if (!verb.glob.empty() && ::fnmatch(verb.glob.c_str(), listed.name.str().c_str(), 0) != 0) {
            return true;
        }
        const auto disk = view.catalog().find(listed.name);
        if (!disk) {
            looked_up = std::unexpected(catalog_failure(disk.error()));
        } else if (*disk) {
            see(**disk);
        }
        return looked_up.has_value();
    });
    return seen ? looked_up : seen;
}

}  // namespace

VerbResult run(const Context& context, const VerifyVerb& verb) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    if (const auto servers = view->servers(); !servers) {
        return std::unexpected(servers.error());
    }
    Verification verification(context, *view, verb);
    JsonList list(context.options.json == JsonMode::lines);
    ExitCode worst = ExitCode::ok;
    const auto all = each_wanted(*view, context.console, verb, [&](const DiskRecord& disk) {
        const VerifyReport report = verification.disk(disk);
        if (report.locations.empty() && verb.disks.empty()) {
            return;  // nothing of it is on that server
        }
        worst = worse(worst, report);
        if (context.json()) {
            context.console.out(list.item(verify_item_json(report)));
        } else {
            print_report(context, report);
        }
    });
    if (!all) {
        return std::unexpected(all.error());
    }
    if (context.json()) {
        context.console.out(list.end());
    }
    return worst;
}

}  // namespace signpost
