// SPDX-License-Identifier: BSD-3-Clause
//
// ImageReading reads one image of this server's own from end to end, chunk by chunk of the digest
// tree, without being in anybody's way: what it brought into the page cache it takes out again, and
// what is a hole is not read. Only of an image that is not written.
//
// Lifetime: the repositories outlive it. Threads: one at a time; calls block on the storage.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "nbd-server/disk/cached_pages.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

class ImageReading {
   public:
    using Serve = std::function<Result<std::shared_ptr<Disk>>(OpenImage)>;

    // conflict: the image is not what the catalog was told of, or may be written; else as
    // RepositorySet::open_image and SERVE.
    static Result<std::unique_ptr<ImageReading>> open(const RepositorySet& repositories,
                                                      const Serve& serve, const Image& image);

    std::uint64_t size() const { return disk_->traits().size; }

    // Whether it is known to be zero from end to end without being read.
    bool is_hole(std::uint64_t chunk);

    // Good until the next call. FRESH: from the device, not from memory.
    Result<std::span<const std::byte>> read(std::uint64_t chunk, bool fresh = false);

    // Whether the name still stands for the same state of the same files.
    bool is_current() const;

   private:
    ImageReading(const RepositorySet& repositories, const Image& image)
        : repositories_(repositories), image_(image) {}

    const RepositorySet& repositories_;
    const Image image_;
    std::shared_ptr<Disk> disk_;
    UniqueFd file_;  // of a raw image
    std::optional<CachedPages> cached_;
    std::unique_ptr<std::byte[]> buffer_;
};

}  // namespace signpost
