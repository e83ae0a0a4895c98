// SPDX-License-Identifier: BSD-3-Clause
//
// `cache`: what a server of this machine keeps of other servers' disks. Reads the cache's index,
// whether the server runs or not.

#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "nbd-server/disk/cache_index.h"
#include "terminal/text.h"

namespace signpost {

namespace {

const std::vector<Column> kColumns = {
    {"disk"}, {"known-by"}, {"size", true}, {"cached", true}, {"percent", true}};

// The first word of a content's key.
std::string known_by(const std::string& key) {
    return key.substr(0, key.find('\n'));
}

Result<CacheReport> gather(const std::string& directory) {
    const auto path = std::filesystem::absolute(directory) / "cache.db";
    const auto index = CacheIndex::open_to_read(path.string());
    if (!index) {
        return std::unexpected(index.error());
    }
    const auto contents = (*index)->contents();
    if (!contents) {
        return std::unexpected(contents.error());
    }
    std::map<std::int64_t, std::uint64_t> cached;
    const auto counted = (*index)->each_chunk([&](const CacheIndex::Chunk& chunk) {
        cached[chunk.content] += std::uint64_t{chunk.present.count()} * kCacheBlock;
    });
    const auto tally = (*index)->tally();
    if (!counted || !tally) {
        return std::unexpected(counted ? tally.error() : counted.error());
    }
    CacheReport report{.contents = {}, .hit = tally->hit, .fetched = tally->fetched};
    for (const CacheIndex::Content& content : *contents) {
        report.contents.push_back({.disk = content.disk,
                                   .known_by = known_by(content.key),
                                   .size = content.size,
                                   .cached = std::min(cached[content.id], content.size)});
    }
    std::ranges::sort(report.contents, {},
                      [](const CachedDiskReport& one) { return std::tie(one.disk, one.known_by); });
    return report;
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? "-"
                      : fmt::format("{:.0f} %",
                                    100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

}  // namespace

VerbResult run(const Context& context, const CacheVerb& verb) {
    const Options& options = context.options;
    if (const auto checked = check_columns(options.table.columns, kColumns); !checked) {
        return std::unexpected(checked.error());
    }
    const auto report = gather(verb.directory);
    if (!report) {
        return failure(ExitCode::failed, fmt::format("cache {}: {}", escaped(verb.directory, 400),
                                                     report.error().message));
    }
    if (context.json()) {
        context.console.out(cache_json(*report) + "\n");
        return ExitCode::ok;
    }
    Table table(kColumns, options.table);
    for (const CachedDiskReport& disk : report->contents) {
        table.add({{shown_name(context.console, disk.disk)},
                   {disk.known_by},
                   {shown_size(options, disk.size)},
                   {shown_size(options, disk.cached)},
                   {percent(disk.cached, disk.size)}});
    }
    table.write(context.console);
    if (!options.table.tabs) {
        context.console.out(fmt::format("{} from the cache, {} from other servers: {} hits\n",
                                        shown_size(options, report->hit),
                                        shown_size(options, report->fetched),
                                        percent(report->hit, report->hit + report->fetched)));
    }
    return ExitCode::ok;
}

}  // namespace signpost
