// SPDX-License-Identifier: BSD-3-Clause
//
// Files that say they are of a virtnbdbackup set: the input is the whole file. What is not refused
// has a map of the disk without gaps that points only into the file, and its compressed blocks
// unpack to what they say, or do not.

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "nbd-server/disk/backup_stream.h"

namespace {

using Kind = signpost::ImageRun::Kind;

constexpr std::size_t kMost = 4096;
constexpr std::uint32_t kWorthUnpacking = 1 << 20;

void require(bool good) {
    if (!good) {
        std::abort();
    }
}

void check(const std::vector<signpost::ImageRun>& runs, std::uint64_t begin, std::uint64_t end,
           const std::uint8_t* data, std::size_t size) {
    int unpacked = 0;
    for (const auto& run : runs) {
        require(run.begin == begin && run.end > begin && run.kind != Kind::bad);
        begin = run.end;
        if (run.kind == Kind::data) {
            require(run.at <= size && run.length() <= size - run.at);
        }
        if (run.kind == Kind::packed) {
            require(run.at <= size && run.packed_bytes <= size - run.at &&
                    run.skip <= run.unpacked_bytes &&
                    run.length() <= run.unpacked_bytes - run.skip);
            if (run.unpacked_bytes <= kWorthUnpacking && ++unpacked < 4) {
                const auto* from = reinterpret_cast<const std::byte*>(data) + run.at;
                const auto bytes =
                    signpost::unpack_lz4({from, from + run.packed_bytes}, run.unpacked_bytes);
                require(!bytes || bytes->size() == run.unpacked_bytes);
            }
        }
    }
    require(begin == end);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const signpost::ImageBytes bytes{
        size, [&](std::uint64_t offset, std::span<std::byte> out) {
            require(offset <= size && out.size() <= size - offset);
            std::copy_n(reinterpret_cast<const std::byte*>(data) + offset, out.size(), out.data());
            return signpost::Result<void>{};
        }};
    const auto meta = signpost::read_backup_meta(bytes);
    if (!meta || !signpost::check_backup_end(bytes, *meta)) {
        return 0;
    }
    const auto index = signpost::BackupIndex::read(bytes, *meta, kMost);
    if (!index || index->size() == 0) {
        return 0;
    }
    require(index->pieces() <= kMost);
    std::vector<signpost::ImageRun> runs;
    index->look(0, index->size(), 0, runs);
    check(runs, 0, index->size(), data, size);
    runs.clear();
    const std::uint64_t begin = index->size() / 3;
    const std::uint64_t end = index->size() - begin / 2;
    index->look(begin, end, 0, runs);
    check(runs, begin, end, data, size);
    return 0;
}
