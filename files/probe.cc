// SPDX-License-Identifier: BSD-3-Clause
//
// libblkid reads files only. So it gets one in memory, as large as the volume and empty but for its
// two ends, where all the magic numbers are.

#include "files/probe.h"

#include <blkid/blkid.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "nbd-server/disk/unique_fd.h"

namespace signpost::files {

namespace {

constexpr std::uint64_t kHead = 256 * 1024;
constexpr std::uint64_t kTail = 64 * 1024;

std::vector<Range> ends_of(const Volume& volume) {
    const std::uint64_t head = std::min(kHead, volume.length);
    std::vector<Range> ends{{0, head}};
    if (volume.length > head) {
        const std::uint64_t tail = std::min(kTail, volume.length - head);
        ends.push_back({volume.length - tail, tail});
    }
    return ends;
}

bool fill(DiskLink& link, const Volume& volume, int file) {
    if (::ftruncate(file, static_cast<off_t>(volume.length)) != 0) {
        return false;
    }
    for (const Range& end : ends_of(volume)) {
        std::string bytes(end.length, '\0');
        if (!link.read(volume.start + end.offset, bytes) ||
            ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(end.offset)) !=
                static_cast<ssize_t>(bytes.size())) {
            return false;
        }
    }
    return true;
}

std::string value(blkid_probe probe, const char* key) {
    const char* text = nullptr;
    return ::blkid_probe_lookup_value(probe, key, &text, nullptr) == 0 && text != nullptr ? text
                                                                                          : "";
}

}  // namespace

void probe_ahead(DiskLink& link, const std::vector<Volume>& volumes) {
    std::vector<Range> ranges;
    for (const Volume& volume : volumes) {
        for (const Range& end : ends_of(volume)) {
            ranges.push_back({volume.start + end.offset, end.length});
        }
    }
    link.ahead(std::move(ranges));
}

Probed probe(DiskLink& link, const Volume& volume) {
    const UniqueFd file(::memfd_create("volume", MFD_CLOEXEC));
    if (!file || !fill(link, volume, file.get())) {
        return {};
    }
    const std::unique_ptr<blkid_struct_probe, decltype(&::blkid_free_probe)> probe(
        ::blkid_new_probe(), ::blkid_free_probe);
    if (!probe || ::blkid_probe_set_device(probe.get(), file.get(), 0,
                                           static_cast<blkid_loff_t>(volume.length)) != 0) {
        return {};
    }
    ::blkid_probe_enable_superblocks(probe.get(), 1);
    ::blkid_probe_set_superblocks_flags(probe.get(),
                                        BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID);
    ::blkid_probe_enable_partitions(probe.get(), 0);
    // Two magic numbers: the first one counts. An old one may have stayed behind.
    if (const int found = ::blkid_do_safeprobe(probe.get());
        found < 0 && (::blkid_reset_probe(probe.get()), ::blkid_do_fullprobe(probe.get())) != 0) {
        return {};
    }
    return {value(probe.get(), "TYPE"), value(probe.get(), "LABEL"), value(probe.get(), "UUID")};
}

}  // namespace signpost::files
