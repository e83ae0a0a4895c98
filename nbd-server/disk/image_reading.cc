// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/image_reading.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;

}  // namespace

Result<std::unique_ptr<ImageReading>> ImageReading::open(const RepositorySet& repositories,
                                                         const Serve& serve, const Image& image) {
    auto opened = repositories.open_image(image.name);
    if (!opened) {
        return std::unexpected(opened.error());
    }
    if (opened->writable || opened->fingerprint != image.fingerprint ||
        opened->size != image.size) {
        return fail(Errc::conflict, fmt::format("disk '{}' has changed since it was published",
                                                escaped(image.name.str())));
    }
    std::unique_ptr<ImageReading> reading(new ImageReading(repositories, image));
    if (opened->format() == ImageFormat::raw) {
        reading->file_.reset(::fcntl(opened->chain.front().fd.get(), F_DUPFD_CLOEXEC, 3));
        reading->cached_.emplace(reading->file_.get());
    }
    auto disk = serve(std::move(*opened));
    if (!disk) {
        return std::unexpected(disk.error());
    }
    reading->disk_ = std::move(*disk);
    reading->buffer_ = std::make_unique_for_overwrite<std::byte[]>(kChunk);
    return reading;
}

bool ImageReading::is_hole(std::uint64_t chunk) {
    if (file_) {
        // Only where the next data is: to find out where that ends some file systems visit all of
        // it, each time.
        const auto begin = static_cast<off_t>(chunk * kChunk);
        const off_t data = ::lseek(file_.get(), begin, SEEK_DATA);
        return data < 0 ? errno == ENXIO
                        : data - begin >= static_cast<off_t>(chunk_bytes(size(), chunk));
    }
    std::vector<Extent> extents;
    Request request;
    request.op = Op::extents;
    request.offset = chunk * kChunk;
    request.length = chunk_bytes(size(), chunk);
    request.extents = &extents;
    if (submit_and_wait(*disk_, request) != 0) {
        return false;
    }
    std::uint64_t zero = 0;
    for (const Extent& extent : extents) {
        if ((extent.flags & wire::kStateZero) == 0) {
            return false;
        }
        zero += std::min(extent.length, request.length - zero);
    }
    return zero == request.length;
}

Result<std::span<const std::byte>> ImageReading::read(std::uint64_t chunk, bool fresh) {
    Request request;
    request.offset = chunk * kChunk;
    request.length = chunk_bytes(size(), chunk);
    request.buffer = buffer_.get();
    const auto length = static_cast<std::uint32_t>(request.length);
    const auto drop = [&] {
        ::posix_fadvise(file_.get(), static_cast<off_t>(request.offset),
                        static_cast<off_t>(request.length), POSIX_FADV_DONTNEED);
    };
    if (fresh && file_) {
        drop();
    }
    const bool leave_no_trace = file_ && !cached_->touches(request.offset, length);
    const int error = submit_and_wait(*disk_, request);
    if (leave_no_trace) {
        drop();
    }
    if (error != 0) {
        return fail(Errc::io, fmt::format("disk '{}' cannot be read at byte {}: {}",
                                          escaped(image_.name.str()), request.offset,
                                          std::generic_category().message(error)));
    }
    return std::span<const std::byte>(buffer_.get(), length);
}

bool ImageReading::is_current() const {
    const auto now = repositories_.open_image(image_.name);
    return now && !now->writable && now->fingerprint == image_.fingerprint &&
           now->size == image_.size;
}

}  // namespace signpost
