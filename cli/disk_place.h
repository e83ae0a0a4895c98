// SPDX-License-Identifier: BSD-3-Clause
//
// DiskPlace is a place on a disk as people name it: DISK:[PART:]PATH. PATH begins with `/`. DISK is
// a name of the catalog, perhaps with a time (which has colons of its own), or an NBD URI. PART is
// a partition's number, as `2` or `p2`, or a logical volume, as `vg0/root`.
//
//   web01/vda:/etc/hosts        web01/vda@2026-11-20T02:00:p2:/etc
//   web01/vda:                  nbd://vault/export:1:/etc
//
// Values; no thread rule.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "catalog/disk_name.h"
#include "catalog/nbd_uri.h"

namespace signpost {

struct DiskPlace {
    std::variant<DiskName, NbdUri> disk;
    std::optional<std::uint32_t> part;
    std::string logical;  // "vg0/root"; empty: none was given; PART has none then
    std::string path;     // empty: none was given

    // Fails with invalid, and shows a good one.
    static Result<DiskPlace> parse(std::string_view text);

    // The disk, as it was given.
    std::string disk_text() const;
};

}  // namespace signpost
