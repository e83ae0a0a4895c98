// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/qcow2_tables.h"

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "nbd-server/disk/file_extent.h"
#include "nbd-server/disk/image_header_parts.h"

namespace signpost {

namespace {

using Kind = ImageRun::Kind;

constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;
constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
constexpr std::uint64_t kZero = 1;
constexpr std::uint64_t kSubclusters = 32;
constexpr int kWindowBits = 12;  // of QEMU's deflate streams, which have no header
constexpr int kWindowLog = 24;   // of zstd: a frame must not ask for more memory

// False: the file ends before.
Result<bool> read_at(int fd, std::uint64_t offset, std::span<std::byte> to) {
    const auto got = read_up_to(fd, offset, to);
    if (!got) {
        return std::unexpected(got.error());
    }
    return *got == to.size();
}

// FROM may be longer than the stream. True: it gave all of TO.
bool inflate_all(std::span<const std::byte> from, std::span<std::byte> to) {
    z_stream stream{};
    if (inflateInit2(&stream, -kWindowBits) != Z_OK) {
        return false;
    }
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
    stream.avail_in = static_cast<uInt>(from.size());
    stream.next_out = reinterpret_cast<Bytef*>(to.data());
    stream.avail_out = static_cast<uInt>(to.size());
    const int end = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    return stream.avail_out == 0 && (end == Z_STREAM_END || end == Z_BUF_ERROR);
}

bool unzstd_all(std::span<const std::byte> from, std::span<std::byte> to) {
    thread_local const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(
        ZSTD_createDCtx(), ZSTD_freeDCtx);
    if (context == nullptr ||
        ZSTD_isError(ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only)) != 0 ||
        ZSTD_isError(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLog)) != 0) {
        return false;
    }
    ZSTD_inBuffer in{from.data(), from.size(), 0};
    ZSTD_outBuffer out{to.data(), to.size(), 0};
    while (out.pos < out.size) {
        const std::size_t before = in.pos + out.pos;
        const std::size_t left = ZSTD_decompressStream(context.get(), &out, &in);
        if (ZSTD_isError(left) != 0 || (left != 0 && in.pos + out.pos == before)) {
            return false;
        }
        if (left == 0) {
            break;
        }
    }
    return out.pos == out.size;
}

}  // namespace

Result<void> Qcow2Tables::look(std::uint64_t begin, std::uint64_t end, std::uint16_t file,
                               std::vector<ImageRun>& runs) const {
    const std::uint64_t span = geometry_.l2_entries() * geometry_.cluster();
    for (std::uint64_t at = begin; at < end;) {
        const std::uint64_t index = at / span;
        const std::uint64_t until = std::min(end, (index + 1) * span);
        ImageRun all{.file = file, .begin = at, .end = until};
        std::array<std::byte, 8> raw{};
        const auto read = read_at(fd_, geometry_.l1_offset + index * raw.size(), raw);
        if (!read) {
            return std::unexpected(read.error());
        }
        const std::uint64_t table = header::big<std::uint64_t>(raw, 0) & kOffsetMask;
        if (!*read || table % geometry_.cluster() != 0) {
            all.kind = Kind::bad;
            append_run(runs, all);
        } else if (table == 0) {
            append_run(runs, all);
        } else if (auto looked = look_in_table(table, at, until, file, runs); !looked) {
            return looked;
        }
        at = until;
    }
    return {};
}

// TABLE: of the second level, which has all of BEGIN to END.
Result<void> Qcow2Tables::look_in_table(std::uint64_t table, std::uint64_t begin, std::uint64_t end,
                                        std::uint16_t file, std::vector<ImageRun>& runs) const {
    const std::uint64_t cluster = geometry_.cluster();
    const std::uint64_t each = geometry_.l2_entry_bytes();
    const std::uint64_t first = begin / cluster;
    std::vector<std::byte> entries(((end - 1) / cluster - first + 1) * each);
    const auto read = read_at(fd_, table + first % geometry_.l2_entries() * each, entries);
    if (!read) {
        return std::unexpected(read.error());
    }
    if (!*read) {
        append_run(runs, {.kind = Kind::bad, .file = file, .begin = begin, .end = end});
        return {};
    }
    for (std::uint64_t at = begin; at < end;) {
        const std::uint64_t number = at / cluster;
        const std::uint64_t until = std::min(end, (number + 1) * cluster);
        const std::size_t place = (number - first) * each;
        const auto entry = header::big<std::uint64_t>(entries, place);
        ImageRun part = run_of(entry, at, until);
        part.file = file;
        if (geometry_.extended_l2 && part.kind != Kind::packed) {
            add_subclusters(entry, header::big<std::uint64_t>(entries, place + 8), part, runs);
        } else if (part.kind == Kind::data) {
            add_data(part, runs);
        } else {
            append_run(runs, part);
        }
        at = until;
    }
    return {};
}

