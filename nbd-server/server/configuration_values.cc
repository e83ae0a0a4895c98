// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/configuration_values.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <vector>

#include "catalog/disk_name.h"

namespace signpost {
namespace {

std::unexpected<Error> is_not(std::string_view text, std::string_view what) {
    return fail(Errc::invalid, fmt::format("\"{}\" is not {}", escaped(text), what));
}

std::string lower_case(std::string_view text) {
    std::string result(text);
    std::ranges::transform(result, result.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    });
    return result;
}

}  // namespace

Result<std::uint64_t> number_in(std::string_view text, std::uint64_t least, std::uint64_t most) {
    std::uint64_t number = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || stop != text.data() + text.size() || number < least ||
        number > most) {
        return is_not(text, fmt::format("a whole number from {} to {}", least, most));
    }
    return number;
}

Result<std::uint64_t> size_in(std::string_view text, std::uint64_t least, std::uint64_t most) {
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    const std::string unit = lower_case({stop, end});
    constexpr std::array<std::array<std::string_view, 3>, 5> kUnits{{{"", "b", "b"},
                                                                     {"k", "kb", "kib"},
                                                                     {"m", "mb", "mib"},
                                                                     {"g", "gb", "gib"},
                                                                     {"t", "tb", "tib"}}};
    const auto found = std::ranges::find_if(
        kUnits, [&](const auto& names) { return std::ranges::count(names, unit) > 0; });
    const auto shift = static_cast<unsigned>(found - kUnits.begin()) * 10;
    if (error != std::errc() || found == kUnits.end() || number > most >> shift ||
        number << shift < least) {
        return is_not(
            text, fmt::format("a size from {}M to {}M; write 512M or 2G", least >> 20, most >> 20));
    }
    return number << shift;
}

Result<bool> truth_of(std::string_view text) {
    const std::string word = lower_case(text);
    if (word == "true" || word == "yes" || word == "on" || word == "1") {
        return true;
    }
    if (word == "false" || word == "no" || word == "off" || word == "0") {
        return false;
    }
    return is_not(text, "true or false");
}

Result<std::string> path_from(std::string_view base, std::string_view text) {
    if (text.empty() || text.find('\0') != text.npos || text.size() > 4096) {
        return is_not(text, "a path");
    }
    const auto path =
        (std::filesystem::path(base) / std::filesystem::path(text)).lexically_normal();
    std::string result = path.string();
    if (result.size() > 1 && result.ends_with('/')) {
        result.pop_back();
    }
    return result;
}

Result<std::string> catalog_from(std::string_view base, std::string_view text) {
    constexpr std::string_view kSqlite = "sqlite:";
    if (text.find("://") != text.npos) {
        return std::string(text);  // no file; whoever opens it is the judge
    }
    auto path = path_from(base, text.starts_with(kSqlite) ? text.substr(kSqlite.size()) : text);
    return path ? Result<std::string>(std::string(kSqlite) + *path) : path;
}

Result<std::string> plain_text(std::string_view text, std::size_t limit) {
    if (text.empty() || text.size() > limit || escaped(text, limit * 4) != text) {
        return is_not(text, fmt::format("1 to {} bytes of text without control characters", limit));
    }
    return std::string(text);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row[b.size()];
}

}  // namespace signpost
