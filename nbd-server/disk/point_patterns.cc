// SPDX-License-Identifier: BSD-3-Clause
//
// Each pattern is spelled out: once for each way to write a date. Then all of it but the disk has a
// fixed length, so matching is comparing, and the way back from a name is filling in.

#include "nbd-server/disk/point_patterns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "catalog/restore_point.h"

namespace signpost {

namespace {

constexpr std::array<std::string_view, 7> kDefaults{
    "{disk}-{date}", "{disk}_{date}", "{disk}.{date}", "{disk}@{date}",
    "{disk}/{date}", "{date}/{disk}", "chains"};
constexpr std::string_view kDisk = "{disk}";
constexpr std::string_view kDate = "{date}";
constexpr std::string_view kFields = "YmdHMS";

// The usual ways to write a date, and to write a time of day behind it.
struct Spelling {
    std::string_view date;
    std::string_view separators;
    std::array<std::string_view, 3> times;
};
constexpr std::array<Spelling, 3> kSpellings{{{"%Y-%m-%d", "T_-.", {"%H:%M", "%H-%M", "%H%M"}},
                                              {"%Y%m%d", "T_-.", {"%H%M"}},
                                              {"%Y_%m_%d", "_", {"%H_%M"}}}};

std::string with_seconds(std::string_view time) {
    const std::string_view between = time.substr(2, time.size() - 4);
    return fmt::format("{}{}%S", time, between);
}

// What `{date}` stands for, longest first, so that no time of day is taken for a part of the name.
std::vector<std::string> all_spellings() {
    std::vector<std::string> all;
    for (const Spelling& spelling : kSpellings) {
        all.emplace_back(spelling.date);
        for (const char separator : spelling.separators) {
            for (const std::string_view time : spelling.times) {
                if (time.empty()) {
                    continue;
                }
                for (const std::string& exact : {std::string(time), with_seconds(time)}) {
                    for (const char* zone : {"", "Z"}) {
                        all.push_back(
                            fmt::format("{}{}{}{}", spelling.date, separator, exact, zone));
                    }
                }
            }
        }
    }
    std::ranges::sort(all, [](const std::string& a, const std::string& b) {
        return a.size() != b.size() ? a.size() > b.size() : a < b;
    });
    return all;
}

// FIELD is one of kFields.
std::size_t index_of(char field) {
    return std::min(kFields.find(field), kFields.size() - 1);
}

std::size_t width_of(char field) {
    return field == 'Y' ? 4 : 2;
}

// What a name says of a time. Six fields in the order of kFields; those that are not said are
// empty.
struct SpelledTime {
    std::array<std::string, 6> fields;
    bool utc = false;

    // As the names of points of DISK have it; empty: there is no such time.
    std::string canonical(std::string_view disk) const;
};

bool is_extended(std::string_view disk) {
    return disk.contains('/');
}

int value(const std::string& digits) {
    int number = 0;
    for (const char digit : digits) {
        number = 10 * number + (digit - '0');
    }
    return number;
}

std::string SpelledTime::canonical(std::string_view disk) const {
    const int year = value(fields[0]);
    const std::chrono::year_month_day day(
        std::chrono::year{year}, std::chrono::month(static_cast<unsigned>(value(fields[1]))),
        std::chrono::day(static_cast<unsigned>(value(fields[2]))));
    // Numbers of eight digits that begin otherwise are serial numbers rather than dates.
    if (!day.ok() || year < 1970 || year > 2199 || value(fields[3]) > 23 || value(fields[4]) > 59 ||
        value(fields[5]) > 60) {
        return {};
    }
    if (fields[3].empty()) {
        return fmt::format("{}-{}-{}", fields[0], fields[1], fields[2]);
    }
    const bool extended = is_extended(disk);
    const std::string_view day_mark = extended ? "-" : "";
    const std::string_view mark = extended ? ":" : "";
    return fmt::format("{}{}{}{}{}T{}{}{}{}{}{}", fields[0], day_mark, fields[1], day_mark,
                       fields[2], fields[3], mark, fields[4], fields[5].empty() ? "" : mark,
                       fields[5], utc ? "Z" : "");
}

// FORMAT has literal characters and fields. True when TEXT, of the same length, fits.
bool fits(std::string_view format, std::string_view text, SpelledTime& time) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%') {
            if (at == text.size() || text[at++] != format[i]) {
                return false;
            }
            continue;
        }
        const char field = format[++i];
        const std::string_view digits = text.substr(at, field == '%' ? 1 : width_of(field));
        at += digits.size();
        if (field == '%') {
            if (digits != "%") {
                return false;
            }
            continue;
        }
        if (digits.size() != width_of(field) ||
            digits.find_first_not_of("0123456789") != std::string_view::npos) {
            return false;
        }
        time.fields[index_of(field)] = digits;
    }
    return at == text.size();
}

std::string filled(std::string_view format, const SpelledTime& time) {
    std::string text;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%') {
            text += format[i];
        } else if (format[++i] == '%') {
            text += '%';
        } else {
            text += time.fields[index_of(format[i])];
        }
    }
    return text;
}

