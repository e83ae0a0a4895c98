// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/disk_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace signpost {

namespace {

// One character of UTF-8 text; length 0 when the bytes are not a well-formed one.
struct Decoded {
    char32_t code = 0;
    std::size_t length = 0;
};

// The smallest code of each length: anything below is an overlong form.
constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};

std::size_t sequence_length(unsigned char lead) {
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2)
        return 0;
    if (lead < 0xE0)
        return 2;
    if (lead < 0xF0)
        return 3;
    return lead < 0xF5 ? 4 : 0;
}

Decoded decode(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text.front());
    const std::size_t length = sequence_length(lead);
    if (length == 0 || length > text.size())
        return {};
    if (length == 1)
        return {lead, 1};
    char32_t code = lead & (0x7Fu >> length);
    for (std::size_t i = 1; i < length; ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if ((byte & 0xC0) != 0x80)
            return {};
        code = (code << 6) | (byte & 0x3F);
    }
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (code < kSmallest[length] || code > 0x10FFFF || surrogate)
        return {};
    return {code, length};
}

bool is_control(char32_t code) {
    return code < 0x20 || (code >= 0x7F && code < 0xA0);
}

// Characters that change the direction or the line of what follows them on a terminal.
bool is_layout_control(char32_t code) {
    return code == 0x061C || code == 0x200E || code == 0x200F ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

bool has_control(std::string_view text) {
    while (!text.empty()) {
        const Decoded next = decode(text);
        if (next.length == 0 || is_control(next.code))
            return true;
        text.remove_prefix(next.length);
    }
    return false;
}

std::string hex_escapes(std::string_view bytes) {
    std::string out;
    for (const char byte : bytes)
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    return out;
}

std::string shown(std::string_view bytes, const Decoded& character) {
    if (character.length == 0)
        return hex_escapes(bytes.substr(0, 1));
    const auto encoded = bytes.substr(0, character.length);
    if (is_control(character.code))
        return hex_escapes(encoded);
    if (is_layout_control(character.code))
        return fmt::format("\\u{{{:04x}}}", static_cast<std::uint32_t>(character.code));
    return std::string(encoded);
}

// The rule that a component breaks, or nothing.
std::string_view component_fault(std::string_view component) {
    if (component.empty())
        return "a component is empty";
    if (component == ".")
        return "a component is \".\"";
    if (component == "..")
        return "a component is \"..\"";
    return {};
}

std::string_view components_fault(std::string_view text) {
    for (;;) {
        const std::size_t slash = text.find('/');
        if (const auto fault = component_fault(text.substr(0, slash)); !fault.empty())
            return fault;
        if (slash == std::string_view::npos)
            return {};
        text.remove_prefix(slash + 1);
    }
}

// The first rule of the grammar that TEXT breaks, or nothing.
std::string_view name_fault(std::string_view text) {
    if (text.empty())
        return "it is empty";
    if (text.size() > DiskName::kMaxBytes)
        return "it is longer than 1024 bytes";
    if (!is_utf8(text))
        return "it is not UTF-8";
    if (has_control(text))
        return "it has a control character";
    if (text.substr(0, text.find('/')).find(':') != std::string_view::npos)
        return "its first component has a \":\"";
    return components_fault(text);
}

}  // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const Decoded next = decode(text);
        if (next.length == 0)
            return false;
        text.remove_prefix(next.length);
    }
    return true;
}

std::string escaped(std::string_view text, std::size_t limit) {
    std::string out;
    while (!text.empty()) {
        const Decoded next = decode(text);
        const std::string piece = shown(text, next);
        if (piece.size() > limit - out.size())
            return out + "...";
        out += piece;
        text.remove_prefix(std::max<std::size_t>(next.length, 1));
    }
    return out;
}

Result<DiskName> DiskName::parse(std::string_view text) {
    if (const auto fault = name_fault(text); !fault.empty())
        return fail(Errc::invalid, fmt::format("\"{}\" is not a disk name: {}; a name looks like "
                                               "web01/vda",
                                               escaped(text), fault));
    return DiskName(text);
}

Result<ExportName> ExportName::parse(std::string_view text) {
    const bool digests = text.starts_with(kDigestsPrefix);
    const bool local_only = digests || text.starts_with(kLocalPrefix);
    if (local_only)
        text.remove_prefix(digests ? kDigestsPrefix.size() : kLocalPrefix.size());
    auto disk = DiskName::parse(text);
    if (!disk)
        return std::unexpected(std::move(disk.error()));
    return ExportName{std::move(*disk), local_only, digests};
}

}  // namespace signpost
