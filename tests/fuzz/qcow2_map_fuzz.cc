// SPDX-License-Identifier: BSD-3-Clause
//
// Files that say they are qcow2: the input is the file's content, every 512 bytes of it 4 KiB
// apart, over a raw file. The map of the disk's beginning, middle and end has no gaps, points only
// into files, and its compressed clusters unpack or do not.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "nbd-server/disk/chain_map.h"
#include "nbd-server/disk/image_file.h"
#include "nbd-server/disk/qcow2_tables.h"

namespace {

constexpr std::uint64_t kFileSize = std::uint64_t{1} << 20;
constexpr std::size_t kPiece = 512;
constexpr std::uint64_t kStride = 4096;

signpost::UniqueFd file_of(const std::uint8_t* data, std::size_t size) {
    signpost::UniqueFd file(::memfd_create("image", MFD_CLOEXEC));
    if (::ftruncate(file.get(), kFileSize) != 0) {
        std::abort();
    }
    for (std::uint64_t at = 0; size > 0 && at < kFileSize; at += kStride) {
        const std::size_t part = std::min(size, kPiece);
        if (::pwrite(file.get(), data, part, static_cast<off_t>(at)) < 0) {
            std::abort();
        }
        data += part;
        size -= part;
    }
    return file;
}

void check(const signpost::ChainMap::Leaf& leaf, std::uint64_t begin, std::uint64_t end,
           const std::vector<signpost::ChainFile>& files) {
    using Kind = signpost::ImageRun::Kind;
    int unpacked = 0;
    for (const auto& run : leaf) {
        const bool in_file =
            run.kind != Kind::data || (run.at <= kFileSize && run.length() <= kFileSize - run.at);
        if (run.begin != begin || run.end <= begin || run.kind == Kind::absent || !in_file) {
            std::abort();
        }
        begin = run.end;
        if (run.kind == Kind::packed && ++unpacked < 8) {
            const auto bytes = files[run.file].tables->unpack(run);
            if (run.skip + run.length() > run.unpacked_bytes ||
                (bytes && bytes->size() != run.unpacked_bytes)) {
                std::abort();
            }
        }
    }
    if (begin != end) {
        std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const signpost::UniqueFd image = file_of(data, size);
    const auto geometry =
        signpost::read_qcow2_geometry(signpost::image_bytes(image.get(), kFileSize));
    if (!geometry || geometry->size == 0) {
        return 0;
    }
    std::vector<signpost::ChainFile> files;
    files.push_back({image.get(), geometry->size,
                     std::make_shared<signpost::Qcow2Tables>(image.get(), kFileSize, *geometry)});
    files.push_back({image.get(), kFileSize});
    signpost::ChainMap map(files);
    for (const std::uint64_t at : {std::uint64_t{0}, geometry->size / 2, geometry->size - 1}) {
        const std::uint64_t begin = at / map.leaf_bytes() * map.leaf_bytes();
        const auto leaf = map.leaf(at);
        if (!leaf) {
            std::abort();
        }
        check(**leaf, begin, std::min(geometry->size, begin + map.leaf_bytes()), files);
    }
    return 0;
}
