// SPDX-License-Identifier: BSD-3-Clause
//
// Patterns of restore points, and paths matched against them: lines of patterns up to an empty one,
// then paths. What a path gives leads back to it, and a bounded number of paths is tried for it.

#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/restore_point.h"
#include "nbd-server/disk/point_patterns.h"

namespace {

constexpr std::size_t kMostStems = 20'000;  // of kMostPatterns, at kMostComponents places

void require(bool holds) {
    if (!holds)
        abort();
}

std::string_view next_line(std::string_view& text) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return line;
}

void check_path(const signpost::PointPatterns& patterns, std::string_view path) {
    const auto plain = signpost::DiskName::parse(path);
    const auto given = patterns.name_of(path);
    if (!plain || !given)
        return;
    const auto name = signpost::DiskName::parse(*given);
    if (!name)
        return;  // refused by the scan, with this line
    const auto point = signpost::RestorePoint::of(*name);
    require(point && point->seconds() >= 0);
    const auto stems = patterns.stems_of(*name);
    require(stems.size() <= kMostStems);
    require(std::ranges::find(stems, path) != stems.end());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view text(reinterpret_cast<const char*>(data), size);
    std::vector<std::string> words;
    for (auto line = next_line(text); !line.empty(); line = next_line(text))
        words.emplace_back(line);
    const auto parsed = signpost::PointPatterns::parse(words);
    require(parsed || parsed.error().message.find('\n') == std::string::npos);
    const signpost::PointPatterns usual;
    while (!text.empty()) {
        const auto path = next_line(text);
        check_path(usual, path);
        if (parsed)
            check_path(*parsed, path);
    }
    return 0;
}
