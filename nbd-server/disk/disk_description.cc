// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/disk_description.h"

#include <fmt/format.h>

#include <array>

namespace signpost {

namespace {

constexpr std::string_view kRelayed = ", relayed";

}  // namespace

std::string size_for_people(std::uint64_t bytes) {
    if (bytes < 1024) {
        return fmt::format("{} bytes", bytes);
    }
    constexpr std::array<const char*, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    unsigned shift = 10;
    while (unit + 1 < kUnits.size() && (bytes >> shift) >= 1024) {
        ++unit;
        shift += 10;
    }
    const std::uint64_t whole = bytes >> shift;
    const std::uint64_t rest = bytes - (whole << shift);
    // (rest * 10) does not fit for the largest unit, so the lowest bits go first.
    const std::uint64_t tenth = ((rest >> (shift - 10)) * 10) >> 10;
    return tenth == 0 ? fmt::format("{} {}", whole, kUnits[unit])
                      : fmt::format("{}.{} {}", whole, tenth, kUnits[unit]);
}

std::string describe_own_disk(std::uint64_t size, ImageFormat format) {
    return fmt::format("{} {}, here", size_for_people(size), to_string(format));
}

std::string describe_relayed_disk(std::uint64_t size, ImageFormat format, std::string_view server,
                                  std::size_t more) {
    const std::string others = more == 0 ? "" : fmt::format(" and {} more", more);
    return fmt::format("{} {} on {}{}{}", size_for_people(size), to_string(format), server, others,
                       kRelayed);
}

bool describes_relay(std::string_view description) {
    return description.ends_with(kRelayed);
}

}  // namespace signpost
