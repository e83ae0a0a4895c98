// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/wire/text.h"

#include <fmt/core.h>

#include <cstdint>

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

// The length of the code point at the front of TEXT; 0 when there is none.
std::size_t code_point_length(std::string_view text) {
    const Lead lead = classify(static_cast<unsigned char>(text[0]));
    if (lead.following >= text.size()) {
        return 0;
    }
    std::uint32_t value = lead.bits;
    for (const char c : text.substr(1, lead.following)) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (byte & 0x3fu);
    }
    const bool surrogate = value >= 0xd800 && value <= 0xdfff;
    return value < lead.smallest || value > 0x10ffff || surrogate ? 0 : lead.following + 1;
}

}  // namespace

bool is_protocol_string(std::string_view text) {
    if (text.size() > kMaxString) {
        return false;
    }
    while (!text.empty()) {
        const std::size_t length = code_point_length(text);
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

}  // namespace signpost::wire
