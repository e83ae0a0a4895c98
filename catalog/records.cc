// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <utility>

namespace signpost {

namespace {

// In the order of the enumerators.
constexpr std::array<std::string_view, 2> kKinds{"signpost", "foreign"};
constexpr std::array<std::string_view, 4> kStates{"ready", "copying", "stale", "damaged"};
constexpr std::array<std::string_view, 7> kFormats{"raw",  "qcow2", "vmdk",         "vhdx",
                                                    "vdi", "vpc",  "virtnbdbackup"};
constexpr std::array<std::string_view, 5> kClasses{"global-high", "site-high", "site-normal",
                                                   "site-low", "global-low"};
constexpr std::array<std::string_view, 2> kJobKinds{"copy", "move"};
constexpr std::array<std::string_view, 5> kJobStates{"waiting", "running", "done", "failed",
                                                     "cancelled"};

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

std::string_view to_string(PriorityClass priority_class) {
    return kClasses.at(static_cast<std::size_t>(priority_class));
}

std::string_view to_string(JobKind kind) {
    return kJobKinds.at(static_cast<std::size_t>(kind));
}

std::string_view to_string(JobState state) {
    return kJobStates.at(static_cast<std::size_t>(state));
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

std::optional<PriorityClass> parse_priority_class(std::string_view text) {
    return parse_word<PriorityClass>(kClasses, text);
}

std::optional<JobKind> parse_job_kind(std::string_view text) {
    return parse_word<JobKind>(kJobKinds, text);
}

std::optional<JobState> parse_job_state(std::string_view text) {
    return parse_word<JobState>(kJobStates, text);
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

int site_cost(const std::vector<SiteCost>& costs, std::string_view from, std::string_view to) {
    if (from == to)
        return 0;
    const auto found = std::ranges::find_if(costs, [&](const SiteCost& each) {
        return (each.from == from && each.to == to) || (each.from == to && each.to == from);
    });
    return found == costs.end() ? kDefaultSiteCost : found->cost;
}

bool is_final(JobState state) {
    return state != JobState::waiting && state != JobState::running;
}

bool conflicting(const Location& a, const Location& b) {
    return !a.digest.empty() && !b.digest.empty() && (a.digest != b.digest || a.size != b.size);
}

bool in_conflict(const DiskRecord& disk) {
    const Location* newest = newest_verified(disk);
    return newest != nullptr &&
           std::ranges::any_of(disk.locations, [newest](const Location& location) {
               return conflicting(*newest, location);
           });
}

// Of one generation there is one content; where rows say otherwise, most of them are right.
const Location* newest_verified(const DiskRecord& disk) {
    const auto known = [](const Location& location) {
        return !location.digest.empty() && location.state != LocationState::copying;
    };
    std::map<std::pair<std::string_view, std::uint64_t>, unsigned> copies;
    for (const Location& location : disk.locations) {
        copies[{location.digest, location.size}] += known(location) ? 1 : 0;
    }
    const auto rank = [&](const Location& location) {
        return std::pair(location.generation, copies[{location.digest, location.size}]);
    };
    const Location* newest = nullptr;
    for (const Location& location : disk.locations) {
        if (known(location) && (newest == nullptr || rank(location) > rank(*newest))) {
            newest = &location;
        }
    }
    return newest;
}

std::uint64_t disk_size(const DiskRecord& disk) {
    const auto rank = [](const Location& location) {
        return std::tuple(location.state == LocationState::ready, location.generation);
    };
    const auto newest = std::ranges::max_element(disk.locations, {}, rank);
    return newest == disk.locations.end() ? 0 : newest->size;
}

}  // namespace signpost
