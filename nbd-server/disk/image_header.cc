// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/image_header.h"

#include <fmt/format.h>

#include <algorithm>

#include "nbd-server/disk/image_header_parts.h"

namespace signpost {

namespace header {

bool all_zero(std::span<const std::byte> bytes) {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

Result<void> read_block(const ImageBytes& bytes, std::uint64_t offset, std::span<std::byte> out,
                        std::string_view what) {
    if (offset > bytes.size || out.size() > bytes.size - offset) {
        return fail(Errc::invalid,
                    fmt::format("{} is cut off: the file has only {} bytes; copy the "
                                "image again",
                                what, bytes.size));
    }
    return bytes.read_at(offset, out);
}

Result<std::uint64_t> size_of_sectors(std::uint64_t sectors, std::string_view what) {
    if (sectors > kMaxImageSize / kSector) {
        return fail(Errc::invalid,
                    fmt::format("{} has an impossible disk size of {} sectors", what, sectors));
    }
    return sectors * kSector;
}

namespace {

Result<ImageHeader> read_raw(const ImageBytes& bytes) {
    if (bytes.size > kMaxImageSize) {
        return fail(Errc::invalid, fmt::format("impossible file size {}", bytes.size));
    }
    return ImageHeader{.size = bytes.size, .backing = {}};
}

}  // namespace

}  // namespace header

Result<ImageHeader> read_image_header(ImageFormat format, const ImageBytes& bytes) {
    switch (format) {
        case ImageFormat::raw:
            return header::read_raw(bytes);
        case ImageFormat::qcow2:
            return header::read_qcow2(bytes);
        case ImageFormat::vmdk:
            return header::read_vmdk(bytes);
        case ImageFormat::vhdx:
            return header::read_vhdx(bytes);
        case ImageFormat::vdi:
            return header::read_vdi(bytes);
        case ImageFormat::vpc:
            return header::read_vpc(bytes);
        case ImageFormat::virtnbdbackup:
            break;  // what it is based on is not said in one file (backup_set.h)
    }
    return fail(Errc::invalid, "unknown image format");
}

}  // namespace signpost
