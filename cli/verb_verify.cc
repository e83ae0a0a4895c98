// SPDX-License-Identifier: BSD-3-Clause
//
// `verify`: reads every copy of a disk through its server and stores what it found. A digest is
// stored only if the copy is still the one whose reading began: same generation in the catalog, and
// at a Signpost server the same image file, by its fingerprint, before, after and in the catalog.
// From then on equal copies back each other up, so a wrong digest here would be a wrong byte later.

#include <fmt/format.h>

#include <algorithm>

#include "cli/federation_view.h"
#include "cli/json_output.h"
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
    VerifiedLocation location(const DiskName& disk, const Location& location);
    VerifiedLocation read(const DiskName& disk, const Location& location, const Server& server);
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
        report.locations.push_back(location(disk.name, copy));
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

VerifiedLocation Verification::location(const DiskName& disk, const Location& location) {
    if (location.state != LocationState::ready) {
        return ended(location, Ending::skipped, fmt::format("is {}", to_string(location.state)));
    }
    const Server* server = view_.server(location.server);
    if (server == nullptr) {
        return ended(location, Ending::failed, "the server is not registered any more");
    }
    return read(disk, location, *server);
}

VerifiedLocation Verification::read(const DiskName& disk, const Location& location,
                                    const Server& server) {
    const std::string name = own_export(disk, location, server.kind);
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
    Progress progress(context_.console, fmt::format("{} on {}", escaped(disk.str()), server.name),
                      facts->size);
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
    return store(disk, location, *reading);
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
        if (location.result == Ending::failed || location.result == Ending::changed) {
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
Outcome<void> each_wanted(const FederationView& view, const VerifyVerb& verb,
                          const std::function<void(const DiskRecord&)>& see) {
    for (const DiskName& name : verb.disks) {
        if (const auto disk = view.disk(name); !disk) {
            return std::unexpected(disk.error());
        }
    }
    for (const DiskName& name : verb.disks) {
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
    const auto all = each_wanted(*view, verb, [&](const DiskRecord& disk) {
        const VerifyReport report = verification.disk(disk);
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
