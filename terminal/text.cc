// SPDX-License-Identifier: BSD-3-Clause

#include "terminal/text.h"

#include <fmt/format.h>

#include <algorithm>

namespace signpost {

namespace {

// The length of the UTF-8 character at the front of TEXT, which is not empty; 1 for a stray byte.
std::size_t character_bytes(std::string_view text) {
    std::size_t length = 1;
    while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) {
        ++length;
    }
    return length;
}

}  // namespace

std::string age(std::int64_t seconds, std::int64_t now) {
    if (seconds == 0) {
        return "never";
    }
    const std::int64_t passed = seconds < now ? now - seconds : 0;
    if (passed < 120) {
        return fmt::format("{} s", passed);
    }
    if (passed < 2 * 3600) {
        return fmt::format("{} min", passed / 60);
    }
    if (passed < 2 * 86400) {
        return fmt::format("{} h", passed / 3600);
    }
    return fmt::format("{} d", passed / 86400);
}

std::string counted(std::uint64_t count, std::string_view noun) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string duration_text(std::chrono::microseconds duration) {
    const auto micros = duration.count();
    if (micros < 10'000) {
        return fmt::format("{:.1f} ms", static_cast<double>(micros) / 1000);
    }
    if (micros < 1'000'000) {
        return fmt::format("{} ms", micros / 1000);
    }
    return fmt::format("{:.1f} s", static_cast<double>(micros) / 1'000'000);
}

bool is_pattern(std::string_view text) {
    return text.find_first_of("*?") != text.npos;
}

std::string_view fixed_prefix(std::string_view pattern) {
    return pattern.substr(0, pattern.find_first_of("*?"));
}

bool matches_pattern(std::string_view pattern, std::string_view text) {
    // On a mismatch only the last `*` is made longer: an earlier one could not do better.
    std::string_view after_star;
    std::string_view star_text;
    bool has_star = false;
    while (!text.empty()) {
        if (pattern.starts_with('*')) {
            pattern.remove_prefix(1);
            after_star = pattern;
            star_text = text;
            has_star = true;
        } else if (pattern.starts_with('?')) {
            pattern.remove_prefix(1);
            text.remove_prefix(character_bytes(text));
        } else if (!pattern.empty() && pattern.front() == text.front()) {
            pattern.remove_prefix(1);
            text.remove_prefix(1);
        } else if (has_star) {
            star_text.remove_prefix(1);
            text = star_text;
            pattern = after_star;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*') == pattern.npos;
}

}  // namespace signpost
