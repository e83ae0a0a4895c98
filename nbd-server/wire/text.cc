// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/wire/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "nbd-server/wire/protocol.h"

namespace signpost::wire {

namespace {

// A lead byte says how many bytes follow it, and the smallest code point that needs so many.
struct Lead {
    std::size_t following;
    std::uint32_t bits;
    std::uint32_t smallest;
};

Lead classify(unsigned char byte) {
    if (byte < 0x80) {
        return {0, byte, 1};  // from 1: NUL is no part of a protocol string
    }
    if (byte >= 0xc2 && byte <= 0xdf) {
        return {1, byte & 0x1fu, 0x80};
    }
    if (byte >= 0xe0 && byte <= 0xef) {
        return {2, byte & 0x0fu, 0x800};
    }
    if (byte >= 0xf0 && byte <= 0xf4) {
        return {3, byte & 0x07u, 0x10000};
    }
    return {0, 0, 1};  // a stray continuation byte, or never valid
}

struct CodePoint {
    std::uint32_t value = 0;
    std::size_t length = 0;  // in bytes; 0: there is none
};

// The code point at the front of TEXT, which is not empty.
CodePoint front_code_point(std::string_view text) {
    const Lead lead = classify(static_cast<unsigned char>(text[0]));
    if (lead.following >= text.size()) {
        return {};
    }
    std::uint32_t value = lead.bits;
    for (const char c : text.substr(1, lead.following)) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte & 0xc0) != 0x80) {
            return {};
        }
        value = value << 6 | (byte & 0x3fu);
    }
    const bool surrogate = value >= 0xd800 && value <= 0xdfff;
    if (value < lead.smallest || value > 0x10ffff || surrogate) {
        return {};
    }
    return {value, lead.following + 1};
}

// Controls (C0, DEL, C1, line and paragraph separators) and marks that change the direction of
// what follows them.
bool is_displayable(std::uint32_t value) {
    const auto within = [value](std::uint32_t first, std::uint32_t last) {
        return value >= first && value <= last;
    };
    return !(value < 0x20 || within(0x7f, 0x9f) || value == 0x61c || within(0x200e, 0x200f) ||
             within(0x2028, 0x202e) || within(0x2066, 0x2069));
}

// What the front of TEXT becomes for a human, and how many bytes of TEXT that is.
struct Displayed {
    char bytes[4 * 4];
    std::size_t size;
    std::size_t taken;
};

Displayed display_front(std::string_view text) {
    constexpr char kHex[] = "0123456789abcdef";
    const CodePoint front = front_code_point(text);
    Displayed out{{}, 0, front.length == 0 ? 1 : front.length};
    if (front.length != 0 && is_displayable(front.value)) {
        std::memcpy(out.bytes, text.data(), front.length);
        out.size = front.length;
        return out;
    }
    for (const char c : text.substr(0, out.taken)) {
        const auto byte = static_cast<unsigned char>(c);
        const char escaped[4] = {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
        std::memcpy(out.bytes + out.size, escaped, sizeof escaped);
        out.size += sizeof escaped;
    }
    return out;
}

}  // namespace

bool is_protocol_string(std::string_view text) {
    if (text.size() > kMaxString) {
        return false;
    }
    while (!text.empty()) {
        const std::size_t length = front_code_point(text).length;
        if (length == 0) {
            return false;
        }
        text.remove_prefix(length);
    }
    return true;
}

std::string quoted(std::string_view text, std::size_t limit) {
    std::string out = "\"";
    for (const char c : text.substr(0, limit)) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c >= 0x20 && c < 0x7f) {
            out += c;
        } else {
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    return out + (text.size() > limit ? "...\"" : "\"");
}

std::size_t write_displayable(std::span<char> to, std::string_view text) {
    constexpr std::string_view kCut = "...";
    std::size_t written = 0;
    std::size_t whole = 0;  // of what was written, with room for the cut behind it
    while (!text.empty()) {
        const Displayed front = display_front(text);
        if (front.size > to.size() - written) {
            return whole + kCut.copy(to.data() + whole, to.size() - whole);
        }
        std::memcpy(to.data() + written, front.bytes, front.size);
        written += front.size;
        if (to.size() - written >= kCut.size()) {
            whole = written;
        }
        text.remove_prefix(front.taken);
    }
    return written;
}

std::string displayable(std::string_view text) {
    std::string out(std::min(text.size() * 4, kMaxString), '\0');
    out.resize(write_displayable(out, text));
    return out;
}

}  // namespace signpost::wire