std::size_t length_of(std::string_view format) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < format.size(); ++i, ++length) {
        if (format[i] == '%' && format[++i] != '%') {
            length += width_of(format[i]) - 1;
        }
    }
    return length;
}

// What TEXT, the time of a point of DISK, says, if it is written as names from patterns are.
std::optional<SpelledTime> time_in(std::string_view text, std::string_view disk) {
    const std::string_view whole = text;
    SpelledTime time;
    time.utc = text.ends_with('Z');
    text.remove_suffix(time.utc ? 1 : 0);
    for (const std::string_view format :
         {"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y%m%dT%H%M", "%Y%m%dT%H%M%S"}) {
        SpelledTime found = time;
        if (text.size() == length_of(format) && fits(format, text, found) &&
            found.canonical(disk) == whole) {
            return found;
        }
    }
    return std::nullopt;
}

bool has_digits_of_date(std::string_view text) {
    return std::ranges::count_if(text, [](char c) { return c >= '0' && c <= '9'; }) >= 8;
}

std::unexpected<Error> refuse(std::string_view word, std::string_view why) {
    return fail(Errc::invalid,
                fmt::format("\"{}\" is no pattern: {}; one looks like {{disk}}-{{date}} or "
                            "{{date}}/{{disk}}",
                            escaped(word, 100), why));
}

// What is wrong with the letters behind `%` in FORMAT; empty: nothing, and SEEN has them.
std::string_view field_fault(std::string_view format, std::string& seen) {
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] == '{' || format[i] == '}') {
            return "only {disk} and {date} stand in braces, each once";
        }
        if (format[i] != '%') {
            continue;
        }
        if (++i == format.size() || (format[i] != '%' && !kFields.contains(format[i]))) {
            return "% is followed by Y, m, d, H, M, S or %";
        }
        if (format[i] != '%' && seen.contains(format[i])) {
            return "a part of the date is there twice";
        }
        if (format[i] != '%') {
            seen += format[i];
        }
    }
    return {};
}

bool ends_in_field(std::string_view format) {
    bool field = false;
    for (std::size_t i = 0; i < format.size(); ++i) {
        field = format[i] == '%' && format[++i] != '%';
    }
    return field;
}

// As field_fault, for all of a pattern.
std::string_view whole_fault(std::string_view before, std::string_view after, std::string& seen) {
    for (const std::string_view part : {before, after}) {
        if (const auto fault = field_fault(part, seen); !fault.empty()) {
            return fault;
        }
    }
    const auto has = [&](char field) { return seen.contains(field); };
    if (!has('Y') || !has('m') || !has('d')) {
        return "it has neither {date} nor all of %Y, %m and %d";
    }
    if (has('H') != has('M') || (has('S') && !has('H'))) {
        return "a time of day has %H and %M, and perhaps %S";
    }
    const bool touches =
        ends_in_field(before) || (after.starts_with('%') && !after.starts_with("%%"));
    return touches ? "something must stand between {disk} and the date" : std::string_view();
}

std::string_view text_fault(std::string_view word) {
    if (word.size() > PointPatterns::kLongestPattern) {
        return "it is longer than 200 bytes";
    }
    if (word.find(kDisk) == std::string_view::npos ||
        word.find(kDisk, word.find(kDisk) + 1) != std::string_view::npos) {
        return "{disk} has to be in it once";
    }
    // As a disk's name: no empty component, nothing hidden, nothing odd. A `:` may lie deeper.
    const auto path = DiskName::parse(fmt::format("x/{}", word));
    const bool hidden = word.starts_with('.') || word.find("/.") != std::string_view::npos;
    if (!path || hidden) {
        return "it has to look like a path in the repository";
    }
    return {};
}

}  // namespace

struct PointPatterns::Spelled {
    std::string before;  // the disk's name
    std::string after;
    bool utc = false;
    std::array<bool, 6> has{};  // fields

    bool spells(const SpelledTime& time) const;
    std::optional<std::string> name_of(std::string_view stem) const;
    std::optional<std::string> checked(std::string disk, const SpelledTime& time) const;
};

namespace {

// Where a component begins, the last one first.
std::vector<std::size_t> beginnings(std::string_view path) {
    std::vector<std::size_t> found{0};
    for (std::size_t i = 0; i < path.size(); ++i) {
        if (path[i] == '/') {
            found.push_back(i + 1);
        }
    }
    std::ranges::reverse(found);
    return found;
}

}  // namespace

bool PointPatterns::Spelled::spells(const SpelledTime& time) const {
    for (std::size_t i = 0; i < has.size(); ++i) {
        if (has[i] == time.fields[i].empty()) {
            return false;
        }
    }
    return utc == time.utc;
}

std::optional<std::string> PointPatterns::Spelled::checked(std::string disk,
                                                           const SpelledTime& time) const {
    const std::string when = time.canonical(disk);
    if (when.empty() || disk.empty() || disk.ends_with('/')) {
        return std::nullopt;
    }
    return disk + '@' + when;
}

