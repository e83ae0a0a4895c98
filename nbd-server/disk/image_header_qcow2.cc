// SPDX-License-Identifier: BSD-3-Clause
//
// qcow2, versions 2 and 3. A fixed header, then extensions (type, length, data padded to 8 bytes)
// up to a zero type, the backing file's name or the end of the first cluster, whichever is first.
// Layout: docs/interop/qcow2.txt of the QEMU project.

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "catalog/disk_name.h"
#include "nbd-server/disk/image_header_parts.h"
#include "nbd-server/disk/qcow2_geometry.h"

namespace signpost::header {

namespace {

constexpr std::uint32_t kMagic = 0x514649fb;
constexpr std::size_t kHeaderV2 = 72;
constexpr std::size_t kHeaderV3 = 104;
constexpr std::uint32_t kMaxNameBytes = 1023;
constexpr std::uint32_t kMaxFormatBytes = 15;
constexpr int kMaxExtensions = 64;
constexpr std::uint64_t kMaxL1Bytes = 32 << 20;

constexpr std::uint64_t kDirty = 1 << 0;
constexpr std::uint64_t kCorrupt = 1 << 1;
constexpr std::uint64_t kDataFile = 1 << 2;
constexpr std::uint64_t kCompressionType = 1 << 3;
constexpr std::uint64_t kExtendedL2 = 1 << 4;
constexpr std::size_t kCompressionTypeAt = 104;  // behind the other fields of version 3
constexpr std::uint64_t kKnown = kDirty | kCorrupt | kDataFile | kCompressionType | kExtendedL2;

constexpr std::uint32_t kExtensionBackingFormat = 0xe2792aca;
constexpr std::uint32_t kExtensionDataFile = 0x44415441;

constexpr std::string_view kDataFileRefusal =
    "qcow2 header: the data is in another file, which is not served; make one file of it with "
    "`qemu-img convert -O qcow2`";

struct Fixed {
    std::uint32_t version;
    std::uint64_t backing_offset;
    std::uint32_t backing_bytes;
    std::uint32_t cluster_bits;
    std::uint64_t size;
    std::uint32_t encryption;
    std::uint32_t l1_entries;
    std::uint64_t l1_offset;
    std::uint64_t incompatible = 0;
    std::uint32_t header_bytes = kHeaderV2;
    std::uint8_t compression = 0;

