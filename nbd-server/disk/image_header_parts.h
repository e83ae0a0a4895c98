// SPDX-License-Identifier: BSD-3-Clause
//
// What the header readers of the formats share: bounded reads and numbers of either byte order.
// Private to image_header*.cc. Threads: any.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "nbd-server/disk/image_header.h"

namespace signpost::header {

inline constexpr std::uint64_t kSector = 512;

// The caller has checked that AT + sizeof(T) lies inside BYTES (fixed layouts).
template <class T>
T big(std::span<const std::byte> bytes, std::size_t at) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        value = static_cast<T>((std::uint64_t{value} << 8) | std::to_integer<T>(bytes[at + i]));
    }
    return value;
}

template <class T>
T little(std::span<const std::byte> bytes, std::size_t at) {
    T value = 0;
    for (std::size_t i = sizeof(T); i > 0; --i) {
        value = static_cast<T>((std::uint64_t{value} << 8) | std::to_integer<T>(bytes[at + i - 1]));
    }
    return value;
}

inline std::string_view text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool all_zero(std::span<const std::byte> bytes);

// Fills OUT, or says that the file is too short for WHAT.
Result<void> read_block(const ImageBytes& bytes, std::uint64_t offset, std::span<std::byte> out,
                        std::string_view what);

// SECTORS * 512, if that is a size.
Result<std::uint64_t> size_of_sectors(std::uint64_t sectors, std::string_view what);

Result<ImageHeader> read_qcow2(const ImageBytes& bytes);
Result<ImageHeader> read_vmdk(const ImageBytes& bytes);
Result<ImageHeader> read_vhdx(const ImageBytes& bytes);
Result<ImageHeader> read_vdi(const ImageBytes& bytes);
Result<ImageHeader> read_vpc(const ImageBytes& bytes);

}  // namespace signpost::header
