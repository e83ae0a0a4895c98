// SPDX-License-Identifier: BSD-3-Clause
//
// How a disk wants to be booted, as its first sectors tell: with UEFI when its partition table has
// an EFI system partition and nothing of a BIOS's way to boot; else with a BIOS.
//
// The bytes are a guest's, and may hold anything. Threads: any.

#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "catalog/error.h"
#include "catalog/nbd_uri.h"

namespace signpost {

inline constexpr std::size_t kDiskStart = 34 * 512;  // bytes; a GPT's usual size

// START: the disk's first kDiskStart bytes, or fewer. Pure.
bool boots_with_efi(std::span<const std::byte> start);

// unavailable, not_found: as the server says.
Result<std::vector<std::byte>> read_disk_start(const NbdUri& disk);

}  // namespace signpost
