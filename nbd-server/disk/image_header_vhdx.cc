// SPDX-License-Identifier: BSD-3-Clause
//
// vhdx, the format of Hyper-V. A region table at 192 KiB says where the metadata region is; the
// table at its start says where the items are; one item is the disk's size, one says whether there
// is a parent. Layout: MS-VHDX, sections 2.2.3 and 2.6.

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "nbd-server/disk/image_header_parts.h"

namespace signpost::header {

namespace {

constexpr std::uint64_t kRegionTable = 192 << 10;
constexpr std::size_t kTableBytes = 64 << 10;
constexpr std::size_t kEntryBytes = 32;
constexpr std::size_t kRegionHeader = 16;
constexpr std::size_t kMetadataHeader = 32;
constexpr std::uint32_t kMaxEntries = 2047;
constexpr std::uint64_t kMaxSize = std::uint64_t{64} << 40;  // of the format
constexpr std::uint32_t kHasParent = 1 << 1;

using Guid = std::array<std::uint8_t, 16>;

// As they lie in the file: the first three fields little-endian.
constexpr Guid kMetadataRegion{0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                               0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
constexpr Guid kFileParameters{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                               0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
constexpr Guid kDiskSize{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                         0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};

struct Entries {
    std::vector<std::byte> table;
    std::size_t header;
    std::uint32_t count;

    // The entry's 32 bytes; empty when there is none of that kind.
    std::span<const std::byte> find(const Guid& guid) const {
        for (std::uint32_t i = 0; i < count; ++i) {
            const auto entry = std::span(table).subspan(header + i * kEntryBytes, kEntryBytes);
            if (std::ranges::equal(entry.first(guid.size()), std::as_bytes(std::span(guid)))) {
                return entry;
            }
        }
        return {};
    }
};

Result<std::vector<std::byte>> read_table(const ImageBytes& bytes, std::uint64_t offset,
                                          std::string_view signature) {
    std::vector<std::byte> table(kTableBytes);
    if (auto read = read_block(bytes, offset, table, "vhdx header"); !read) {
        return std::unexpected(read.error());
    }
    if (!text(table).starts_with(signature)) {
        return fail(Errc::invalid,
                    fmt::format("vhdx header: the \"{}\" table is damaged", signature));
    }
    return table;
}

Result<Entries> entries(std::vector<std::byte> table, std::size_t header, std::uint32_t count) {
    if (count > kMaxEntries || count > (kTableBytes - header) / kEntryBytes) {
        return fail(Errc::invalid, fmt::format("vhdx header: a table of {} entries", count));
    }
    return Entries{.table = std::move(table), .header = header, .count = count};
}

Result<std::uint64_t> find_metadata(const ImageBytes& bytes) {
    auto table = read_table(bytes, kRegionTable, "regi");
    if (!table) {
        return std::unexpected(table.error());
    }
    const auto count = little<std::uint32_t>(*table, 8);
    auto regions = entries(std::move(*table), kRegionHeader, count);
    if (!regions) {
        return std::unexpected(regions.error());
    }
    const auto region = regions->find(kMetadataRegion);
    if (region.empty()) {
        return fail(Errc::invalid, "vhdx header: there is no metadata region");
    }
    return little<std::uint64_t>(region, 16);
}

// One item of LENGTH bytes (at most 8), as a number.
Result<std::uint64_t> read_item(const ImageBytes& bytes, std::uint64_t region, const Entries& items,
                                const Guid& guid) {
    const auto item = items.find(guid);
    if (item.empty()) {
        return fail(Errc::invalid, "vhdx header: the disk's size or parameters are missing");
    }
    std::array<std::byte, 8> raw;
    const std::uint64_t offset = little<std::uint32_t>(item, 16);
    if (region > kMaxImageSize - offset || little<std::uint32_t>(item, 20) != raw.size()) {
        return fail(Errc::invalid, "vhdx header: an item has an impossible place or length");
    }
    if (auto read = read_block(bytes, region + offset, raw, "vhdx metadata"); !read) {
        return std::unexpected(read.error());
    }
    return little<std::uint64_t>(raw, 0);
}

Result<void> check_signature(const ImageBytes& bytes) {
    std::array<std::byte, 8> raw;
    if (auto read = read_block(bytes, 0, raw, "vhdx header"); !read) {
        return read;
    }
    if (text(raw) != "vhdxfile") {
        return fail(Errc::invalid, "not a vhdx image, although its name says so; rename it");
    }
    return {};
}

}  // namespace

Result<ImageHeader> read_vhdx(const ImageBytes& bytes) {
    if (auto good = check_signature(bytes); !good) {
        return std::unexpected(good.error());
    }
    auto region = find_metadata(bytes);
    if (!region) {
        return std::unexpected(region.error());
    }
    auto table = read_table(bytes, *region, "metadata");
    if (!table) {
        return std::unexpected(table.error());
    }
    const std::uint32_t count = little<std::uint16_t>(*table, 10);
    auto items = entries(std::move(*table), kMetadataHeader, count);
    if (!items) {
        return std::unexpected(items.error());
    }
    auto parameters = read_item(bytes, *region, *items, kFileParameters);
    if (!parameters) {
        return std::unexpected(parameters.error());
    }
    if (((*parameters >> 32) & kHasParent) != 0) {
        return fail(
            Errc::invalid,
            "vhdx header: a differencing image, which needs its parent, is not served; merge "
            "it first");
    }
    auto size = read_item(bytes, *region, *items, kDiskSize);
    if (!size) {
        return std::unexpected(size.error());
    }
    if (*size > kMaxSize || *size % kSector != 0) {
        return fail(Errc::invalid, fmt::format("vhdx header: impossible disk size {}", *size));
    }
    return ImageHeader{.size = *size, .backing = {}};
}

}  // namespace signpost::header