std::optional<std::string> PointPatterns::Spelled::name_of(std::string_view stem) const {
    SpelledTime time;
    time.utc = utc;
    const std::size_t tail = length_of(after);
    if (stem.size() <= tail || !fits(after, stem.substr(stem.size() - tail), time)) {
        return std::nullopt;
    }
    stem.remove_suffix(tail);
    if (before.empty()) {
        return checked(std::string(stem), time);
    }
    const auto places = beginnings(stem);
    const std::size_t head = length_of(before);
    if (places.size() > kMostComponents) {
        return std::nullopt;
    }
    for (const std::size_t place : places) {
        SpelledTime here = time;
        if (stem.size() - place > head && fits(before, stem.substr(place, head), here)) {
            if (auto name = checked(
                    fmt::format("{}{}", stem.substr(0, place), stem.substr(place + head)), here)) {
                return name;
            }
        }
    }
    return std::nullopt;
}

PointPatterns::PointPatterns() {
    static const PointPatterns defaults = [] {
        const std::vector<std::string> words(kDefaults.begin(), kDefaults.end());
        return parse(words).value();
    }();
    *this = defaults;
}

std::span<const std::string_view> PointPatterns::default_words() {
    return kDefaults;
}

PointPatterns PointPatterns::off() {
    const std::vector<std::string> words{"off"};
    return parse(words).value();
}

PointPatterns::PointPatterns(std::vector<Group> groups, bool chains)
    : groups_(std::make_shared<const std::vector<Group>>(std::move(groups))), chains_(chains) {}

Result<PointPatterns::Group> PointPatterns::spelled_out(const std::string& word) {
    static const std::vector<std::string> usual = all_spellings();
    static const std::vector<std::string> none{""};
    const std::size_t date = word.find(kDate);
    Group group;
    for (const std::string& spelling : date == std::string::npos ? none : usual) {
        std::string whole = word;
        if (date != std::string::npos) {
            whole.replace(date, kDate.size(), spelling);
        }
        const std::size_t disk = whole.find(kDisk);
        Spelled spelled{.before = whole.substr(0, disk),
                        .after = whole.substr(disk + kDisk.size()),
                        .utc = spelling.ends_with('Z'),
                        .has = {}};
        std::string seen;
        if (const auto fault = whole_fault(spelled.before, spelled.after, seen); !fault.empty()) {
            return refuse(word, fault);
        }
        for (std::size_t i = 0; i < kFields.size(); ++i) {
            spelled.has[i] = seen.contains(kFields[i]);
        }
        group.push_back(std::move(spelled));
    }
    return group;
}

Result<PointPatterns> PointPatterns::parse(std::span<const std::string> words) {
    if (words.size() > kMostPatterns) {
        return fail(Errc::invalid, fmt::format("there are {} patterns; {} are allowed",
                                               words.size(), kMostPatterns));
    }
    std::vector<Group> groups;
    bool chains = false;
    for (const std::string& word : words) {
        if (word == "off" && words.size() > 1) {
            return refuse(word, "it stands alone");
        }
        if (word == "chains" || word == "off") {
            chains = chains || word == "chains";
            continue;
        }
        if (const auto fault = text_fault(word); !fault.empty()) {
            return refuse(word, fault);
        }
        auto group = spelled_out(word);
        if (!group) {
            return std::unexpected(group.error());
        }
        groups.push_back(std::move(*group));
    }
    return PointPatterns(std::move(groups), chains);
}

std::optional<std::string> PointPatterns::name_of(std::string_view stem) const {
    if (groups_->empty() || !has_digits_of_date(stem)) {
        return std::nullopt;
    }
    if (const auto plain = DiskName::parse(stem); plain && RestorePoint::of(*plain)) {
        return std::nullopt;
    }
    for (const Group& group : *groups_) {
        for (const Spelled& spelled : group) {
            if (auto name = spelled.name_of(stem)) {
                return name;
            }
        }
    }
    return std::nullopt;
}

std::vector<std::string> PointPatterns::stems_of(const DiskName& name) const {
    const std::string_view text = name.str();
    if (groups_->empty() || !RestorePoint::of(name)) {
        return {};
    }
    const std::size_t at = text.rfind('@');
    const std::string_view disk = text.substr(0, at);
    const auto time = time_in(text.substr(at + 1), disk);
    if (!time) {
        return {};
    }
    const auto places = beginnings(disk);
    std::vector<std::string> stems;
    const auto add = [&](std::string stem) {
        if (name_of(stem) == text) {
            stems.push_back(std::move(stem));
        }
    };
    for (const Group& group : *groups_) {
        for (const Spelled& spelled : group) {
            if (!spelled.spells(*time)) {
                continue;
            }
            const std::string before = filled(spelled.before, *time);
            const std::string after = filled(spelled.after, *time);
            if (before.empty()) {
                add(fmt::format("{}{}", disk, after));
                continue;
            }
            for (const std::size_t place :
                 places.size() > kMostComponents ? std::vector<std::size_t>{} : places) {
                add(fmt::format("{}{}{}{}", disk.substr(0, place), before, disk.substr(place),
                                after));
            }
        }
    }
    std::ranges::sort(stems);
    stems.erase(std::ranges::unique(stems).begin(), stems.end());
    return stems;
}

}  // namespace signpost
