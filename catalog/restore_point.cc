// SPDX-License-Identifier: BSD-3-Clause

#include "catalog/restore_point.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>

namespace signpost {

namespace {

namespace chrono = std::chrono;

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
constexpr Part kZoneHours{'\0', false, 2, "00", "23"};
constexpr Part kZoneMinutes{':', false, 2, "00", "59"};

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

struct Taken {
    std::string digits;
    std::size_t parts = 0;
    std::string_view rest;
};

// What TEXT, from its `@` on, says of a time.
Taken take_time(std::string_view text) {
    Taken taken{.digits = {}, .parts = 0, .rest = text};
    while (taken.parts < kParts.size()) {
        const std::string_view digits = take(taken.rest, kParts[taken.parts]);
        if (digits.empty()) {
            break;
        }
        taken.digits += digits;
        ++taken.parts;
    }
    return taken;
}

// The zone that TEXT is: "", "Z", "+01", "+0100", "-01:00". Empty: it is none.
std::optional<chrono::minutes> zone_of(std::string_view text) {
    if (text.empty() || text == "Z") {
        return chrono::minutes(0);
    }
    const bool west = text.front() == '-';
    if (!west && text.front() != '+') {
        return std::nullopt;
    }
    text.remove_prefix(1);
    const std::string_view hours = take(text, kZoneHours);
    const std::string_view minutes =
        hours.empty() || text.empty() ? "00" : take(text, kZoneMinutes);
    if (hours.empty() || minutes.empty() || !text.empty()) {
        return std::nullopt;
    }
    const int total = (hours[0] - '0') * 600 + (hours[1] - '0') * 60 + (minutes[0] - '0') * 10 +
                      (minutes[1] - '0');
    return chrono::minutes(west ? -total : total);
}

int number(std::string_view digits) {
    int value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value;
}

// What DIGITS, of a whole time, say; parts of the day that are missing are 0.
chrono::sys_seconds time_of(std::string_view digits) {
    const auto part = [&](std::size_t at) {
        return at < digits.size() ? number(digits.substr(at, 2)) : 0;
    };
    const chrono::year_month_day date{chrono::year(number(digits.substr(0, 4))),
                                      chrono::month(static_cast<unsigned>(part(4))),
                                      chrono::day(static_cast<unsigned>(part(6)))};
    return chrono::sys_days(date) + chrono::hours(part(8)) + chrono::minutes(part(10)) +
           chrono::seconds(part(12));
}

// DIGITS, to the minute or the second, of a place that is ZONE ahead of UTC.
std::string in_utc(const std::string& digits, chrono::minutes zone) {
    const std::string_view text = digits;
    const auto utc = time_of(text.substr(0, 12)) - zone;
    const auto date = chrono::floor<chrono::days>(utc);
    const chrono::year_month_day day(date);
    const int year = static_cast<int>(day.year());
    if (zone == zone.zero() || year < 0 || year > 9999) {
        return digits;
    }
    const auto of_day = chrono::duration_cast<chrono::minutes>(utc - date).count();
    return fmt::format("{:04}{:02}{:02}{:02}{:02}{}", year, static_cast<unsigned>(day.month()),
                       static_cast<unsigned>(day.day()), of_day / 60, of_day % 60, text.substr(12));
}

// Where the `@` of a time may be; npos: nowhere.
std::size_t at_of(const std::string& text) {
    const std::size_t at = text.rfind('@');
    const bool named = at != std::string::npos && at > 0 && text[at - 1] != '/';
    return named && text.find('/', at) == std::string::npos ? at : std::string::npos;
}

// "20261120T0200" and "2026-11-20T02:00:00" are one time.
bool means(std::string_view wished, std::string_view time) {
    return time.starts_with(wished) ||
           (wished.starts_with(time) && time.size() > 8 && wished.substr(time.size()) == "00");
}

}  // namespace

std::optional<RestorePoint> RestorePoint::of(const DiskName& name) {
    const std::string& text = name.str();
    const std::size_t at = at_of(text);
    if (at == std::string::npos) {
        return std::nullopt;
    }
    const Taken taken = take_time(std::string_view(text).substr(at));
    const bool day = taken.parts == kDay && taken.rest.empty();
    const auto zone = taken.parts >= kMinute ? zone_of(taken.rest) : std::nullopt;
    if (!day && !zone) {
        return std::nullopt;
    }
    return RestorePoint{text.substr(0, at), day ? taken.digits : in_utc(taken.digits, *zone)};
}

std::int64_t RestorePoint::seconds() const {
    return time_of(time).time_since_epoch().count();
}

PointWish PointWish::of(const DiskName& name) {
    if (auto point = RestorePoint::of(name)) {
        return {std::move(point->disk), std::move(point->time)};
    }
    const std::string& text = name.str();
    if (const std::size_t at = at_of(text); at != std::string::npos) {
        Taken taken = take_time(std::string_view(text).substr(at));
        if (taken.parts > 0 && taken.rest.empty()) {
            return {text.substr(0, at), std::move(taken.digits)};
        }
    }
    return {text, {}};
}

const NamedPoint* newest_meant(const PointWish& wish, const std::vector<NamedPoint>& points) {
    const NamedPoint* newest = nullptr;
    for (const NamedPoint& candidate : points) {
        if (candidate.point.disk == wish.disk && means(wish.time, candidate.point.time) &&
            (newest == nullptr || *newest < candidate)) {
            newest = &candidate;
        }
    }
    return newest;
}

std::string nearest_points_text(const PointWish& wish, const std::vector<NamedPoint>& points) {
    const NamedPoint* before = nullptr;
    const NamedPoint* after = nullptr;
    for (const NamedPoint& candidate : points) {
        if (candidate.point.disk != wish.disk) {
            continue;
        }
        if (candidate.point.time < wish.time) {
            before = before == nullptr || *before < candidate ? &candidate : before;
        } else {
            after = after == nullptr || candidate < *after ? &candidate : after;
        }
    }
    if (before != nullptr && after != nullptr) {
        return fmt::format("its points nearest to that are {} and {}", escaped(before->name.str()),
                           escaped(after->name.str()));
    }
    const NamedPoint* only = before != nullptr ? before : after;
    return only == nullptr ? std::string()
                           : fmt::format("its {} point is {}", only == before ? "newest" : "oldest",
                                         escaped(only->name.str()));
}

}  // namespace signpost
