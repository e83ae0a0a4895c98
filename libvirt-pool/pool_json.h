// SPDX-License-Identifier: BSD-3-Clause
//
// All that signpost-pool writes and reads as JSON: the records in a pool's directory, and what
// --json prints. A record may have been changed by anybody: every field is checked.
//
// Pure. Threads: any.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libvirt-pool/pool_settings.h"
#include "libvirt-pool/pool_sync.h"
#include "libvirt-pool/recovery.h"

namespace signpost {

// A volume as `status` shows it.
struct VolumeRow {
    std::string volume;
    std::string disk;  // empty: no disk's
    std::string state;
    VolumeFacts facts;
    bool referenced = false;
};

std::string settings_json(const PoolSettings& settings);
Result<PoolSettings> parse_settings(std::string_view text);

std::string recovery_json(const Recovery& recovery);
Result<Recovery> parse_recovery(std::string_view text);

std::string_view to_string(PoolPlan::Step step);
std::string_view to_string(PoolPlan::Matter matter);

std::string sync_json(const SyncReport& report, bool dry_run);
std::string status_json(const std::string& pool, const std::string& path, const NbdUri& via,
                        const std::vector<VolumeRow>& rows);

}  // namespace signpost
