// SPDX-License-Identifier: BSD-3-Clause
//
// Names of disks as names of volumes, and what a volume says is behind it. Up to the first newline
// the input is the URI of a server; the rest is once the name of a disk, and once that of a file.

#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "libvirt-pool/pool_settings.h"
#include "libvirt-pool/volume_name.h"

namespace {

void require(bool holds) {
    if (!holds)
        abort();
}

void check_file(std::string_view file) {
    if (const auto disk = signpost::disk_of_volume(file))
        require(signpost::volume_name(*disk).value_or("") == file);
}

void check_name(const signpost::DiskName& disk) {
    const auto file = signpost::volume_name(disk);
    if (!file) {
        require(!file.error().message.empty());
        return;
    }
    require(file->size() <= signpost::kMaxVolumeName && file->ends_with(signpost::kVolumeSuffix));
    require(file->find_first_of("/\\ \"'`$&;*?|<>~\n") == std::string::npos);
    require(file->front() != '.' && file->front() != '-');
    require(signpost::disk_of_volume(*file) == disk);
}

// A plan has no step that could never be taken.
void check_plan(const signpost::DiskName& disk, const signpost::NbdUri& via, std::uint64_t size) {
    signpost::Location location;
    location.size = size;
    const auto terms = signpost::volume_terms({disk, {location}}, via);
    const auto behind = signpost::NbdUri::parse(terms.backing);
    require(behind && *behind == via.with_export(disk.str()));
    require(terms.size >= size && terms.size - size < 512);
    const auto plan = signpost::plan_pool({{disk, terms}}, {});
    require(plan && plan->actions.size() + plan->remarks.size() == 1);
    for (const auto& action : plan->actions) {
        require(action.terms == terms && terms.size % 512 == 0 && terms.size > 0);
        require(terms.size <= signpost::kMaxVolumeSize);
        require(!terms.backing.empty() && terms.backing.size() <= signpost::kMaxBacking);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::size_t line = std::min(text.find('\n'), text.size());
    const std::string_view name = text.substr(std::min(line + 1, text.size()));
    check_file(name);
    check_file(text);
    const auto disk = signpost::DiskName::parse(name);
    if (!disk)
        return 0;
    check_name(*disk);
    const auto via = signpost::NbdUri::parse(text.substr(0, line));
    for (const std::uint64_t bytes : {name.size(), name.size() << 48, std::size_t{0}}) {
        if (via)
            check_plan(*disk, *via, bytes);
    }
    return 0;
}
