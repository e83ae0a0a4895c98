// SPDX-License-Identifier: BSD-3-Clause
//
// What a file has: where data, where holes, and its bytes. Pure but for the calls. Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "catalog/error.h"
#include "nbd-server/wire/reply_reader.h"

namespace signpost {

// What FD has from AT on, at most to END: data, or a hole. What cannot be asked is data: that is
// always true.
wire::Extent file_extent(int fd, std::uint64_t at, std::uint64_t end);

// Fills TO from AT on, and says how much of it: less only where the file ends. Errors: io; the
// message goes after the file's name.
Result<std::size_t> read_up_to(int fd, std::uint64_t at, std::span<std::byte> to);

}  // namespace signpost