// What ENTRY says of the cluster that has all of BEGIN to END, subclusters left aside.
ImageRun Qcow2Tables::run_of(std::uint64_t entry, std::uint64_t begin, std::uint64_t end) const {
    const std::uint64_t cluster = geometry_.cluster();
    ImageRun run{.begin = begin, .end = end};
    if ((entry & kCompressed) != 0) {
        run = packed(entry);
        run.begin = begin;
        run.end = end;
        run.skip = static_cast<std::uint32_t>(begin % cluster);
        return run;
    }
    const std::uint64_t host = entry & kOffsetMask;
    if ((entry & kZero) != 0 && !geometry_.extended_l2) {
        run.kind = geometry_.version >= 3 && host % cluster == 0 ? Kind::zero : Kind::bad;
    } else if (host != 0) {
        run.kind = host % cluster == 0 ? Kind::data : Kind::bad;
        run.at = host + begin % cluster;
    }
    return run;
}

// PART: as run_of() has it. BITS: for each subcluster whether it is allocated, and in the upper
// half whether it is zero.
void Qcow2Tables::add_subclusters(std::uint64_t entry, std::uint64_t bits, ImageRun part,
                                  std::vector<ImageRun>& runs) const {
    const std::uint64_t size = geometry_.subcluster();
    const std::uint64_t host = entry & kOffsetMask;
    const bool bad = part.kind == Kind::bad;
    for (std::uint64_t at = part.begin; at < part.end;) {
        const std::uint64_t number = at % geometry_.cluster() / size;
        const bool allocated = (bits >> number & 1) != 0;
        const bool zero = (bits >> (kSubclusters + number) & 1) != 0;
        ImageRun run = part;
        run.begin = at;
        run.end = std::min(part.end, at - at % size + size);
        run.at = host + at % geometry_.cluster();
        if (bad || (allocated && (zero || host == 0))) {
            run.kind = Kind::bad;
            append_run(runs, run);
        } else if (allocated) {
            run.kind = Kind::data;
            add_data(run, runs);
        } else {
            run.kind = zero ? Kind::zero : Kind::absent;
            append_run(runs, run);
        }
        at = run.end;
    }
}

void Qcow2Tables::add_data(ImageRun part, std::vector<ImageRun>& runs) const {
    const std::uint64_t cluster_at = part.at - part.at % geometry_.cluster();
    if (cluster_at >= size_) {
        part.kind = Kind::bad;
        append_run(runs, part);
        return;
    }
    ImageRun rest = part;
    part.end =
        std::clamp(part.begin + (size_ > part.at ? size_ - part.at : 0), part.begin, part.end);
    append_run(runs, part);
    rest.begin = part.end;
    rest.kind = Kind::zero;
    append_run(runs, rest);
}

// The compressed cluster of ENTRY: its place has sectors of 512 bytes, the first and the last of
// which it shares with others.
ImageRun Qcow2Tables::packed(std::uint64_t entry) const {
    const std::uint32_t offset_bits = 62 - (geometry_.cluster_bits - 8);
    const std::uint64_t host = entry & ((std::uint64_t{1} << offset_bits) - 1);
    const std::uint64_t sectors = ((entry & (kCompressed - 1)) >> offset_bits) + 1;
    const std::uint64_t end = host - host % header::kSector + sectors * header::kSector;
    ImageRun run{.kind = host < size_ && host != 0 ? Kind::packed : Kind::bad};
    run.at = host;
    run.packed_bytes = static_cast<std::uint32_t>(std::min(end, std::max(host, size_)) - host);
    run.unpacked_bytes = static_cast<std::uint32_t>(geometry_.cluster());
    return run;
}

Result<std::vector<std::byte>> Qcow2Tables::unpack(const ImageRun& run) const {
    std::vector<std::byte> from(run.packed_bytes);
    // The last sector of the file need not be whole.
    const auto got = read_up_to(fd_, run.at, from);
    if (!got) {
        return std::unexpected(got.error());
    }
    from.resize(*got);
    std::vector<std::byte> to(geometry_.cluster());
    const bool good = geometry_.compression == Qcow2Compression::zlib ? inflate_all(from, to)
                                                                      : unzstd_all(from, to);
    if (!good) {
        return fail(Errc::io,
                    fmt::format("has a compressed cluster at {} that does not unpack", run.at));
    }
    return to;
}

}  // namespace signpost
