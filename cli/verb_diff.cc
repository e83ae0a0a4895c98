// SPDX-License-Identifier: BSD-3-Clause
//
// `diff`: where two disks have different bytes. The cheapest truth comes first: a server that has
// both says what they have from the same place of the same file, digests say which chunks are
// equal. What is left is read from both.

#include <fmt/format.h>

#include <algorithm>

#include "cli/difference_reading.h"
#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/leaf_reading.h"
#include "cli/probe.h"
#include "cli/verbs.h"
#include "terminal/progress.h"
#include "terminal/text.h"

namespace signpost {

namespace {

struct Side {
    const DiskRecord& disk;
    const Location* location = nullptr;
    const Server* server = nullptr;
};

bool is_usable(const FederationView& view, const Location& location) {
    const Server* server = view.server(location.server);
    return location.state == LocationState::ready && server != nullptr && !server->uris.empty();
}

// Two copies, on one Signpost server if one has both.
Outcome<void> choose(const FederationView& view, Side& one, Side& other) {
    for (Side* side : {&one, &other}) {
        const auto found = std::ranges::find_if(
            side->disk.locations,
            [&](const Location& location) { return is_usable(view, location); });
        if (found == side->disk.locations.end()) {
            return failure(
                ExitCode::peer_unreachable,
                fmt::format("{}: no copy of it can be read; see: signpost where {}",
                            escaped(side->disk.name.str()), escaped(side->disk.name.str())));
        }
        side->location = &*found;
    }
    for (const Location& first : one.disk.locations) {
        const auto second =
            std::ranges::find(other.disk.locations, first.server, &Location::server);
        if (second != other.disk.locations.end() && is_usable(view, first) &&
            is_usable(view, *second)) {
            one.location = &first;
            other.location = &*second;
            break;
        }
    }
    one.server = view.server(one.location->server);
    other.server = view.server(other.location->server);
    return {};
}

// The first of the server's addresses that answers.
Result<PeerConnection> reach(const Server& server, const PeerSettings& settings) {
    Error last{Errc::unavailable, "it has no URI"};
    for (const NbdUri& uri : server.uris) {
        auto connection = PeerConnection::connect(uri, settings);
        if (connection) {
            return connection;
        }
        last = connection.error();
    }
    return std::unexpected(std::move(last));
}

Outcome<void> unreadable(const Side& side, const Error& error) {
    const bool away = error.code == Errc::unavailable;
    return failure(away ? ExitCode::peer_unreachable : ExitCode::failed,
                   fmt::format("{} on {}: {}", escaped(side.disk.name.str()), side.server->name,
                               error.message));
}

class DiffRun {
   public:
    DiffRun(const Context& context, const Side& one, const Side& other)
        : context_(context), one_(one), other_(other) {
        report_.one = one.disk.name.str();
        report_.other = other.disk.name.str();
        report_.one_size = one.location->size;
        report_.other_size = other.location->size;
    }

    Outcome<DiffReport> run() {
        const std::uint64_t both = std::min(report_.one_size, report_.other_size);
        const std::uint64_t most = std::max(report_.one_size, report_.other_size);
        if (both > 0) {
            if (auto compared = compare(both); !compared) {
                return std::unexpected(compared.error());
            }
        }
        // What only one of them has.
        if (most > both) {
            append_range(report_.ranges, {both, most - both});
        }
        return std::move(report_);
    }

   private:
    Outcome<void> compare(std::uint64_t both) {
        auto one = open(one_, other_.server == one_.server ? other_.disk.name.str() : "");
        if (!one) {
            return std::unexpected(one.error());
        }
        ByteRanges ranges{{0, both}};
        if (by_map_) {
            auto asked = ask_differences(*one, both);
            if (!asked) {
                return unreadable(one_, asked.error());
            }
            ranges = std::move(*asked);
        }
        ranges = by_digests(std::move(ranges));
        if (ranges.empty()) {
            return {};
        }
        auto other = open(other_, "");
        if (!other) {
            return std::unexpected(other.error());
        }
        Progress progress(context_.console,
                          fmt::format("comparing {}", escaped(one_.disk.name.str())),
                          bytes_in(ranges));
        auto found = read_differences(*one, *other, ranges,
                                      [&](std::uint64_t bytes) { progress.reached(bytes); });
        if (!found) {
            return unreadable(one_, found.error());
        }
        report_.ranges = std::move(found->ranges);
        report_.bytes_read = found->bytes_read;
        return {};
    }

