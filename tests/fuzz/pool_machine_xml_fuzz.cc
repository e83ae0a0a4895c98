// SPDX-License-Identifier: BSD-3-Clause
//
// XML of machines made of anything. What is written from it parses, refers to the disks that were
// given and to nothing else, and does not change from one writing to the next.

#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "libvirt-pool/machine_xml.h"

namespace {

using signpost::DiskDevice;
using signpost::DriveKind;

void require(bool holds) {
    if (!holds)
        abort();
}

std::vector<DiskDevice> devices(std::size_t count) {
    std::vector<DiskDevice> disks(count);
    for (std::size_t i = 0; i < count; ++i) {
        if (i % 3 == 2)
            disks[i].uri = *signpost::NbdUri::parse("nbd+unix:///a%20b?socket=/run/s.sock");
        else
            disks[i].file = "/pool/" + std::to_string(i) + "&<\">.qcow2";
    }
    return disks;
}

void check_adapted(std::string_view xml, const std::vector<DiskDevice>& disks, bool isolated) {
    const auto sources = signpost::disk_sources(xml);
    require(sources.has_value());
    std::size_t next = 0;
    for (const signpost::DiskSource& source : *sources) {
        while (next < disks.size() && disks[next].file.empty())
            ++next;
        require(next < disks.size() && source.file == disks[next++].file);
        require(source.pool.empty() && source.volume.empty() && !source.backing);
    }
    const auto again = signpost::adapt_machine(xml, "new", disks, isolated);
    require(again && *signpost::disk_sources(*again) == *sources);
    // What is read differently once (text of white space only, the end of a line) is so only once.
    const auto third = signpost::adapt_machine(*again, "new", disks, isolated);
    require(third && *third == *again);
}

// Any text as the file of a disk comes back as it is.
void check_device(std::string_view text) {
    const std::string file(text.substr(0, std::min(text.find('\0'), text.size())));
    const std::string disk = signpost::disk_device_xml({.target = "vda", .file = file});
    const auto sources = signpost::disk_sources("<domain><devices>" + disk + "</devices></domain>");
    require(sources && sources->size() == (file.empty() ? 0 : 1));
    require(file.empty() || sources->front().file == file);
}

// A chain that is spelled out is found again, beside any machine that runs, and taken back.
void check_chain(std::string_view xml, const std::string& target) {
    constexpr const char* kImage = "/pool/x.qcow2";
    const auto kept = signpost::with_chain(xml, target, kImage, xml);
    if (!kept)
        return;
    require(signpost::chain_of(*kept, target, xml) == signpost::Chain::kept);
    const auto again = signpost::with_chain(*kept, target, kImage, *kept);
    require(again && signpost::chain_of(*again, target, *kept) == signpost::Chain::kept);
    require(signpost::without_chain(*kept, target, kImage, xml).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view xml(reinterpret_cast<const char*>(data), size);
    check_device(xml.substr(0, 200));
    const auto sources = signpost::disk_sources(xml);
    const auto targets = signpost::disk_targets(xml);
    require(sources.has_value() == targets.has_value());
    if (!sources) {
        require(sources.error().code == signpost::Errc::invalid);
        return 0;
    }
    for (const signpost::DiskSource& source : *sources)
        require(!source.file.empty() || !source.volume.empty() ||
                (source.network && source.backing));
    require(std::ranges::find(*targets, signpost::free_target(*targets, "virtio")) ==
            targets->end());
    for (const std::string& target : *targets)
        check_chain(xml, target);
    const bool isolated = size % 2 == 0;
    const auto disks = devices(signpost::disk_targets(xml, DriveKind::disk)->size());
    const auto adapted = signpost::adapt_machine(xml, "new", disks, isolated);
    require(adapted && *signpost::disk_targets(*adapted) == *targets);
    check_adapted(*adapted, disks, isolated);
    require(!signpost::adapt_machine(xml, "new", devices(disks.size() + 1), isolated));
    return 0;
}
