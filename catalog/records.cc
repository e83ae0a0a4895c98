// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>

namespace signpost {

namespace {

// In the order of the enumerators.
constexpr std::array<std::string_view, 2> kKinds{"signpost", "foreign"};
constexpr std::array<std::string_view, 4> kStates{"ready", "copying", "stale", "damaged"};
constexpr std::array<std::string_view, 6> kFormats{"raw", "qcow2", "vmdk", "vhdx", "vdi", "vpc"};

template <class Enum, std::size_t N>
std::optional<Enum> parse_word(const std::array<std::string_view, N>& words,
                               std::string_view text) {
    const auto found = std::find(words.begin(), words.end(), text);
    if (found == words.end())
        return std::nullopt;
    return static_cast<Enum>(found - words.begin());
}

bool fits_server_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

}  // namespace

std::string_view to_string(ServerKind kind) {
    return kKinds.at(static_cast<std::size_t>(kind));
}

std::string_view to_string(LocationState state) {
    return kStates.at(static_cast<std::size_t>(state));
}

std::string_view to_string(ImageFormat format) {
    return kFormats.at(static_cast<std::size_t>(format));
}

std::optional<ServerKind> parse_server_kind(std::string_view text) {
    return parse_word<ServerKind>(kKinds, text);
}

std::optional<LocationState> parse_location_state(std::string_view text) {
    return parse_word<LocationState>(kStates, text);
}

std::optional<ImageFormat> parse_image_format(std::string_view text) {
    return parse_word<ImageFormat>(kFormats, text);
}

Result<void> check_server_name(std::string_view name) {
    constexpr std::size_t kMaxBytes = 128;
    if (name.empty() || name.size() > kMaxBytes || name.front() == '.' || name.front() == '-' ||
        !std::all_of(name.begin(), name.end(), fits_server_name))
        return fail(Errc::invalid,
                    fmt::format("\"{}\" is not a server name: use 1 to {} letters, digits, \".\", "
                                "\"_\" and \"-\", beginning with a letter, a digit or \"_\"",
                                escaped(name), kMaxBytes));
    return {};
}

bool interchangeable(const Location& a, const Location& b) {
    return a.state == LocationState::ready && b.state == LocationState::ready &&
           !a.digest.empty() && a.digest == b.digest && a.size == b.size &&
           a.generation == b.generation;
}

std::uint64_t disk_size(const DiskRecord& disk) {
    const auto rank = [](const Location& location) {
        return std::tuple(location.state == LocationState::ready, location.generation);
    };
    const auto newest = std::ranges::max_element(disk.locations, {}, rank);
    return newest == disk.locations.end() ? 0 : newest->size;
}

}  // namespace signpost
