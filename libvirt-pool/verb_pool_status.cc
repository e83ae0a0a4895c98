// SPDX-License-Identifier: BSD-3-Clause

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "libvirt-pool/machine_references.h"
#include "libvirt-pool/pool_json.h"
#include "libvirt-pool/pool_verbs.h"
#include "libvirt-pool/volume_name.h"
#include "nbd-server/disk/disk_description.h"
#include "terminal/table.h"
#include "terminal/text.h"

namespace signpost {

namespace {

std::string state_of(const PresentVolume& volume, bool named, bool wanted) {
    if (!named) {
        return "not_ours";
    }
    switch (volume.facts.state) {
        case VolumeState::damaged:
            return "damaged";
        case VolumeState::pristine:
            return wanted ? "pristine" : "gone";
        default:
            return !wanted ? "orphan" : volume.facts.terms.backing.empty() ? "hydrated" : "overlay";
    }
}

Tone tone_of(const std::string& state) {
    return state == "damaged" || state == "orphan" ? Tone::warning : Tone::plain;
}

Outcome<std::vector<VolumeRow>> rows_of(const PoolOptions& options, const OpenPool& pool) {
    const auto catalog = open_pool_catalog(pool.settings);
    if (!catalog) {
        return std::unexpected(catalog.error());
    }
    const auto wanted = select_volumes(**catalog, pool.settings.selection, pool.settings.via);
    if (!wanted) {
        return std::unexpected(catalog_failure(wanted.error()));
    }
    std::set<DiskName> disks;
    for (const WantedVolume& volume : *wanted) {
        disks.insert(volume.disk);
    }
    const auto present = pool.directory.list();
    const auto machines = pool.host.machines();
    if (!present || !machines) {
        return std::unexpected(pool_failure(present ? machines.error() : present.error()));
    }
    const auto referenced = referenced_files(*machines, options.pool, pool.directory, *present);
    if (!referenced) {
        return std::unexpected(pool_failure(referenced.error()));
    }
    std::vector<VolumeRow> rows;
    for (const PresentVolume& volume : *present) {
        const auto disk = disk_of_volume(volume.file);
        rows.push_back({volume.file, disk ? disk->str() : "",
                        state_of(volume, disk.has_value(), disk && disks.contains(*disk)),
                        volume.facts, referenced->contains(volume.file)});
        if (disk) {
            disks.erase(*disk);
        }
    }
    for (const DiskName& disk : disks) {
        rows.push_back({volume_name(disk).value_or(""), disk.str(), "missing", {}, false});
    }
    return rows;
}

void print(Console& console, const std::vector<VolumeRow>& rows) {
    Table table({{"volume"}, {"state"}, {"size", true}, {"on disk", true}, {"machine"}}, {});
    std::map<std::string, std::size_t> counts;
    for (const VolumeRow& row : rows) {
        ++counts[row.state];
        if (row.state == "pristine" && !row.referenced) {
            continue;  // as it should be, and there may be thousands
        }
        table.add({{escaped(row.volume)},
                   {row.state, tone_of(row.state)},
                   {size_for_people(row.facts.terms.size)},
                   {size_for_people(row.facts.allocated)},
                   {row.referenced ? "yes" : "-"}});
    }
    table.write(console);
    std::string summary;
    for (const auto& [state, count] : counts) {
        summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", count, state);
    }
    console.out(fmt::format("{}\n", summary.empty() ? "no volumes" : summary));
}

}  // namespace

PoolResult run(const PoolContext& context, const PoolStatusVerb& /*verb*/) {
    const auto pool = open_pool(context.options);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    const auto rows = rows_of(context.options, *pool);
    if (!rows) {
        return std::unexpected(rows.error());
    }
    if (context.options.json) {
        context.console.out(
            status_json(context.options.pool, pool->directory.path(), pool->settings.via, *rows));
    } else {
        print(context.console, *rows);
    }
    const bool damaged = std::ranges::any_of(*rows, [](const VolumeRow& row) {
        return row.state == "damaged" || row.state == "missing";
    });
    return damaged ? ExitCode::problems_found : ExitCode::ok;
}

}  // namespace signpost
