// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/qcow2_tables.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/image_header_parts.h"

namespace signpost {

namespace {

using Kind = Qcow2Run::Kind;

constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;
constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
constexpr std::uint64_t kZero = 1;
constexpr std::uint64_t kSubclusters = 32;

// False: the file ends before.
Result<bool> read_at(int fd, std::uint64_t offset, std::span<std::byte> to) {
    while (!to.empty()) {
        const ssize_t got = ::pread(fd, to.data(), to.size(), static_cast<off_t>(offset));
        if (got == 0) {
            return false;
        }
        if (got < 0 && errno != EINTR) {
            return fail(Errc::io, fmt::format("its tables cannot be read: {}", error_text(errno)));
        }
        if (got > 0) {
            to = to.subspan(static_cast<std::size_t>(got));
            offset += static_cast<std::uint64_t>(got);
        }
    }
    return true;
}

// What follows it in the file follows it on the disk.
bool continues(const Qcow2Run& last, const Qcow2Run& run) {
    if (last.kind != run.kind || last.file != run.file || last.end != run.begin) {
        return false;
    }
    switch (run.kind) {
        case Kind::data:
            return last.at + last.length() == run.at;
        case Kind::packed:
            return last.at == run.at;
        default:
            return true;
    }
}

}  // namespace

void append_run(std::vector<Qcow2Run>& runs, const Qcow2Run& run) {
    if (run.begin == run.end) {
        return;
    }
    if (!runs.empty() && continues(runs.back(), run)) {
        runs.back().end = run.end;
    } else {
        runs.push_back(run);
    }
}

Result<void> Qcow2Tables::look(std::uint64_t begin, std::uint64_t end, std::uint16_t file,
                               std::vector<Qcow2Run>& runs) const {
    const std::uint64_t span = geometry_.l2_entries() * geometry_.cluster();
    for (std::uint64_t at = begin; at < end;) {
        const std::uint64_t index = at / span;
        const std::uint64_t until = std::min(end, (index + 1) * span);
        Qcow2Run all{.file = file, .begin = at, .end = until};
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
                                        std::uint16_t file, std::vector<Qcow2Run>& runs) const {
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
        Qcow2Run part = run_of(entry, at, until);
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
Qcow2Run Qcow2Tables::run_of(std::uint64_t entry, std::uint64_t begin, std::uint64_t end) const {
    const std::uint64_t cluster = geometry_.cluster();
    Qcow2Run run{.begin = begin, .end = end};
    if ((entry & kCompressed) != 0) {
        run = packed(entry);
        run.begin = begin;
        run.end = end;
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
void Qcow2Tables::add_subclusters(std::uint64_t entry, std::uint64_t bits, Qcow2Run part,
                                  std::vector<Qcow2Run>& runs) const {
    const std::uint64_t size = geometry_.subcluster();
    const std::uint64_t host = entry & kOffsetMask;
    const bool bad = part.kind == Kind::bad;
    for (std::uint64_t at = part.begin; at < part.end;) {
        const std::uint64_t number = at % geometry_.cluster() / size;
        const bool allocated = (bits >> number & 1) != 0;
        const bool zero = (bits >> (kSubclusters + number) & 1) != 0;
        Qcow2Run run = part;
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

void Qcow2Tables::add_data(Qcow2Run part, std::vector<Qcow2Run>& runs) const {
    const std::uint64_t cluster_at = part.at - part.at % geometry_.cluster();
    if (cluster_at >= size_) {
        part.kind = Kind::bad;
        append_run(runs, part);
        return;
    }
    Qcow2Run rest = part;
    part.end =
        std::clamp(part.begin + (size_ > part.at ? size_ - part.at : 0), part.begin, part.end);
    append_run(runs, part);
    rest.begin = part.end;
    rest.kind = Kind::zero;
    append_run(runs, rest);
}

// The compressed cluster of ENTRY: its place has sectors of 512 bytes, the first and the last of
// which it shares with others.
Qcow2Run Qcow2Tables::packed(std::uint64_t entry) const {
    const std::uint32_t offset_bits = 62 - (geometry_.cluster_bits - 8);
    const std::uint64_t host = entry & ((std::uint64_t{1} << offset_bits) - 1);
    const std::uint64_t sectors = ((entry & (kCompressed - 1)) >> offset_bits) + 1;
    const std::uint64_t end = host - host % header::kSector + sectors * header::kSector;
    Qcow2Run run{.kind = host < size_ && host != 0 ? Kind::packed : Kind::bad};
    run.at = host;
    run.packed_bytes = static_cast<std::uint32_t>(std::min(end, std::max(host, size_)) - host);
    return run;
}

}  // namespace signpost