    std::uint64_t cluster() const { return std::uint64_t{1} << cluster_bits; }
};

Result<void> read_version_3(const ImageBytes& bytes, Fixed& fixed) {
    std::array<std::byte, kHeaderV3> raw;
    if (auto read = read_block(bytes, 0, raw, "qcow2 header"); !read) {
        return read;
    }
    fixed.incompatible = big<std::uint64_t>(raw, 72);
    fixed.header_bytes = big<std::uint32_t>(raw, 100);
    std::array<std::byte, 1> type{};
    if (fixed.header_bytes > kCompressionTypeAt) {
        if (auto read = read_block(bytes, kCompressionTypeAt, type, "qcow2 header"); !read) {
            return read;
        }
    }
    fixed.compression = std::to_integer<std::uint8_t>(type[0]);
    return {};
}

Result<Fixed> read_fixed(const ImageBytes& bytes) {
    std::array<std::byte, kHeaderV2> raw;
    if (auto read = read_block(bytes, 0, raw, "qcow2 header"); !read) {
        return std::unexpected(read.error());
    }
    if (big<std::uint32_t>(raw, 0) != kMagic) {
        return fail(Errc::invalid, "not a qcow2 image, although its name says so; rename it");
    }
    Fixed fixed{
        .version = big<std::uint32_t>(raw, 4),
        .backing_offset = big<std::uint64_t>(raw, 8),
        .backing_bytes = big<std::uint32_t>(raw, 16),
        .cluster_bits = big<std::uint32_t>(raw, 20),
        .size = big<std::uint64_t>(raw, 24),
        .encryption = big<std::uint32_t>(raw, 32),
        .l1_entries = big<std::uint32_t>(raw, 36),
        .l1_offset = big<std::uint64_t>(raw, 40),
    };
    if (fixed.version == 3) {
        if (auto read = read_version_3(bytes, fixed); !read) {
            return std::unexpected(read.error());
        }
    } else if (fixed.version != 2) {
        return fail(Errc::invalid,
                    fmt::format("qcow2 header: version {} is unknown", fixed.version));
    }
    return fixed;
}

Result<void> check_features(const Fixed& fixed) {
    if (fixed.encryption != 0) {
        return fail(Errc::invalid,
                    "qcow2 header: the image is encrypted, which is not served; convert it with "
                    "`qemu-img convert`");
    }
    if ((fixed.incompatible & kDataFile) != 0) {
        return fail(Errc::invalid, std::string(kDataFileRefusal));
    }
    if ((fixed.incompatible & kCorrupt) != 0) {
        return fail(Errc::invalid,
                    "qcow2 header: the image is marked corrupt; repair it with `qemu-img check -r "
                    "all`");
    }
    const bool says_type = (fixed.incompatible & kCompressionType) != 0;
    if (fixed.compression > 1 || says_type != (fixed.compression != 0)) {
        return fail(Errc::invalid, fmt::format("qcow2 header: unknown compression type {}",
                                               fixed.compression));
    }
    if (const auto unknown = fixed.incompatible & ~kKnown; unknown != 0) {
        return fail(Errc::invalid,
                    fmt::format("qcow2 header: unknown incompatible features {:#x}", unknown));
    }
    return {};
}

Result<void> check_geometry(const Fixed& fixed) {
    // A thirty-second of a cluster is a sector at least.
    const std::uint32_t smallest = (fixed.incompatible & kExtendedL2) != 0 ? 14 : 9;
    if (fixed.cluster_bits < smallest || fixed.cluster_bits > 21) {
        return fail(
            Errc::invalid,
            fmt::format("qcow2 header: impossible cluster size of 2^{} bytes", fixed.cluster_bits));
    }
    if (fixed.version == 3 && (fixed.header_bytes < kHeaderV3 || fixed.header_bytes % 8 != 0 ||
                               fixed.header_bytes > fixed.cluster())) {
        return fail(Errc::invalid,
                    fmt::format("qcow2 header: impossible length {}", fixed.header_bytes));
    }
    const std::uint64_t entry = (fixed.incompatible & kExtendedL2) != 0 ? 16 : 8;
    const std::uint64_t per_l1_entry = fixed.cluster() / entry * fixed.cluster();
    const std::uint64_t needed = fixed.size / per_l1_entry + (fixed.size % per_l1_entry != 0);
    if (fixed.size > kMaxImageSize || needed > kMaxL1Bytes / 8) {
        return fail(Errc::invalid,
                    fmt::format("qcow2 header: impossible disk size {}", fixed.size));
    }
    if (fixed.l1_entries > kMaxL1Bytes / 8 || fixed.l1_entries < needed ||
        fixed.l1_offset > kMaxImageSize || fixed.l1_offset % fixed.cluster() != 0) {
        return fail(
            Errc::invalid,
            fmt::format("qcow2 header: impossible L1 table of {} entries at {} for a disk of "
                        "{} bytes",
                        fixed.l1_entries, fixed.l1_offset, fixed.size));
    }
    return {};
}

Result<std::string> read_text(const ImageBytes& bytes, std::uint64_t offset, std::uint32_t length,
                              std::string_view what) {
    std::array<std::byte, kMaxNameBytes> buffer;
    const auto part = std::span(buffer).first(std::min<std::size_t>(length, buffer.size()));
    if (auto read = read_block(bytes, offset, part, what); !read) {
        return std::unexpected(read.error());
    }
    return std::string(text(part));
}

// The format that the extensions name for the backing file; empty when they name none.
Result<std::string> read_backing_format(const ImageBytes& bytes, const Fixed& fixed) {
    const std::uint64_t end =
        std::min(fixed.backing_offset != 0 ? fixed.backing_offset : fixed.cluster(), bytes.size);
    std::string format;
    std::uint64_t at = fixed.header_bytes;
    for (int count = 0; at < end && end - at >= 8; ++count) {
        if (count == kMaxExtensions) {
            return fail(Errc::invalid, "qcow2 header: too many extensions");
        }
        std::array<std::byte, 8> raw;
        if (auto read = read_block(bytes, at, raw, "qcow2 header"); !read) {
            return std::unexpected(read.error());
        }
        const auto type = big<std::uint32_t>(raw, 0);
        const auto length = big<std::uint32_t>(raw, 4);
        at += 8;
        if (type == 0) {
            break;
        }
        if (length > end - at) {
            return fail(Errc::invalid, "qcow2 header: an extension is longer than the header");
        }
        if (type == kExtensionDataFile) {
            return fail(Errc::invalid, std::string(kDataFileRefusal));
        }
        if (type == kExtensionBackingFormat) {
            if (length > kMaxFormatBytes) {
                return fail(Errc::invalid, "qcow2 header: the backing format's name is too long");
            }
            auto name = read_text(bytes, at, length, "qcow2 header");
            if (!name) {
                return name;
            }
            format = *name;
        }
        at += (std::uint64_t{length} + 7) / 8 * 8;
    }
    return format;
}

Result<std::optional<BackingReference>> read_backing(const ImageBytes& bytes, const Fixed& fixed) {
    if (fixed.backing_offset > fixed.cluster()) {
        return fail(Errc::invalid, "qcow2 header: the backing file's name is outside the header");
    }
    auto format = read_backing_format(bytes, fixed);
    if (!format) {
        return std::unexpected(format.error());
    }
    if (fixed.backing_offset == 0 || fixed.backing_bytes == 0) {
        return std::optional<BackingReference>{};
    }
    if (fixed.backing_offset < fixed.header_bytes || fixed.backing_bytes > kMaxNameBytes ||
        fixed.backing_bytes > fixed.cluster() - fixed.backing_offset) {
        return fail(Errc::invalid, "qcow2 header: the backing file's name is outside the header");
    }
    auto file = read_text(bytes, fixed.backing_offset, fixed.backing_bytes, "qcow2 header");
    if (!file) {
        return std::unexpected(file.error());
    }
    return BackingReference{.file = std::move(*file), .format = std::move(*format)};
}

Result<Fixed> read_checked(const ImageBytes& bytes) {
    auto fixed = read_fixed(bytes);
    if (!fixed) {
        return fixed;
    }
    if (auto good = check_features(*fixed); !good) {
        return std::unexpected(good.error());
    }
    if (auto good = check_geometry(*fixed); !good) {
        return std::unexpected(good.error());
    }
    return fixed;
}

}  // namespace

Result<ImageHeader> read_qcow2(const ImageBytes& bytes) {
    auto fixed = read_checked(bytes);
    if (!fixed) {
        return std::unexpected(fixed.error());
    }
    auto backing = read_backing(bytes, *fixed);
    if (!backing) {
        return std::unexpected(backing.error());
    }
    // A disk is made of whole sectors: what QEMU shows of an odd size.
    return ImageHeader{.size = fixed->size / kSector * kSector, .backing = std::move(*backing)};
}

}  // namespace signpost::header

namespace signpost {

Result<Qcow2Geometry> read_qcow2_geometry(const ImageBytes& bytes) {
    const auto fixed = header::read_checked(bytes);
    if (!fixed) {
        return std::unexpected(fixed.error());
    }
    return Qcow2Geometry{.version = fixed->version,
                         .cluster_bits = fixed->cluster_bits,
                         .size = fixed->size / header::kSector * header::kSector,
                         .l1_entries = fixed->l1_entries,
                         .l1_offset = fixed->l1_offset,
                         .extended_l2 = (fixed->incompatible & header::kExtendedL2) != 0,
                         .compression = fixed->compression == 0 ? Qcow2Compression::zlib
                                                                : Qcow2Compression::zstd};
}

}  // namespace signpost
