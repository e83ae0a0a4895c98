// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/machine_disks.h"

#include <algorithm>

namespace signpost {

namespace fs = std::filesystem;

fs::path image_of(const DiskSource& source, const std::string& pool,
                  const PoolDirectory& directory) {
    if (!source.file.empty()) {
        return settled(source.file);
    }
    return source.pool == pool ? settled(directory.home() / source.volume) : fs::path();
}

Result<std::vector<MachineDisk>> disks_in_pool(const MachineFacts& machine, const std::string& pool,
                                               const PoolDirectory& directory) {
    const auto sources = disk_sources(machine.xml);
    if (!sources) {
        return std::unexpected(sources.error());
    }
    std::vector<MachineDisk> disks;
    for (const DiskSource& source : *sources) {
        const fs::path image = image_of(source, pool, directory);
        if (source.backing || image.parent_path() != directory.home()) {
            continue;
        }
        const std::string file = image.filename();
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