    Outcome<PeerConnection> open(const Side& side, std::string differs_from) {
        const bool asks = !differs_from.empty();
        auto connection = reach(
            *side.server, {.tls = context_.options.tls, .differs_from = std::move(differs_from)});
        if (!connection) {
            return std::unexpected(unreadable(side, connection.error()).error());
        }
        const auto facts =
            connection->open(own_export(side.disk.name, *side.location, side.server->kind));
        if (!facts) {
            return std::unexpected(unreadable(side, facts.error()).error());
        }
        if (facts->size != side.location->size) {
            return failure(ExitCode::failed,
                           fmt::format("{} on {} has {} bytes, and {} in the catalog",
                                       escaped(side.disk.name.str()), side.server->name,
                                       facts->size, side.location->size));
        }
        by_map_ = asks && facts->differences;
        return std::move(*connection);
    }

    // Where both copies have digests of their chunks, and the catalog says of what.
    ByteRanges by_digests(ByteRanges ranges) const {
        if (bytes_in(ranges) < 2 * DigestTree::kChunkBytes) {
            return ranges;
        }
        const auto one = leaves(one_);
        const auto other = one ? leaves(other_) : std::nullopt;
        return other ? without_equal_chunks(ranges, *one, *other) : ranges;
    }

    std::optional<DigestTree::Leaves> leaves(const Side& side) const {
        if (side.location->digest.empty() || side.server->kind != ServerKind::signpost) {
            return std::nullopt;
        }
        auto connection = reach(*side.server, {.tls = context_.options.tls});
        auto found = connection ? read_leaves(*connection, side.disk.name, side.location->size,
                                              side.location->digest)
                                : std::unexpected(connection.error());
        return found ? std::optional(std::move(*found)) : std::nullopt;
    }

    const Context& context_;
    const Side& one_;
    const Side& other_;
    DiffReport report_;
    bool by_map_ = false;
};

void print_report(const Context& context, const DiffReport& report) {
    Console& console = context.console;
    const Options& options = context.options;
    if (!options.table.tabs && !report.ranges.empty()) {
        console.out(fmt::format("{:>16}  {:>16}\n", "OFFSET", "LENGTH"));
    }
    for (const ByteRange& range : report.ranges) {
        console.out(options.table.tabs
                        ? fmt::format("{}\t{}\n", range.offset, range.length)
                        : fmt::format("{:>16}  {:>16}\n", range.offset, range.length));
    }
    if (options.table.tabs) {
        return;
    }
    const std::string one = shown_name(console, report.one);
    const std::string other = shown_name(console, report.other);
    if (report.ranges.empty()) {
        console.out(fmt::format("{} and {} are equal\n", one, other));
        return;
    }
    console.out(fmt::format("{} and {} differ in {} of {}, in {}\n", one, other,
                            shown_size(options, bytes_in(report.ranges)),
                            shown_size(options, std::max(report.one_size, report.other_size)),
                            counted(report.ranges.size(), "range")));
}

}  // namespace

VerbResult run(const Context& context, const DiffVerb& verb) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    if (const auto servers = view->servers(); !servers) {
        return std::unexpected(servers.error());
    }
    const auto first = meant_disk(*view, context.console, verb.one);
    if (!first) {
        return std::unexpected(first.error());
    }
    const auto second = meant_disk(*view, context.console, verb.other);
    if (!second) {
        return std::unexpected(second.error());
    }
    Side one{.disk = *first};
    Side other{.disk = *second};
    if (auto chosen = choose(*view, one, other); !chosen) {
        return std::unexpected(chosen.error());
    }
    const auto report = DiffRun(context, one, other).run();
    if (!report) {
        return std::unexpected(report.error());
    }
    if (context.json()) {
        context.console.out(diff_json(*report) + "\n");
    } else {
        print_report(context, *report);
    }
    return ExitCode::ok;
}

}  // namespace signpost
