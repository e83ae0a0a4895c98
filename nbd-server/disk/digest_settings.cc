// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/digest_settings.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

// A whole number, and what stands behind it.
std::optional<std::pair<std::uint64_t, std::string_view>> number_and_unit(std::string_view text) {
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || stop == text.data()) {
        return std::nullopt;
    }
    return std::pair(std::uint64_t{number},
                     text.substr(static_cast<std::size_t>(stop - text.data())));
}

}  // namespace

Result<Verify> parse_verify(std::string_view text) {
    if (text == "off") {
        return Verify::off;
    }
    if (text == "relay") {
        return Verify::relay;
    }
    if (text == "require") {
        return Verify::require;
    }
    return fail(Errc::invalid, fmt::format("\"{}\" is none of off, relay, require", escaped(text)));
}

Result<std::uint64_t> parse_digest_rate(std::string_view text) {
    constexpr std::string_view kUnits = "KMGT";
    constexpr std::uint64_t kMost = std::uint64_t{1} << 40;
    const auto given = text == "off" ? std::optional(std::pair(std::uint64_t{0}, text.substr(3)))
                                     : number_and_unit(text);
    if (given) {
        const std::string_view unit = given->second;
        const std::size_t place = unit.empty() ? 0 : kUnits.find(unit.front()) + 1;
        const bool known =
            unit.empty() || (place != 0 && (unit.size() == 1 || unit.substr(1) == "iB"));
        if (known && given->first <= kMost >> (10 * place)) {
            return given->first << (10 * place);
        }
    }
    return fail(Errc::invalid,
                fmt::format("\"{}\" is no number of bytes for a second, as 64M; 0 or "
                            "off: none",
                            escaped(text)));
}

Result<std::chrono::seconds> parse_scrub(std::string_view text) {
    constexpr std::uint64_t kMost = std::uint64_t{10} * 365 * 24 * 3600;
    if (text == "off" || text == "0") {
        return std::chrono::seconds(0);
    }
    if (const auto given = number_and_unit(text)) {
        const std::string_view unit = given->second;
        const std::uint64_t seconds = unit == "s"   ? 1
                                      : unit == "m" ? 60
                                      : unit == "h" ? 3600
                                      : unit == "d" ? 24 * 3600
                                                    : 0;
        if (seconds != 0 && given->first >= 1 && given->first <= kMost / seconds) {
            return std::chrono::seconds(given->first * seconds);
        }
    }
    return fail(Errc::invalid,
                fmt::format("\"{}\" is no time with its unit, as 7d (s, m, h, d); off: never",
                            escaped(text)));
}

}  // namespace signpost
