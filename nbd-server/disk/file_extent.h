// SPDX-License-Identifier: BSD-3-Clause
//
// Where a file has data, and where holes. Pure but for lseek. Threads: any.

#pragma once

#include <cstdint>

#include "nbd-server/wire/reply_reader.h"

namespace signpost {

// What FD has from AT on, at most to END: data, or a hole. What cannot be asked is data: that is
// always true.
wire::Extent file_extent(int fd, std::uint64_t at, std::uint64_t end);

}  // namespace signpost
