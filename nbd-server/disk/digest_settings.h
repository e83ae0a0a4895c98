// SPDX-License-Identifier: BSD-3-Clause
//
// What an operator says of digests: how fast they are computed, how often images are read again,
// and whether relays check what they pass on. Both products take the same words.
//
// Values and pure functions; threads: any. Errors are invalid, with a message that fits behind the
// option's name: `is not ...`.

#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "catalog/error.h"

namespace signpost {

struct DigestSettings {
    std::uint64_t rate = std::uint64_t{64} << 20;  // bytes per second; 0: no digests
    std::chrono::seconds scrub{0};                 // how old a reading may get; 0: any age
};

enum class Verify {
    off,
    relay,    // what is relayed is checked where it can be, and relayed all the same where not
    require,  // what cannot be checked is not relayed
};

Result<Verify> parse_verify(std::string_view text);

// "64M": bytes, with K, M, G or T; 0: off.
Result<std::uint64_t> parse_digest_rate(std::string_view text);

// "7d": a number and s, m, h or d; 0 or off.
Result<std::chrono::seconds> parse_scrub(std::string_view text);

}  // namespace signpost
