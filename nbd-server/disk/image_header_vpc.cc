// SPDX-License-Identifier: BSD-3-Clause
//
// vpc (VHD), the format of Virtual PC and of older Hyper-V: a footer of big-endian numbers in the
// last sector, which images that grow repeat in the first one.
//
// A VHD says its size twice: as a number of bytes and as a geometry, and who wrote it decides which
// one counts (Virtual PC shows the geometry to its guests). We decide as qemu-nbd does, which
// serves the image: a size of our own would not fit the export.

#include <fmt/format.h>

#include <algorithm>

#include "nbd-server/disk/image_header_parts.h"

namespace signpost::header {

namespace {

constexpr std::string_view kCookie = "conectix";
constexpr std::uint32_t kFixed = 2;
constexpr std::uint32_t kDynamic = 3;
constexpr std::uint32_t kDifferencing = 4;
constexpr std::uint64_t kMaxGeometry = std::uint64_t{65535} * 16 * 255;
constexpr std::uint64_t kMaxSectors = 0xff000000;  // 2,040 GiB, what a dynamic image can map

constexpr std::array<std::string_view, 5> kCountBytes{"win ", "qem2", "d2v ",
                                                      std::string_view("tap\0", 4), "CTXS"};

using Footer = std::array<std::byte, 512>;

bool has_cookie(const Footer& footer) {
    return text(footer).starts_with(kCookie);
}

// A fixed image begins with the guest's own first sector, so only the end can be believed there.
Result<Footer> read_footer(const ImageBytes& bytes) {
    Footer footer;
    if (auto read = read_block(bytes, 0, footer, "vpc header"); !read) {
        return std::unexpected(read.error());
    }
    if (has_cookie(footer) && big<std::uint32_t>(footer, 60) != kFixed) {
        return footer;
    }
    if (auto read = read_block(bytes, bytes.size - footer.size(), footer, "vpc footer"); !read) {
        return std::unexpected(read.error());
    }
    if (!has_cookie(footer)) {
        return fail(Errc::invalid, "not a vpc (VHD) image, although its name says so; rename it");
    }
    return footer;
}

std::uint64_t sectors(const Footer& footer) {
    const std::uint64_t geometry = std::uint64_t{big<std::uint16_t>(footer, 56)} *
                                   big<std::uint8_t>(footer, 58) * big<std::uint8_t>(footer, 59);
    const auto creator = text(std::span(footer).subspan(28, 4));
    const bool counts_bytes = std::ranges::find(kCountBytes, creator) != kCountBytes.end();
    return counts_bytes || geometry == kMaxGeometry ? big<std::uint64_t>(footer, 48) / kSector
                                                    : geometry;
}

}  // namespace

Result<ImageHeader> read_vpc(const ImageBytes& bytes) {
    auto footer = read_footer(bytes);
    if (!footer) {
        return std::unexpected(footer.error());
    }
    const auto type = big<std::uint32_t>(*footer, 60);
    if (type == kDifferencing) {
        return fail(
            Errc::invalid,
            "vpc header: a differencing image, which needs its parent, is not served; merge "
            "it first");
    }
    if (type != kFixed && type != kDynamic) {
        return fail(Errc::invalid, fmt::format("vpc header: disk type {} is unknown", type));
    }
    const std::uint64_t count = sectors(*footer);
    auto size = size_of_sectors(count, "vpc header");
    if (!size) {
        return std::unexpected(size.error());
    }
    const bool too_small = type == kFixed && *size > bytes.size - footer->size();
    if (too_small || (type == kDynamic && count > kMaxSectors)) {
        return fail(Errc::invalid, fmt::format("vpc header: impossible disk size {}", *size));
    }
    return ImageHeader{.size = *size, .backing = {}};
}

}  // namespace signpost::header
