// SPDX-License-Identifier: BSD-3-Clause

#include "catalog/restore_point.h"

#include <array>

namespace signpost {

namespace {

struct Part {
    char separator;  // before the digits
    bool required;   // the basic form has the same separator
    std::size_t digits;
    std::string_view least;
    std::string_view most;
};

// Year, month and day; a time of day may follow, to the minute or the second.
constexpr std::array<Part, 6> kParts{{{'@', true, 4, "0000", "9999"},
                                      {'-', false, 2, "01", "12"},
                                      {'-', false, 2, "01", "31"},
                                      {'T', true, 2, "00", "23"},
                                      {':', false, 2, "00", "59"},
                                      {':', false, 2, "00", "60"}}};
constexpr std::size_t kDay = 3;  // parts of a date
constexpr std::size_t kMinute = 5;

// The digits of TEXT's first part, which it loses; empty: they are not there, or say no time.
std::string_view take(std::string_view& text, const Part& part) {
    std::string_view rest = text;
    if (rest.starts_with(part.separator)) {
        rest.remove_prefix(1);
    } else if (part.required) {
        return {};
    }
    const std::string_view digits = rest.substr(0, part.digits);
    if (digits.size() != part.digits ||
        digits.find_first_not_of("0123456789") != std::string_view::npos || digits < part.least ||
        digits > part.most) {
        return {};
    }
    text = rest.substr(part.digits);
    return digits;
}

}  // namespace

std::optional<RestorePoint> RestorePoint::of(const DiskName& name) {
    const std::string& text = name.str();
    const std::size_t at = text.rfind('@');
    const bool named = at != std::string::npos && at > 0 && text[at - 1] != '/';
    if (!named || text.find('/', at) != std::string::npos) {
        return std::nullopt;
    }
    std::string_view rest = std::string_view(text).substr(at);
    std::string time;
    std::size_t parts = 0;
    while (parts < kParts.size()) {
        const std::string_view digits = take(rest, kParts[parts]);
        if (digits.empty()) {
            break;
        }
        time += digits;
        ++parts;
    }
    const bool whole = parts == kDay || parts >= kMinute;
    if (!whole || !(rest.empty() || (rest == "Z" && parts >= kMinute))) {
        return std::nullopt;
    }
    return RestorePoint{text.substr(0, at), std::move(time)};
}

}  // namespace signpost
