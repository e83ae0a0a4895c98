// SPDX-License-Identifier: BSD-3-Clause
//
// Extent is a run of bytes with the same status in one metadata context: what BLOCK_STATUS tells.
// A value; no thread rule.

#pragma once

#include <cstdint>

namespace signpost::wire {

struct Extent {
    std::uint64_t length;
    std::uint32_t flags;  // base:allocation: kStateHole, kStateZero; x-signpost: kPlacement*

    bool operator==(const Extent&) const = default;
};

}  // namespace signpost::wire
