// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/pool_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "catalog/restore_point.h"
#include "libvirt-pool/pool_file.h"
#include "libvirt-pool/pool_json.h"
#include "terminal/text.h"

namespace signpost {

namespace {

constexpr const char* kFile = "pool.json";
constexpr std::size_t kPage = 10'000;
constexpr std::uint64_t kSector = 512;

bool matches_one(const std::string& pattern, const std::string& name) {
    return is_pattern(pattern)      ? matches_pattern(pattern, name)
           : pattern.ends_with('/') ? name.starts_with(pattern)
                                    : name == pattern;
}

// Of each disk's restore points the COUNT newest stay, and every name that says no time.
void keep_newest(std::vector<WantedVolume>& volumes, std::size_t count) {
    std::map<std::string, std::vector<std::string>> times;
    for (const WantedVolume& volume : volumes) {
        if (auto point = RestorePoint::of(volume.disk)) {
            times[point->disk].push_back(std::move(point->time));
        }
    }
    for (auto& [disk, of_disk] : times) {
        std::ranges::sort(of_disk, std::greater());
        of_disk.resize(std::min(of_disk.size(), count));
    }
    std::erase_if(volumes, [&](const WantedVolume& volume) {
        const auto point = RestorePoint::of(volume.disk);
        return point && point->time < times[point->disk].back();
    });
}

}  // namespace

bool Selection::matches(const DiskRecord& disk) const {
    const bool named =
        patterns.empty() || std::ranges::any_of(patterns, [&](const std::string& pattern) {
            return matches_one(pattern, disk.name.str());
        });
    return named &&
           (server.empty() ||
            std::ranges::find(disk.locations, server, &Location::server) != disk.locations.end());
}

Result<PoolSettings> read_settings(int directory) {
    const auto text = read_state(directory, kFile);
    if (!text) {
        return std::unexpected(text.error());
    }
    auto settings = parse_settings(*text);
    if (!settings) {
        return fail(settings.error().code,
                    fmt::format("the pool's {}: {}; `signpost-pool define` writes it anew", kFile,
                                settings.error().message));
    }
    return settings;
}

Result<void> write_settings(int directory, const PoolSettings& settings) {
    return write_state(directory, kFile, settings_json(settings));
}

Result<void> remove_settings(int directory) {
    return remove_state(directory, kFile);
}

VolumeTerms volume_terms(const DiskRecord& disk, const NbdUri& via) {
    const std::uint64_t size = disk_size(disk);
    // Not rounded where that would not fit: such a size is refused with the volume.
    const std::uint64_t odd = size % kSector;
    return {odd == 0 ? size : size + (kSector - odd), via.with_export(disk.name.str()).str()};
}

Result<std::vector<WantedVolume>> select_volumes(Catalog& catalog, const Selection& selection,
                                                 const NbdUri& via) {
    std::vector<WantedVolume> volumes;
    const bool one = selection.patterns.size() == 1;
    const std::string prefix(one ? fixed_prefix(selection.patterns.front()) : "");
    std::string after;
    for (bool more = true; more;) {
        const auto page = catalog.list(prefix, after, kPage);
        if (!page) {
            return std::unexpected(page.error());
        }
        for (const DiskRecord& disk : *page) {
            if (selection.matches(disk)) {
                volumes.push_back({disk.name, volume_terms(disk, via)});
            }
        }
        more = page->size() == kPage;
        after = more ? page->back().name.str() : "";
    }
    if (selection.newest > 0) {
        keep_newest(volumes, selection.newest);
    }
    return volumes;
}

}  // namespace signpost
