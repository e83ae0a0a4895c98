// SPDX-License-Identifier: BSD-3-Clause
//
// A restore point is a disk as it was at some time, under a name that says when, in the extended or
// the basic form of ISO 8601: "web01/vda@2026-11-20T02:00", "web01/vda@20261120T020000Z". Times of
// one disk are taken as given in one zone.
//
// Values; threads: any.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "catalog/disk_name.h"

namespace signpost {

struct RestorePoint {
    std::string disk;  // "web01/vda"
    std::string time;  // its digits: sorts in the order of time

    // Empty: the name says no time.
    static std::optional<RestorePoint> of(const DiskName& name);

    auto operator<=>(const RestorePoint&) const = default;
};

}  // namespace signpost
