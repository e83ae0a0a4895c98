// SPDX-License-Identifier: BSD-3-Clause
//
// How a disk's name becomes the name of a volume's file in the pool's directory, and back. One
// component that any tool can be given as it is: `/` is %2F, `%` is %25, and so is whatever a shell
// or a terminal would trip over; `.qcow2` at the end, because the rules of libvirt's AppArmor
// profile go by it.
//
// Pure; threads: any.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "catalog/disk_name.h"

namespace signpost {

inline constexpr std::string_view kVolumeSuffix = ".qcow2";
inline constexpr std::size_t kMaxVolumeName = 255;  // of a file, in bytes

// invalid: the file's name would be longer than 255 bytes.
Result<std::string> volume_name(const DiskName& disk);

// Empty: no name that volume_name() makes.
std::optional<DiskName> disk_of_volume(std::string_view file);

}  // namespace signpost
