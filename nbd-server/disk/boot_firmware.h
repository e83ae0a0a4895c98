// SPDX-License-Identifier: BSD-3-Clause
//
// How a disk wants to be booted, as its first sectors tell: with UEFI when its partition table has
// an EFI system partition and nothing of a BIOS's way to boot; else with a BIOS.
//
// The bytes are a guest's, and may hold anything. Pure. Threads: any.

#pragma once

#include <cstddef>
#include <span>

namespace signpost {

inline constexpr std::size_t kDiskStart = 34 * 512;  // bytes; a GPT's usual size

// START: the disk's first kDiskStart bytes, or fewer.
bool boots_with_efi(std::span<const std::byte> start);

}  // namespace signpost
