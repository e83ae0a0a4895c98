// SPDX-License-Identifier: BSD-3-Clause
//
// vmdk, hosted sparse extents that hold the whole disk ("monolithicSparse", "streamOptimized"). The
// binary header gives the size; a text descriptor inside the file says what else belongs to the
// disk, and that must be nothing: one extent, no parent. A descriptor that is a file of its own, or
// that names flat extents, devices or parents, is how a hostile image reaches other files
// (CVE-2022-47951), so all these are refused. Layout: VMware's "Virtual Disk Format 5.0".

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "catalog/disk_name.h"
#include "nbd-server/disk/image_header_parts.h"

namespace signpost::header {

namespace {

constexpr std::string_view kMagic = "KDMV";
constexpr std::uint64_t kFooterFollows = ~std::uint64_t{0};
constexpr std::uint64_t kDescriptorSector = 1;  // where every writer puts it, and readers look
constexpr std::uint64_t kMinDescriptorSectors = 20;
constexpr std::uint64_t kMaxDescriptorSectors = 128;

using Block = std::array<std::byte, 512>;

Result<Block> read_sparse_header(const ImageBytes& bytes, std::uint64_t offset) {
    Block raw;
    if (auto read = read_block(bytes, offset, raw, "vmdk header"); !read) {
        return std::unexpected(read.error());
    }
    if (!text(raw).starts_with(kMagic)) {
        const bool descriptor = text(raw).find("DescriptorFile") != std::string_view::npos;
        return fail(Errc::invalid,
                    descriptor
                        ? "vmdk: a descriptor whose data is in other files is not served; make "
                          "one file of it with `qemu-img convert -O vmdk`"
                        : "not a vmdk sparse image, although its name says so; rename it");
    }
    const auto version = little<std::uint32_t>(raw, 4);
    if (version < 1 || version > 3) {
        return fail(Errc::invalid, fmt::format("vmdk header: version {} is unknown", version));
    }
    return raw;
}

std::string lower(std::string_view line) {
    std::string out(line);
    std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::tolower(c); });
    return out;
}

std::string_view trimmed(std::string_view line) {
    const auto begin = line.find_first_not_of(" \t\r");
    return begin == std::string_view::npos
               ? std::string_view{}
               : line.substr(begin, line.find_last_not_of(" \t\r") - begin + 1);
}

// `parentCID=ffffffff` means that there is none.
bool names_parent(std::string_view line) {
    if (line.find("parentfilenamehint") != std::string_view::npos) {
        return true;
    }
    return line.starts_with("parentcid") && !line.ends_with("ffffffff");
}

bool is_extent(std::string_view line) {
    return line.starts_with("rw ") || line.starts_with("rdonly ") || line.starts_with("noaccess ");
}

// The name is that of the file when it was made, so it says nothing but whether it is a plain one.
bool is_own_extent(std::string_view line) {
    return line.find(" sparse \"") != std::string_view::npos &&
           line.find_first_of("/\\") == std::string_view::npos;
}

Result<void> check_descriptor(std::string_view descriptor) {
    int extents = 0;
    while (!descriptor.empty()) {
        const auto end = std::min(descriptor.find('\n'), descriptor.size());
        const std::string line = lower(trimmed(descriptor.substr(0, end)));
        descriptor.remove_prefix(std::min(end + 1, descriptor.size()));
        if (names_parent(line)) {
            return fail(Errc::invalid,
                        "vmdk descriptor: the image needs a parent, which is not served; merge it "
                        "first");
        }
        if (is_extent(line) && (++extents > 1 || !is_own_extent(line))) {
            return fail(
                Errc::invalid,
                fmt::format("vmdk descriptor: data in another file is not served ({}); make "
                            "one file of it with `qemu-img convert -O vmdk`",
                            escaped(line, 100)));
        }
    }
    if (extents != 1) {
        return fail(Errc::invalid, "vmdk descriptor: no extent is described");
    }
    return {};
}

// Reads at least what readers look at, whatever the header says of the descriptor's length.
Result<void> read_descriptor(const ImageBytes& bytes, const Block& header) {
    const auto offset = little<std::uint64_t>(header, 28);
    const auto sectors = little<std::uint64_t>(header, 36);
    if (offset == 0) {
        return fail(Errc::invalid,
                    "vmdk header: one part of a split image, which is not served; make one file of "
                    "it with `qemu-img convert -O vmdk`");
    }
    if (offset != kDescriptorSector || sectors == 0 || sectors > kMaxDescriptorSectors) {
        return fail(Errc::invalid, "vmdk header: the descriptor has an impossible place or length");
    }
    if (bytes.size < 2 * kSector) {
        return fail(Errc::invalid, "vmdk header: the descriptor is cut off");
    }
    const auto wanted = std::max(sectors, kMinDescriptorSectors) * kSector;
    std::vector<std::byte> raw(std::min(wanted, bytes.size - kSector));
    if (auto read = read_block(bytes, kSector, raw, "vmdk descriptor"); !read) {
        return read;
    }
    const auto descriptor = text(raw);
    return check_descriptor(descriptor.substr(0, descriptor.find('\0')));
}

// An image written as a stream repeats its header at the end, and that one counts.
Result<void> check_footer(const ImageBytes& bytes, const Block& header) {
    if (little<std::uint64_t>(header, 56) != kFooterFollows) {
        return {};
    }
    if (bytes.size < 2 * kSector) {
        return fail(Errc::invalid, "vmdk footer: it is cut off");
    }
    auto footer = read_sparse_header(bytes, bytes.size - 2 * kSector);
    if (!footer) {
        return fail(Errc::invalid, "vmdk footer: it is missing; copy the image again");
    }
    if (little<std::uint64_t>(*footer, 12) != little<std::uint64_t>(header, 12)) {
        return fail(Errc::invalid, "vmdk footer: it gives another disk size than the header");
    }
    return {};
}

}  // namespace

Result<ImageHeader> read_vmdk(const ImageBytes& bytes) {
    auto header = read_sparse_header(bytes, 0);
    if (!header) {
        return std::unexpected(header.error());
    }
    const auto capacity = little<std::uint64_t>(*header, 12);
    if (capacity == 0) {
        return fail(Errc::invalid, "vmdk header: the disk has no size of its own");
    }
    if (auto good = read_descriptor(bytes, *header); !good) {
        return std::unexpected(good.error());
    }
    if (auto good = check_footer(bytes, *header); !good) {
        return std::unexpected(good.error());
    }
    auto size = size_of_sectors(capacity, "vmdk header");
    if (!size) {
        return std::unexpected(size.error());
    }
    return ImageHeader{.size = *size, .backing = {}};
}

}  // namespace signpost::header
