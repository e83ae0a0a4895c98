// SPDX-License-Identifier: BSD-3-Clause
//
// Source: UEFI specification 2.10, section 5.3 (GPT), appendix of its partition types.

#include "nbd-server/disk/boot_firmware.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace signpost {

namespace {

constexpr std::size_t kSector = 512;
constexpr std::size_t kEntry = 128;
constexpr std::size_t kBootCode = 440;
constexpr std::string_view kSignature = "EFI PART";

// Partition types as a table has them.
constexpr std::array<unsigned char, 16> kEfiSystem = {
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
constexpr std::array<unsigned char, 16> kBiosBoot = {
    0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49};

bool is_type(std::span<const std::byte> entry, const std::array<unsigned char, 16>& type) {
    return std::ranges::equal(entry.first(type.size()), std::as_bytes(std::span(type)));
}

}  // namespace

bool boots_with_efi(std::span<const std::byte> start) {
    if (start.size() < 2 * kSector + kEntry ||
        !std::ranges::equal(start.subspan(kSector, kSignature.size()),
                            std::as_bytes(std::span(kSignature)))) {
        return false;
    }
    bool efi = false;
    for (std::size_t at = 2 * kSector; at + kEntry <= start.size(); at += kEntry) {
        const auto entry = start.subspan(at, kEntry);
        if (is_type(entry, kBiosBoot)) {
            return false;
        }
        efi = efi || is_type(entry, kEfiSystem);
    }
    const bool boot_code = std::ranges::any_of(start.first(kBootCode),
                                               [](std::byte byte) { return byte != std::byte{}; });
    return efi && !boot_code;
}

}  // namespace signpost
