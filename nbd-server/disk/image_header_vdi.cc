// SPDX-License-Identifier: BSD-3-Clause
//
// vdi, VirtualBox's format, version 1.1: one fixed header of little-endian numbers.

#include <fmt/format.h>

#include "nbd-server/disk/image_header_parts.h"

namespace signpost::header {

namespace {

constexpr std::uint32_t kSignature = 0xbeda107f;
constexpr std::uint32_t kVersion = 0x00010001;
constexpr std::uint32_t kDynamic = 1;
constexpr std::uint32_t kStatic = 2;
constexpr std::uint32_t kBlockBytes = 1 << 20;

}  // namespace

Result<ImageHeader> read_vdi(const ImageBytes& bytes) {
    std::array<std::byte, 512> raw;
    if (auto read = read_block(bytes, 0, raw, "vdi header"); !read) {
        return std::unexpected(read.error());
    }
    if (little<std::uint32_t>(raw, 0x40) != kSignature) {
        return fail(Errc::invalid, "not a vdi image, although its name says so; rename it");
    }
    if (const auto version = little<std::uint32_t>(raw, 0x44); version != kVersion) {
        return fail(Errc::invalid, fmt::format("vdi header: version {}.{} is unknown",
                                               version >> 16, version & 0xffff));
    }
    const auto type = little<std::uint32_t>(raw, 0x4c);
    const auto link = std::span(raw).subspan(0x1a8, 32);  // UUIDs of the link and of the parent
    if ((type != kDynamic && type != kStatic) || !all_zero(link)) {
        return fail(
            Errc::invalid,
            "vdi header: a differencing image, which needs its parent, is not served; merge "
            "it first");
    }
    const auto sector = little<std::uint32_t>(raw, 0x168);
    const auto size = little<std::uint64_t>(raw, 0x170);
    const auto block = little<std::uint32_t>(raw, 0x178);
    const std::uint64_t blocks = little<std::uint32_t>(raw, 0x180);
    if (sector != kSector || block != kBlockBytes || size > blocks * kBlockBytes) {
        return fail(Errc::invalid,
                    fmt::format("vdi header: impossible disk size {} in {} blocks of {} bytes",
                                size, blocks, block));
    }
    return ImageHeader{.size = (size + kSector - 1) / kSector * kSector, .backing = {}};
}

}  // namespace signpost::header
