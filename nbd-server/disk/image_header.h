// SPDX-License-Identifier: BSD-3-Clause
//
// What the header of an image says: how large the disk is, and which file it is based on. The
// format is given, never guessed. Whoever wrote the image is not trusted: every field is checked,
// nothing is allocated by a number that the header gives, and each format takes a bounded number of
// reads.
//
// Refused, because they name other files or cannot be served: qcow2 with an external data file,
// encryption, or an incompatible feature that we do not know; vmdk whose descriptor is a text file,
// or names other extents or a parent; differencing vhdx, vdi and vpc.
//
// Errors: invalid, with a message that goes after the file's name ("qcow2 header: ..."); io as
// read_at gave it. Pure but for read_at. Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "catalog/records.h"

namespace signpost {

// Sizes from 2^63 on do not fit a file offset.
inline constexpr std::uint64_t kMaxImageSize = (std::uint64_t{1} << 63) - 1;

struct ImageBytes {
    std::uint64_t size;  // of the file
    // Fills OUT from OFFSET on, or fails; only ever asked for ranges inside SIZE.
    std::function<Result<void>(std::uint64_t offset, std::span<std::byte> out)> read_at;
};

struct BackingReference {
    std::string file;    // as the header has it; untrusted
    std::string format;  // empty: not said

    bool operator==(const BackingReference&) const = default;
};

struct ImageHeader {
    std::uint64_t size = 0;  // of the disk, in bytes
    std::optional<BackingReference> backing;
};

Result<ImageHeader> read_image_header(ImageFormat format, const ImageBytes& bytes);

}  // namespace signpost
