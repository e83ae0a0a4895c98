// SPDX-License-Identifier: BSD-3-Clause

#include "cli/disk_place.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "catalog/restore_point.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxPath = 4096;

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
    return fail(Errc::invalid, fmt::format("{}: {}; a place on a disk is DISK:[PART:]PATH, as "
                                           "web01/vda:/etc/hosts or web01/vda:2:/etc",
                                           escaped(text), why));
}

bool is_uri(std::string_view text) {
    return text.starts_with("nbd://") || text.starts_with("nbds://") ||
           text.starts_with("nbd+unix://") || text.starts_with("nbds+unix://");
}

// Where `:/` begins the path; npos: nowhere. That of a URI's scheme begins none.
std::size_t path_begin(std::string_view text) {
    return text.find(":/", is_uri(text) ? text.find("://") + 1 : 0);
}

std::optional<std::uint32_t> parse_part(std::string_view text) {
    text.remove_prefix(text.starts_with('p') ? 1 : 0);
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool whole = error == std::errc{} && end == text.data() + text.size();
    return whole && number > 0 ? std::optional(number) : std::nullopt;
}

// "vg0/root", of the characters that LVM allows. GRUB's own names of devices, such as crypto0, have
// no group in front.
bool is_logical(std::string_view text) {
    const std::size_t slash = text.find('/');
    const auto is_name = [](std::string_view name) {
        return !name.empty() && !name.starts_with('-') && name != "." && name != ".." &&
               std::ranges::all_of(name, [](char byte) {
                   return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                          (byte >= '0' && byte <= '9') || byte == '_' || byte == '+' ||
                          byte == '.' || byte == '-';
               });
    };
    return slash != text.npos && is_name(text.substr(0, slash)) && is_name(text.substr(slash + 1));
}

// "02:00" at the end of a restore point's name is no partition.
bool is_restore_point(std::string_view text) {
    const auto name = DiskName::parse(text);
    return name && RestorePoint::of(*name).has_value();
}

// A port is no partition either: `nbd://host:10809`.
bool is_port(std::string_view text, std::size_t colon) {
    return is_uri(text) && text.find('/', text.find("://") + 3) > colon;
}

struct PartText {
    std::optional<std::uint32_t> number;
    std::string logical;

    explicit operator bool() const { return number || !logical.empty(); }
};

// The partition at the end of TEXT, which is cut off.
PartText take_part(std::string_view& text) {
    const std::size_t colon = text.rfind(':');
    if (colon == text.npos || is_restore_point(text) || is_port(text, colon)) {
        return {};
    }
    const std::string_view last = text.substr(colon + 1);
    PartText part;
    part.number = parse_part(last);
    part.logical = !part.number && is_logical(last) ? last : "";
    text = part ? text.substr(0, colon) : text;
    return part;
}

}  // namespace

Result<DiskPlace> DiskPlace::parse(std::string_view text) {
    std::string_view disk = text;
    std::string_view path;
    if (const std::size_t begin = path_begin(text); begin != text.npos) {
        disk = text.substr(0, begin);
        path = text.substr(begin + 1);
    } else if (text.ends_with(':')) {
        disk.remove_suffix(1);
    } else if (!take_part(disk)) {
        return refuse(text, "there is no colon behind the disk");
    } else {
        disk = text;
    }
    if (path.size() > kMaxPath || path.find('\0') != path.npos) {
        return refuse(text.substr(0, 100), "the path is too long");
    }
    const PartText part = take_part(disk);
    if (is_uri(disk)) {
        auto uri = NbdUri::parse(disk);
        return uri ? Result<DiskPlace>(
                         DiskPlace{std::move(*uri), part.number, part.logical, std::string(path)})
                   : std::unexpected(uri.error());
    }
    auto name = DiskName::parse(disk);
    if (!name) {
        return refuse(text, name.error().message);
    }
    return DiskPlace{std::move(*name), part.number, part.logical, std::string(path)};
}

std::string DiskPlace::disk_text() const {
    const auto* name = std::get_if<DiskName>(&disk);
    return name != nullptr ? name->str() : std::get<NbdUri>(disk).str();
}

}  // namespace signpost
