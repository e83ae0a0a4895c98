// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/volume_name.h"

#include <fmt/format.h>

#include <string_view>

namespace signpost {

namespace {

constexpr std::string_view kPlain =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+=@,";

// A name that begins with a dot is hidden from libvirt, and one with a dash looks like an option.
bool stays(char c, std::size_t at) {
    const bool upper_half = static_cast<unsigned char>(c) >= 0x80;
    return upper_half || (kPlain.find(c) != kPlain.npos && (at > 0 || (c != '.' && c != '-')));
}

int digit_of(char c) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const std::size_t value = kDigits.find(c);
    return value == kDigits.npos ? -1 : static_cast<int>(value);
}

}  // namespace

Result<std::string> volume_name(const DiskName& disk) {
    std::string name;
    for (const char c : disk.str()) {
        if (stays(c, name.size())) {
            name += c;
        } else {
            name += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    name += kVolumeSuffix;
    if (name.size() > kMaxVolumeName) {
        return fail(Errc::invalid,
                    fmt::format("disk '{}' cannot be a volume: its file's name would have {} "
                                "bytes, and {} are possible",
                                escaped(disk.str()), name.size(), kMaxVolumeName));
    }
    return name;
}

std::optional<DiskName> disk_of_volume(std::string_view file) {
    if (!file.ends_with(kVolumeSuffix)) {
        return std::nullopt;
    }
    const std::string_view text = file.substr(0, file.size() - kVolumeSuffix.size());
    std::string name;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            name += text[i];
            continue;
        }
        const int high = text.size() - i > 2 ? digit_of(text[i + 1]) : -1;
        const int low = text.size() - i > 2 ? digit_of(text[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return std::nullopt;
        }
        name += static_cast<char>(high * 16 + low);
        i += 2;
    }
    const auto disk = DiskName::parse(name);
    // One disk has one spelling.
    if (!disk || volume_name(*disk).value_or("") != file) {
        return std::nullopt;
    }
    return *disk;
}

}  // namespace signpost
