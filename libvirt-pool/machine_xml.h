// SPDX-License-Identifier: BSD-3-Clause
//
// libvirt's XML of machines and their disks: read as text that may hold anything, for libvirt wrote
// it, or a user; and written.
//
// Pure; threads: any.

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"
#include "catalog/nbd_uri.h"

namespace signpost {

// One image of a disk's chain: the disk itself, or what lies behind it as far as libvirt knows.
struct DiskSource {
    std::string target;  // "vda"
    std::string file;    // of type file; else empty
    std::string pool;    // of type volume
    std::string volume;
    bool backing = false;  // behind another
    bool network = false;  // no file, but a server's

    bool operator==(const DiskSource&) const = default;
};

// invalid: not the XML of a machine.
Result<std::vector<DiskSource>> disk_sources(std::string_view machine_xml);

enum class DriveKind { any, disk };  // disk: none that takes a medium, such as a CD-ROM's

// The machine's disks by target, in their order: "vda".
Result<std::vector<std::string>> disk_targets(std::string_view machine_xml,
                                              DriveKind kind = DriveKind::any);

// The first name of the bus's kind that no disk of the machine has: "vdb" for virtio, "sdb" for
// sata, scsi and usb, "hdb" for ide.
std::string free_target(const std::vector<std::string>& taken, std::string_view bus);

// NEXT, a machine as it would start, with what lies behind the disk TARGET spelled out as NOW, the
// machine as it runs, has it: that counts then, whatever the header of the IMAGE says. The image's
// name is spelled in another way than NOW has it, so that libvirt does not take it for the one that
// it runs, and leaves the chain alone when that changes. Without: what lies behind is what the
// header says. invalid: not the XML of a machine with such a disk, or NOW has nothing behind it.
Result<std::string> with_chain(std::string_view next, const std::string& target,
                               const std::filesystem::path& image, std::string_view now);
Result<std::string> without_chain(std::string_view next, const std::string& target,
                                  const std::filesystem::path& image, std::string_view now);

enum class Chain { none, spelled_out, kept };  // kept: and libvirt will leave it alone

Chain chain_of(std::string_view next, const std::string& target, std::string_view now);

// A disk as a machine gets it. A guest whose disk does not answer is stopped, never told of an
// error: it goes on when the disk is back.
struct DiskDevice {
    std::string target = {};                   // "vda"
    std::string bus = {};                      // "virtio"
    std::string file = {};                     // a volume's; or:
    std::optional<NbdUri> uri = std::nullopt;  // an export itself, not a volume
    bool read_only = false;
    bool reconnects = false;  // libvirt knows <reconnect>: QEMU waits for a server itself
};

std::string disk_device_xml(const DiskDevice& disk);

// What a machine needs that is made from nothing but disks: defaults that any guest has drivers
// for.
struct NewMachine {
    std::string name;
    std::uint64_t memory_mib = 2048;
    unsigned cpus = 2;
    bool efi = false;
    std::string type = "kvm";  // or "qemu": no help of the processor
    std::string network = {};  // of libvirt's; empty: no network
    std::vector<DiskDevice> disks;
};

std::string machine_xml(const NewMachine& machine);

// The XML of a machine that was, as a new one: another name, no UUID, these disks in the place of
// its own, each with the target and bus that the XML gives it; other drives are empty. ISOLATED: no
// network. invalid: it is not the XML of a machine, or has another number of disks.
Result<std::string> adapt_machine(std::string_view xml, const std::string& name,
                                  const std::vector<DiskDevice>& disks, bool isolated);

}  // namespace signpost
