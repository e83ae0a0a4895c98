// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/file_extent.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "nbd-server/disk/beneath.h"
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

Result<std::size_t> read_up_to(int fd, std::uint64_t at, std::span<std::byte> to) {
    std::size_t done = 0;
    while (done < to.size()) {
        const ssize_t got =
            ::pread(fd, to.data() + done, to.size() - done, static_cast<off_t>(at + done));
        if (got == 0) {
            break;
        }
        if (got < 0 && errno != EINTR) {
            return fail(Errc::io, fmt::format("cannot be read: {}", error_text(errno)));
        }
        done += got > 0 ? static_cast<std::size_t>(got) : 0;
    }
    return done;
}

}  // namespace signpost
