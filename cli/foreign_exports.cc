// SPDX-License-Identifier: BSD-3-Clause

#include "cli/foreign_exports.h"

#include <fmt/format.h>

#include <bit>
#include <map>
#include <optional>
#include <set>

#include "nbd-server/disk/repository.h"

namespace signpost {

namespace {

constexpr std::uint32_t kLargestMinimumBlock = 64 * 1024;

// As an image of that name in a repository would be called, or the name itself.
Result<DiskName> disk_of_export(const std::string& server, const std::string& name) {
    if (name.empty()) {
        return DiskName::parse(server);
    }
    return disk_name_of_path(name).value_or(DiskName::parse(name));
}

std::string shown_export(std::string_view name) {
    return name.empty() ? "the default export" : fmt::format("export {}", escaped(name));
}

// Some servers answer only the option that also opens the export: then a connection is spent on it.
Result<ExportFacts> look_at(std::optional<PeerConnection>& connection, const NbdUri& uri,
                            const PeerSettings& settings, const std::string& name) {
    if (!connection) {
        auto again = PeerConnection::connect(uri, settings);
        if (!again) {
            return std::unexpected(again.error());
        }
        connection = std::move(*again);
    }
    auto facts = connection->info(name);
    if (facts || facts.error().code == Errc::not_found) {
        return facts;
    }
    connection.reset();
    auto fresh = PeerConnection::connect(uri, settings);
    if (!fresh) {
        return std::unexpected(fresh.error());
    }
    return fresh->open(name);
}

// A disk in the catalog must have a size and a block that a relay can work with; empty: it has.
std::string unusable(const ExportFacts& facts) {
    if (facts.size == 0) {
        return "is empty";
    }
    if (!std::has_single_bit(facts.minimum_block) || facts.minimum_block > kLargestMinimumBlock) {
        return fmt::format("wants blocks of {} bytes; at most {} are possible", facts.minimum_block,
                           kLargestMinimumBlock);
    }
    return "";
}

}  // namespace

Outcome<ForeignExports> look_at_exports(
    const NbdUri& uri, const PeerSettings& settings,
    const std::function<void(std::size_t seen, std::size_t all)>& seen) {
    auto first = PeerConnection::connect(uri, settings);
    if (!first) {
        return std::unexpected(peer_failure(first.error()));
    }
    std::optional<PeerConnection> connection(std::move(*first));
    std::vector<std::string> names{uri.export_name};
    if (uri.export_name.empty()) {
        auto listed = connection->list();
        if (listed) {
            names = std::move(*listed);
        } else if (listed.error().code != Errc::denied) {
            return std::unexpected(peer_failure(listed.error()));
        }
    }
    ForeignExports found;
    Error last{Errc::not_found, ""};
    for (const std::string& name : names) {
        auto facts = look_at(connection, uri, settings, name);
        if (facts) {
            found.exports.push_back({name, std::move(*facts)});
        } else if (facts.error().code == Errc::unavailable) {
            return std::unexpected(peer_failure(facts.error()));
        } else {
            last = facts.error();
            found.refusals.push_back(
                fmt::format("{} skipped: {}", shown_export(name), last.message));
        }
        seen(found.exports.size() + found.refusals.size(), names.size());
    }
    if (found.exports.empty() && names.size() == 1) {
        return failure(peer_failure(last).code,
                       fmt::format("{}: {} cannot be used: {}; name one in the URI: {}",
                                   escaped(uri.endpoint()), shown_export(names.front()),
                                   last.message, uri.with_export("NAME").str()));
    }
    return found;
}

ImportPlan plan_import(const std::string& server, const std::vector<ForeignExport>& exports) {
    ImportPlan plan;
    std::map<DiskName, std::vector<const ForeignExport*>> by_name;
    std::set<std::string> listed;
    for (const ForeignExport& entry : exports) {
        if (!listed.insert(entry.name).second) {
            continue;  // listed twice
        }
        const auto name = disk_of_export(server, entry.name);
        const std::string reason = !name ? name.error().message : unusable(entry.facts);
        if (reason.empty()) {
            by_name[*name].push_back(&entry);
        } else {
            plan.refusals.push_back(
                fmt::format("{} skipped: {}", shown_export(entry.name), reason));
        }
    }
    for (const auto& [name, sources] : by_name) {
        if (sources.size() > 1) {
            plan.refusals.push_back(
                fmt::format("{} and {} skipped: both would be disk {}; rename one",
                            shown_export(sources[0]->name), shown_export(sources[1]->name),
                            escaped(name.str())));
            continue;
        }
        const ExportFacts& facts = sources[0]->facts;
        plan.images.push_back({.name = name,
                               .export_name = sources[0]->name,
                               .size = facts.size,
                               .format = ImageFormat::raw,
                               .read_only = facts.read_only || !facts.flush,
                               .fingerprint = "",
                               .minimum_block = facts.minimum_block});
    }
    return plan;
}

}  // namespace signpost
