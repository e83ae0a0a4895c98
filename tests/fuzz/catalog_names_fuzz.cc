// SPDX-License-Identifier: BSD-3-Clause
//
// Disk and export names: whatever is accepted keeps the grammar, and what is shown is safe to show.

#include <stdlib.h>

#include <cstddef>
#include <cstdint>

#include "catalog/disk_name.h"

namespace {

void require(bool holds) {
    if (!holds)
        abort();
}

void check_accepted(const signpost::DiskName& name, std::string_view text) {
    const std::string framed = "/" + name.str() + "/";
    require(name.str() == text);
    require(!text.empty() && text.size() <= signpost::DiskName::kMaxBytes);
    require(signpost::is_utf8(text));
    require(text.find('\0') == std::string_view::npos && text.find('\n') == std::string_view::npos);
    require(framed.find("//") == std::string::npos);
    require(framed.find("/./") == std::string::npos && framed.find("/../") == std::string::npos);
    require(text.substr(0, text.find('/')).find(':') == std::string_view::npos);
}

void check_shown(std::string_view text) {
    const std::string shown = signpost::escaped(text, 100);
    require(shown.size() <= 103 && signpost::is_utf8(shown));
    for (const char c : shown)
        require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    check_shown(text);
    const auto name = signpost::DiskName::parse(text);
    if (name)
        check_accepted(*name, text);
    else
        check_shown(name.error().message);
    const auto asked = signpost::ExportName::parse(text);
    if (asked && asked->digests)
        check_accepted(asked->disk, text.substr(signpost::ExportName::kDigestsPrefix.size()));
    else if (asked && asked->local_only)
        check_accepted(asked->disk, text.substr(signpost::ExportName::kLocalPrefix.size()));
    else
        require(asked.has_value() == name.has_value());
    return 0;
}
