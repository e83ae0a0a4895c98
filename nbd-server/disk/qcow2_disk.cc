// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/qcow2_disk.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "nbd-server/disk/backing_chain.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/chain_disk.h"
#include "nbd-server/disk/image_file.h"
#include "nbd-server/disk/qcow2_tables.h"

namespace signpost {

namespace {

constexpr std::size_t kUnpackedMost = 8 << 20;  // four of the largest clusters

static_assert(kMaxChain <= kMaxChainFiles);

Result<ChainFile> read_tables(const ImageFile& image) {
    const int fd = image.fd.get();
    const off_t end = ::lseek(fd, 0, SEEK_END);
    if (end < 0) {
        return fail(Errc::io, error_text(errno));
    }
    ChainFile file{.fd = fd, .size = static_cast<std::uint64_t>(end)};
    if (image.format == ImageFormat::raw) {
        return file;
    }
    const auto geometry = read_qcow2_geometry(image_bytes(fd, file.size));
    if (!geometry) {
        return std::unexpected(geometry.error());
    }
    file.tables = std::make_shared<Qcow2Tables>(fd, file.size, *geometry);
    file.size = geometry->size;
    return file;
}

}  // namespace

bool is_plain_qcow2(const OpenImage& image) {
    return !image.writable && image.format() == ImageFormat::qcow2 &&
           std::ranges::all_of(image.chain, [](const ImageFile& file) {
               return file.format == ImageFormat::qcow2 || file.format == ImageFormat::raw;
           });
}

Result<std::shared_ptr<Disk>> make_qcow2_disk(OpenImage image, Log& log) {
    return make_chain_disk(std::move(image),
                           {.read_tables = read_tables, .unpacked_most = kUnpackedMost}, log);
}

}  // namespace signpost
