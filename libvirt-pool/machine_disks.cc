// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/machine_disks.h"

#include <algorithm>
#include <filesystem>

#include "libvirt-pool/machine_xml.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

// The name of SOURCE's file in the directory; empty: it lies elsewhere.
std::string file_in(const DiskSource& source, const std::string& pool, const fs::path& home) {
    if (!source.volume.empty() && source.pool == pool) {
        return source.volume;
    }
    std::error_code error;
    const fs::path path = fs::weakly_canonical(source.file, error);
    return !error && !source.file.empty() && path.parent_path() == home ? path.filename().string()
                                                                        : "";
}

}  // namespace

Result<std::vector<MachineDisk>> disks_in_pool(const MachineFacts& machine, const std::string& pool,
                                               const PoolDirectory& directory) {
    const auto sources = disk_sources(machine.xml);
    if (!sources) {
        return std::unexpected(sources.error());
    }
    std::error_code error;
    const fs::path home = fs::weakly_canonical(directory.path(), error);
    std::vector<MachineDisk> disks;
    for (const DiskSource& source : *sources) {
        const std::string file = source.backing ? "" : file_in(source, pool, home);
        if (file.empty()) {
            continue;
        }
        auto facts = inspect_volume(directory.descriptor(), file);
        if (!facts) {
            return std::unexpected(facts.error());
        }
        const bool on_server = std::ranges::any_of(*sources, [&](const DiskSource& behind) {
            return behind.target == source.target && behind.network;
        });
        disks.push_back({source.target, file, std::move(*facts), on_server});
    }
    return disks;
}

}  // namespace signpost
