// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/disk_description.h"

#include <fmt/format.h>

#include <array>
#include <ctime>

namespace signpost {

namespace {

constexpr std::string_view kRelayed = ", relayed";
constexpr std::string_view kPoint = "newest point ";
constexpr std::int64_t kLastRfc3339Second = 253'402'300'799;  // the end of the year 9999

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
                                  std::size_t more, std::int64_t as_of) {
    const std::string others = more == 0 ? "" : fmt::format(" and {} more", more);
    const std::string age =
        as_of == 0 ? "" : fmt::format(" ({}, catalog unreachable)", as_of_for_people(as_of));
    return fmt::format("{} {} on {}{}{}{}", size_for_people(size), to_string(format), server,
                       others, age, kRelayed);
}

std::string rfc3339(std::int64_t seconds) {
    if (seconds <= 0 || seconds > kLastRfc3339Second) {
        return "";
    }
    const std::time_t time = seconds;
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900,
                       parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string as_of_for_people(std::int64_t as_of) {
    // Nobody had a catalog of this kind before 2001.
    return as_of < 1'000'000'000 ? "as of an unknown time" : "as of " + rfc3339(as_of);
}

std::string describe_point(std::string_view point, std::string_view description) {
    return fmt::format("{}{}; {}", kPoint, escaped(point), description);
}

bool describes_point(std::string_view description) {
    return description.starts_with(kPoint);
}

bool describes_relay(std::string_view description) {
    return description.ends_with(kRelayed);
}

}  // namespace signpost
