// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/json_line.h"

#include <fmt/core.h>

#include <algorithm>

#include "catalog/disk_name.h"

namespace signpost {
namespace {

// How many bytes of TEXT are its first character; 0 when that is not UTF-8.
std::size_t character_length(std::string_view text) {
    for (std::size_t length = 1; length <= std::min<std::size_t>(4, text.size()); ++length) {
        if (is_utf8(text.substr(0, length))) {
            return length;
        }
    }
    return 0;
}

// Marks that turn the direction of what follows, U+200E to U+206F and U+061C: a reader of the log
// must see what was said, in its order.
bool is_direction_mark(std::string_view character) {
    return character == "\u061c" || character == "\u200e" || character == "\u200f" ||
           (character >= "\u202a" && character <= "\u202e") ||
           (character >= "\u2066" && character <= "\u2069");
}

unsigned code_point(std::string_view three_bytes_or_less) {
    unsigned value = static_cast<unsigned char>(three_bytes_or_less.front());
    value &= three_bytes_or_less.size() == 2 ? 0x1f : 0x0f;
    for (const char c : three_bytes_or_less.substr(1)) {
        value = value << 6 | (static_cast<unsigned char>(c) & 0x3f);
    }
    return value;
}

void append_character(std::string& to, std::string_view character) {
    const auto first = static_cast<unsigned char>(character.front());
    if (character == "\"" || character == "\\") {
        to += '\\';
        to += character;
    } else if (first < 0x20 || first == 0x7f) {
        to += fmt::format("\\u{:04x}", first);
    } else if (character.size() == 2 && first == 0xc2 &&
               static_cast<unsigned char>(character[1]) < 0xa0) {
        to += fmt::format("\\u{:04x}", code_point(character));  // C1 control characters
    } else if (is_direction_mark(character) || character == "\u2028" || character == "\u2029") {
        to += fmt::format("\\u{:04x}", code_point(character));
    } else {
        to += character;
    }
}

}  // namespace

std::string json_quoted(std::string_view text) {
    std::string result = "\"";
    while (!text.empty()) {
        const std::size_t length = character_length(text);
        if (length == 0) {
            result += "\\ufffd";
        } else {
            append_character(result, text.substr(0, length));
        }
        text.remove_prefix(std::max<std::size_t>(1, length));
    }
    return result += '"';
}

void JsonLine::begin(std::string_view key) {
    text_ += text_.empty() ? "\"" : ",\"";
    text_ += key;
    text_ += "\":";
}

JsonLine& JsonLine::add(std::string_view key, std::string_view text) {
    begin(key);
    text_ += json_quoted(text);
    return *this;
}

JsonLine& JsonLine::add(std::string_view key, std::int64_t number) {
    begin(key);
    text_ += fmt::format("{}", number);
    return *this;
}

JsonLine& JsonLine::add(std::string_view key, const std::vector<std::string>& texts) {
    begin(key);
    const char* before = "[";
    for (const std::string& text : texts) {
        text_ += before;
        text_ += json_quoted(text);
        before = ",";
    }
    text_ += texts.empty() ? "[]" : "]";
    return *this;
}

JsonLine& JsonLine::add_object(std::string_view key, const JsonLine& object) {
    begin(key);
    text_ += object.str();
    return *this;
}

JsonLine& JsonLine::add_if(std::string_view key, std::string_view text) {
    return text.empty() ? *this : add(key, text);
}

JsonLine& JsonLine::add_if(std::string_view key, std::uint64_t number) {
    return number == 0 ? *this : add(key, static_cast<std::int64_t>(number));
}

}  // namespace signpost
