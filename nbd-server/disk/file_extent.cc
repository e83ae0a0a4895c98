// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/file_extent.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "nbd-server/wire/protocol.h"

namespace signpost {

wire::Extent file_extent(int fd, std::uint64_t at, std::uint64_t end) {
    constexpr std::uint32_t kHole = wire::kStateHole | wire::kStateZero;
    const wire::Extent rest{.length = end - at, .flags = 0};
    const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0) {
        return errno == ENXIO ? wire::Extent{.length = end - at, .flags = kHole} : rest;
    }
    if (static_cast<std::uint64_t>(data) > at) {
        const auto until = std::min(static_cast<std::uint64_t>(data), end);
        return {.length = until - at, .flags = kHole};
    }
    const off_t hole = ::lseek(fd, static_cast<off_t>(at), SEEK_HOLE);
    if (hole <= static_cast<off_t>(at)) {
        return rest;
    }
    return {.length = std::min(static_cast<std::uint64_t>(hole), end) - at, .flags = 0};
}

}  // namespace signpost
